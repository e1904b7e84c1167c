"""Ridge paths from a Krylov space are those of the eigendecomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods.numerics import gram, gram_product, krylov_ridge_path, psd_solve_path

RIDGES = np.array([1.0, 1e-4, 1e-2])  # in double precision only


def system(count=120, targets=3):
    """A matrix with eigenvalues 100 / i^2, and targets."""
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.standard_normal((count, count)))[0]
    return (vectors * 100 / np.arange(1, count + 1) ** 2) @ vectors.T, rng.standard_normal((count, targets))


def relative(a, b):
    return jnp.linalg.norm(a - b) / jnp.linalg.norm(b)


@pytest.mark.parametrize("steps", [1, 12, 200])
def test_any_space_gives_the_solutions(steps, x64):
    a, y = map(jnp.asarray, system())
    path = jax.jit(
        lambda a, y: krylov_ridge_path(lambda v: a @ v, y, RIDGES, steps=steps, tolerance=1e-11, iterations=1000)
    )(a, y)
    assert relative(path.coefficients, psd_solve_path(a, y, RIDGES)) < 1e-8
    residual = y[None] - (np.einsum("ij,rjt->rit", a, path.coefficients) + RIDGES[:, None, None] * path.coefficients)
    assert path.converged
    np.testing.assert_allclose(path.residual, np.linalg.norm(residual, axis=(1, 2)) / np.linalg.norm(y), atol=1e-12)


def test_the_space_alone_is_optimal_in_the_energy_norm(x64):
    """Galerkin: no vector of span(y, A y, A^2 y) is nearer to the solution in the norm of A + r."""
    a, y = map(jnp.asarray, system(targets=1))
    with pytest.warns(RuntimeWarning, match="relative residual"):
        found = krylov_ridge_path(lambda v: a @ v, y, jnp.asarray(RIDGES), steps=3, iterations=0).coefficients
    basis = np.hstack([y, a @ y, a @ a @ y])
    for ridge, ours in zip(RIDGES, found, strict=True):
        shifted = a + ridge * np.eye(len(a))
        best = basis @ np.linalg.solve(basis.T @ shifted @ basis, basis.T @ y)
        assert relative(ours, best) < 1e-6


def test_dependent_and_zero_targets_and_an_exhausted_space_do_no_harm(x64):
    a, y = map(jnp.asarray, system())
    y = jnp.hstack([y, y[:, :1] + y[:, 1:2], jnp.zeros((len(y), 1))])
    path = krylov_ridge_path(lambda v: a @ v, y, RIDGES, tolerance=1e-10)
    assert relative(path.coefficients, psd_solve_path(a, y, RIDGES)) < 1e-7
    assert (path.coefficients[..., -1] == 0).all()
    ones = jnp.ones((5, 2))
    np.testing.assert_allclose(
        krylov_ridge_path(lambda v: v, ones, RIDGES[:1]).coefficients, jnp.ones((1, 5, 2)) / 2, rtol=1e-9
    )
    assert (krylov_ridge_path(lambda v: v, 0 * ones, RIDGES).coefficients == 0).all()


def test_derivatives_are_those_of_the_solution(x64):
    a, y = map(jnp.asarray, system(40))
    wave = np.sin(np.arange(3 * y.size)).reshape(3, *y.shape)
    ours = lambda a, y, ridges: (
        krylov_ridge_path(lambda v: (a + a.T) @ v / 2, y, ridges, steps=4, tolerance=1e-12).coefficients
    )
    loss = lambda solve: jax.jit(jax.grad(lambda *inputs: jnp.sum(wave * solve(*inputs)), (0, 1, 2)))
    for found, true in zip(loss(ours)(a, y, RIDGES), loss(psd_solve_path)(a, y, RIDGES), strict=True):
        assert relative(found, true) < 1e-7


def test_single_precision_follows_double_precision():
    a, y, ridges = (jnp.asarray(part, jnp.float32) for part in (*system(), [1e-2, 1.0]))
    path = krylov_ridge_path(lambda v: a @ v, y, ridges, tolerance=1e-4)
    with jax.enable_x64(True):
        assert relative(path.coefficients, psd_solve_path(*(p.astype(jnp.float64) for p in (a, y, ridges)))) < 1e-3
    assert path.coefficients.dtype == jnp.float32


def test_matrix_free_on_eight_devices_equals_the_stored_matrix_and_gathers_no_rows(x64, mesh8):
    rng = np.random.default_rng(1)
    x, y = (jnp.asarray(rng.standard_normal((64, width))) for width in (3, 2))
    kernel = lambda a, b: jnp.exp(-jnp.sum((a[:, None] - b[None]) ** 2, -1))
    matrix = gram(kernel, x)
    stored = krylov_ridge_path(lambda v: matrix @ v, y, RIDGES, tolerance=1e-10)

    def fit(x, y):
        path = krylov_ridge_path(lambda v: gram_product(kernel, x, v, mesh=mesh8), y, RIDGES, steps=8, tolerance=1e-10)
        return path.coefficients

    rows = NamedSharding(mesh8, P("data"))
    run = jax.jit(fit, in_shardings=(rows, rows)).lower(x, y).compile()
    assert relative(run(*(jax.device_put(part, rows) for part in (x, y))), stored.coefficients) < 1e-7
    assert "all-gather" not in str(run.as_text())


def test_a_hundred_thousand_samples_fit():
    kernel = lambda a, b: jnp.exp(-jnp.sum((a[:, None] - b[None]) ** 2, -1))
    fit = jax.jit(lambda x, y: krylov_ridge_path(lambda v: gram_product(kernel, x, v), y, jnp.ones(2), steps=8))
    x, y = (jax.ShapeDtypeStruct((100_000, width), jnp.float32) for width in (4, 2))
    analysis = fit.lower(x, y).compile().memory_analysis()
    assert analysis is not None
    assert analysis.temp_size_in_bytes < 100e6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ridges": np.array([1.0, 0.0])}, "ridges must be positive"),
        ({"steps": 0}, "steps must be"),
        ({"iterations": -1}, "iterations must be"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"y": np.full((3, 1), np.nan, np.float32)}, "y must be finite"),
        ({"product": lambda v: v[1:]}, r"product\(y\) must be an array of shape"),
        ({"y": np.zeros((0, 1), np.float32)}, "the number of targets must be"),
    ],
)
def test_bad_arguments_are_named(change, words):
    arguments = {"product": lambda v: v, "y": np.ones((3, 1), np.float32), "ridges": np.ones(1, np.float32)} | change
    with pytest.raises(ValueError, match=words):
        krylov_ridge_path(arguments.pop("product"), arguments.pop("y"), arguments.pop("ridges"), **arguments)


def test_bad_dtypes_are_named():
    with pytest.raises(TypeError, match="y must have a floating dtype"):
        krylov_ridge_path(lambda v: v, jnp.ones((3, 1), int), jnp.ones(1))
