"""Oracles: numpy in double precision, scikit-learn, leaving out one sample by hand, repetition of weighted samples."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from jaxlib_methods import numerics


def on_arrays(function):
    """The compiled function on anything that can be made an array."""
    options = {name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
    compiled = jax.jit(function, static_argnames=options)
    convert = lambda value: value if value is None else jnp.asarray(value)
    return lambda *arguments, **options: compiled(*map(convert, arguments), **options)


kernel_ridge_fit, kernel_ridge_path, predict_path, psd_solve, psd_solve_path, ridge_fit, ridge_path = (
    on_arrays(getattr(numerics, name))
    for name in (
        *("kernel_ridge_fit", "kernel_ridge_path", "predict_path", "psd_solve", "psd_solve_path"),
        *("ridge_fit", "ridge_path"),
    )
)

RIDGES = np.array([0.0, 1e-3, 0.7, 30.0])
random = np.random.default_rng(0)
WIDE, TALL = random.normal(size=(7, 11)), random.normal(size=(12, 5))
NARROW = TALL @ np.diag([1, 1, 1, 0, 0]) @ random.normal(size=(5, 5))  # rank 3
TARGETS, WEIGHTS = random.normal(size=(12, 2)), random.integers(0, 4, 12).astype(float)


def direct(z, y, ridge, weights=None):
    """Least-norm solution by numpy's own least squares on the stacked system."""
    root = np.ones(len(y)) if weights is None else np.sqrt(weights)
    stacked = np.concatenate([root[:, None] * z, np.sqrt(ridge) * np.eye(z.shape[1])])
    return np.linalg.lstsq(stacked, np.concatenate([root[:, None] * y, np.zeros((z.shape[1], y.shape[1]))]), 1e-12)[0]


@pytest.mark.parametrize("method", ["primal", "dual", "auto"])
@pytest.mark.parametrize("z", [WIDE, TALL, NARROW], ids=["wide", "tall", "low rank"])
def test_every_route_gives_the_least_squares_solution(z, method, x64):
    y = TARGETS[: len(z)]
    path = ridge_path(z, y, RIDGES, method=method)
    for i, ridge in enumerate(RIDGES):
        truth = direct(z, y, ridge)
        np.testing.assert_allclose(path.coefficients[i], truth, atol=1e-9)
        np.testing.assert_allclose(ridge_fit(z, y, ridge, method=method), truth, atol=1e-9)
        np.testing.assert_allclose(path.predictions[i], z @ truth, atol=1e-9)
        np.testing.assert_allclose(path.norm[i], np.sum(truth**2), rtol=1e-8)
        dual = kernel_ridge_fit(z @ z.T, y, ridge)
        np.testing.assert_allclose(z.T @ dual, truth, atol=1e-9)


def test_scikit_learn_agrees(x64):
    ours = numerics.ridge_fit(*map(jnp.asarray, (TALL, TARGETS)), 0.3, jnp.asarray(WEIGHTS))
    theirs = Ridge(0.3, fit_intercept=False).fit(TALL, TARGETS, sample_weight=WEIGHTS)
    np.testing.assert_allclose(ours, theirs.coef_.T, rtol=1e-9)
    theirs = KernelRidge(alpha=0.3, kernel="rbf", gamma=0.2).fit(TALL, TARGETS, sample_weight=WEIGHTS)
    gram = np.exp(-0.2 * ((TALL[:, None] - TALL[None]) ** 2).sum(-1))
    np.testing.assert_allclose(kernel_ridge_fit(gram, TARGETS, 0.3, WEIGHTS), theirs.dual_coef_, atol=1e-10)
    path = kernel_ridge_path(gram, TARGETS, np.array([0.3]), WEIGHTS)
    np.testing.assert_allclose(path.coefficients[0], theirs.dual_coef_, atol=1e-10)
    np.testing.assert_allclose(path.predictions[0], theirs.predict(TALL), atol=1e-10)


def test_weights_act_as_repetition(x64):
    times = WEIGHTS.astype(int)
    repeat = lambda a: np.repeat(a, times, axis=0)
    ours = ridge_path(TALL, TARGETS, RIDGES, WEIGHTS)
    truth = ridge_path(repeat(TALL), repeat(TARGETS), RIDGES)
    np.testing.assert_allclose(ours.coefficients, truth.coefficients, atol=1e-10)
    kernel = kernel_ridge_path(TALL @ TALL.T, TARGETS, RIDGES, WEIGHTS)
    np.testing.assert_allclose(np.einsum("nk,rnt->rkt", TALL, kernel.coefficients), truth.coefficients, atol=1e-9)
    np.testing.assert_allclose(kernel.norm, truth.norm, rtol=1e-8)
    np.testing.assert_allclose(kernel.degrees, truth.degrees, rtol=1e-8)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("method", ["primal", "dual", "kernel"])
def test_leave_one_out_errors_are_those_of_leaving_out(method, weights, x64):
    path = (
        kernel_ridge_path(TALL @ TALL.T, TARGETS, RIDGES, weights)
        if method == "kernel"
        else ridge_path(TALL, TARGETS, RIDGES, weights, method=method)
    )
    truth = np.empty((len(RIDGES), 12, 2))
    for r, ridge in enumerate(RIDGES):
        for i in range(12):
            others = np.arange(12) != i
            rest = None if weights is None else weights[others]
            truth[r, i] = TARGETS[i] - TALL[i] @ direct(TALL[others], TARGETS[others], ridge, rest)
    np.testing.assert_allclose(path.left_out, truth, atol=1e-9)
    w = np.ones(12) if weights is None else weights
    np.testing.assert_allclose(path.loo, np.average((truth**2).mean(2), axis=1, weights=w), rtol=1e-9)
    root = np.sqrt(w)[:, None] * TALL
    hat = [np.trace(root @ np.linalg.pinv(root.T @ root + r * np.eye(5)) @ root.T) for r in RIDGES]
    np.testing.assert_allclose(path.degrees, hat, rtol=1e-9)
    error = np.average(((TARGETS[None] - path.predictions) ** 2).mean(2), axis=1, weights=w)
    np.testing.assert_allclose(path.gcv, error / (1 - np.array(hat) / (w > 0).sum()) ** 2, rtol=1e-9)


@pytest.mark.parametrize("method", ["dual", "kernel"])
def test_interpolation_has_left_out_errors_and_no_training_error(method, x64):
    y = TARGETS[:7]
    path = (
        kernel_ridge_path(WIDE @ WIDE.T, y, RIDGES)
        if method == "kernel"
        else ridge_path(WIDE, y, RIDGES, method="dual")
    )
    np.testing.assert_allclose(path.predictions[0], y, atol=1e-10)
    np.testing.assert_allclose(path.degrees[0], 7, rtol=1e-12)
    for i in range(7):
        others = np.arange(7) != i
        truth = y[i] - WIDE[i] @ np.linalg.pinv(WIDE[others]) @ y[others]
        np.testing.assert_allclose(path.left_out[0, i], truth, atol=1e-10)
    assert np.isfinite(path.gcv).all()


def test_a_sample_that_alone_carries_a_direction_cannot_be_left_out_without_ridge(x64):
    z = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for method in ("primal", "dual"):
        path = ridge_path(z, np.array([1.0, 3.0, 5.0]), np.array([0.0, 1.0]), method=method)
        np.testing.assert_allclose(path.left_out[0], [-2, 2, np.inf], rtol=1e-12)
        np.testing.assert_allclose(path.left_out[1], [1 - 1.5, 3 - 0.5, 5.0], rtol=1e-12)
        assert np.isposinf(path.loo[0])


def test_double_precision_on_request_survives_a_condition_number_of_1e12():
    z = (np.vander(np.linspace(-1, 1, 60), 12)).astype(np.float32)
    y = np.sin(3 * np.linspace(-1, 1, 60)).astype(np.float32)[:, None]
    truth = z.astype(float) @ direct(z.astype(float), y.astype(float), 1e-9)
    error = {f: np.abs(z @ ridge_fit(z, y, 1e-9, float64=f) - truth).max() for f in (True, False)}
    assert error[True] < 1e-5
    assert error[False] > 5 * error[True]
    assert ridge_fit(z, y, 1e-9, float64=True).dtype == jnp.float32
    jitted = jax.jit(lambda z, y: ridge_path(z, y, jnp.array([1e-9]), float64=True))(z, y)
    np.testing.assert_allclose(jitted.predictions[0], truth, atol=1e-5)
    assert {leaf.dtype for leaf in jax.tree.leaves(jitted)} == {jnp.dtype("float32")}


def test_cholesky_that_breaks_down_hands_over_and_a_truncated_spectrum_is_finite():
    a = jnp.ones((4, 4))
    assert not np.isfinite(psd_solve(-a, jnp.ones(4), 1e-9, solver="cholesky")).all()
    for ridge in (1e-9, 0.0):
        for options in (dict(), dict(solver="eigh")):
            np.testing.assert_allclose(numerics.psd_solve(a, jnp.ones(4), ridge, **options), 0.25, rtol=1e-5)
    noisy = a + 1e-4 * jnp.diag(jnp.array([1.0, 0.0, 0.0, 0.0]))
    np.testing.assert_allclose(psd_solve(noisy, jnp.arange(4.0), 0.0, rcond=1e-2), 0.375, rtol=1e-3)
    np.testing.assert_allclose(psd_solve_path(noisy, jnp.arange(4.0), RIDGES, rcond=1e-2)[0], 0.375, rtol=1e-3)
    assert (np.asarray(psd_solve_path(jnp.zeros((3, 3)), jnp.ones(3), jnp.zeros(1))) == 0).all()


@pytest.mark.parametrize("solver", ["cholesky", "eigh", "auto"])
def test_equal_eigenvalues_do_no_harm_to_derivatives(solver, x64):
    a, b = jnp.eye(3).at[2, 2].set(0.0), jnp.arange(1.0, 4.0)
    loss = lambda a, r: jnp.sum(jnp.sin(psd_solve(a, b, r, solver=solver)))
    truth = lambda a, r: jnp.sum(jnp.sin(jnp.linalg.solve((a + a.T) / 2 + r * jnp.eye(3), b)))
    ours, expected = (jax.grad(f, (0, 1))(a, 0.5) for f in (loss, truth))
    jax.tree.map(lambda g, t: np.testing.assert_allclose(g, t, rtol=1e-10), ours, expected)


def test_errors_are_differentiable_where_eigenvalues_are_equal(x64):
    z = jnp.concatenate([jnp.eye(3)] * 3)  # three equal eigenvalues, and six zeros in the dual
    y = jnp.asarray(TARGETS[:9])

    ridges, step = jnp.array([0.5]), random.normal(size=z.shape)
    for method in ("primal", "dual"):

        @jax.jit
        def errors(z, ridges, method=method):
            path = ridge_path(z, y, ridges, method=method)
            return path.loo.sum() + path.gcv.sum()

        gradient = jax.jit(jax.grad(errors, (0, 1)))(z, ridges)
        difference = (errors(z + 1e-5 * step, ridges) - errors(z - 1e-5 * step, ridges)) / 2e-5
        np.testing.assert_allclose(jnp.vdot(gradient[0], step), difference, rtol=1e-6)
        difference = (errors(z, ridges + 1e-5) - errors(z, ridges - 1e-5)) / 2e-5
        np.testing.assert_allclose(gradient[1][0], difference, rtol=1e-6)


def test_predictions_of_a_path_on_new_rows():
    coefficients = random.normal(size=(4, 5, 2)).astype(np.float32)
    z = TALL.astype(np.float32)
    np.testing.assert_allclose(predict_path(z, coefficients)[2], z @ coefficients[2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        predict_path(z, coefficients[..., 0])[1], z @ coefficients[1, :, 0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("mesh", ["mesh8", "mesh2x4"])
def test_rows_over_devices_move_only_small_sums(mesh, request, x64):
    mesh = request.getfixturevalue(mesh)
    z, y = random.normal(size=(32, 5)), random.normal(size=(32, 2))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    path = jax.jit(functools.partial(ridge_path, ridges=RIDGES))
    split = jax.device_put(z, rows), jax.device_put(y, rows)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), path(*split), path(z, y))
    text = path.lower(*split).compile().as_text()
    assert "all-reduce" in text
    assert "all-gather" not in text
    grad = jax.jit(jax.grad(lambda z, y: ridge_path(z, y, RIDGES[1:]).loo.sum()))
    np.testing.assert_allclose(grad(*split), grad(z, y), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("ridge", dict(ridge=-1.0)),
        ("ridge", dict(ridge=float("nan"))),
        ("z", dict(z=jnp.ones(3))),
        ("z", dict(z=jnp.ones((0, 2)))),
        ("z", dict(z=jnp.full((3, 2), jnp.nan))),
        ("y", dict(y=jnp.ones(4))),
        ("y", dict(y=jnp.full(3, jnp.inf))),
        ("weights", dict(weights=jnp.ones(2))),
        ("weights", dict(weights=-jnp.ones(3))),
        ("method", dict(method="qr")),
        ("solver", dict(solver="lu")),
        ("rcond", dict(rcond=0.0)),
        ("solver .with rcond.", dict(rcond=0.1, solver="cholesky")),
    ],
)
def test_bad_arguments_are_named(name, bad):
    arguments = dict(z=jnp.ones((3, 2)), y=jnp.ones(3), ridge=1.0) | bad
    with pytest.raises(ValueError, match=f"{name} must be"):
        numerics.ridge_fit(**arguments)


@pytest.mark.parametrize("bad", [jnp.ones((2, 3)), jnp.full((3, 3), jnp.nan), jnp.ones((0, 0))])
def test_bad_kernel_matrices_are_named(bad):
    for fit in (numerics.kernel_ridge_fit, numerics.kernel_ridge_path):
        with pytest.raises(ValueError, match="gram must be"):
            fit(bad, jnp.ones(len(bad)), 1.0)


def test_bad_dtypes_are_named():
    with pytest.raises(TypeError, match="y must have a floating dtype"):
        ridge_fit(jnp.ones((3, 2)), jnp.ones(3, jnp.int32), 1.0)
