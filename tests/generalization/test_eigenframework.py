"""Oracles: the implicit equations themselves, closed forms and limits, symmetries, Monte Carlo, eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import brentq

from jaxlib_methods.generalization import (
    Eigenstructure,
    krr_errors,
    learnabilities,
    power_law_eigenstructure,
    rf_errors,
    rf_path_errors,
    rf_solve,
    sample_gaussian_task,
)

N = np.array([5.0, 40.0, 200.0, 200.0, 900.0])[:, None, None]
K = np.array([3.0, 40.0, 350.0, 900.0, np.inf])[None, :, None]
RIDGE = np.array([0.0, 1e-9, 1e-3, 0.3, 50.0])[None, None]


def power_law(modes=400, alpha=1.3, beta=1.4):
    index = jnp.arange(1.0, modes + 1)
    return Eigenstructure(index**-alpha, index**-beta)


def random_structure(seed, modes=60):
    """Clusters, gaps over many orders, zero eigenvalues and zero coefficients."""
    rng = np.random.default_rng(seed)
    lam = np.sort(np.exp(rng.normal(0, rng.uniform(0.1, 6), modes)))[::-1]
    lam[modes - 5 :] = 0
    return Eigenstructure(jnp.asarray(lam), jnp.asarray(rng.exponential(size=modes) * (rng.random(modes) < 0.8)))


def published_errors(eigen, n, k, ridge, noise):
    """The formula of the paper, from a root found by Brent's method; finite k, ridge > 0."""
    lam, v2 = np.asarray(eigen.lam), np.asarray(eigen.v2)
    z = lambda gamma: np.sum(lam / (lam + gamma))
    balance = lambda log: np.exp(log) * (n - z(np.exp(log))) * (k - z(np.exp(log))) - k * ridge
    bottom = brentq(lambda log: z(np.exp(log)) - min(n, k), -200, 50, xtol=1e-13) if len(lam) > min(n, k) else -200.0
    gamma = np.exp(brentq(balance, bottom, 50, xtol=1e-14))
    kappa = gamma * (1 - z(gamma) / k)
    q = np.sum((lam / (lam + gamma)) ** 2)
    bias = np.sum((gamma / (lam + gamma) - kappa * lam / (lam + gamma) ** 2 * k / (k - q)) * v2)
    test = (bias + noise) / (1 - (q * (k - 2 * z(gamma)) + z(gamma) ** 2) / (n * (k - q)))
    return test, (ridge / (n * kappa)) ** 2 * test


@pytest.mark.parametrize("eigen", [power_law, lambda: random_structure(0, 250), lambda: random_structure(1, 30)])
def test_both_implicit_equations_hold(x64, eigen):
    eigen = eigen()
    gamma, kappa, z, q, slack = rf_solve(eigen, N, K, RIDGE)
    lam = eigen.lam[:, None, None, None]
    learned = jnp.where(lam > 0, lam / jnp.where(lam > 0, lam + gamma[None], 1), 0)
    np.testing.assert_allclose(z, learned.sum(0), rtol=1e-12)
    np.testing.assert_allclose(q, (learned**2).sum(0), rtol=1e-12)
    np.testing.assert_allclose(z + slack, np.broadcast_to(N, z.shape), rtol=1e-9)
    np.testing.assert_allclose(slack * kappa, np.broadcast_to(RIDGE, z.shape), rtol=1e-9, atol=1e-300)
    finite = np.isfinite(K) & (gamma > 0)
    second = jnp.where(finite, z + K * kappa / jnp.where(gamma > 0, gamma, 1), K)
    np.testing.assert_allclose(second, np.broadcast_to(K, z.shape), rtol=1e-9)
    assert jnp.all(gamma >= kappa)
    assert jnp.all(kappa >= 0)


@pytest.mark.parametrize(
    ("n", "k", "ridge"), [(60, 100, 0.05), (100, 60, 0.05), (60, 60, 0.3), (30, 400, 1e-6), (500, 700, 2.0)]
)
def test_errors_are_the_published_formula(x64, n, k, ridge):
    for eigen in (power_law(), random_structure(2, 300)):
        np.testing.assert_allclose(
            rf_errors(eigen, n, k, ridge, 0.1), published_errors(eigen, n, k, ridge, 0.1), rtol=1e-8
        )


def test_infinite_k_is_the_limit_of_large_k(x64):
    eigen = power_law()
    for ridge in (0.0, 1e-4, 1.0):
        large, infinite = rf_errors(eigen, 50, 1e12, ridge, 0.1), krr_errors(eigen, 50, ridge, 0.1)
        np.testing.assert_allclose(large, infinite, rtol=1e-9)


def test_kernel_regression_has_its_own_closed_form(x64):
    eigen, n, ridge, noise = power_law(), 50.0, 0.02, 0.3
    learned = learnabilities(eigen, n, jnp.inf, ridge)
    kappa = rf_solve(eigen, n, jnp.inf, ridge).kappa
    test = n / (n - jnp.sum(learned**2)) * (jnp.sum((1 - learned) ** 2 * eigen.v2) + noise)
    np.testing.assert_allclose(
        krr_errors(eigen, n, ridge, noise), (test, (ridge / (n * kappa)) ** 2 * test), rtol=1e-11
    )


def test_ridgeless_errors_have_closed_forms_on_either_side_of_n_equal_k(x64):
    eigen, noise = power_law(), 0.2
    for n, k in ((50.0, 120.0), (120.0, 50.0)):
        least = min(n, k)
        excess = lambda log, least=least: np.sum(eigen.lam / (eigen.lam + np.exp(log))) - least
        gamma = np.exp(brentq(excess, -60, 10, xtol=1e-14))
        lost = gamma / (eigen.lam + gamma)
        q = np.sum((1 - lost) ** 2)
        if k > n:
            kappa = gamma * (k - n) / k
            bias = np.sum((lost - kappa * eigen.lam / (eigen.lam + gamma) ** 2 * k / (k - q)) * eigen.v2)
            truth = n * (k - q) / ((n - q) * (k - n)) * (bias + noise), 0.0
        else:
            test = n / (n - k) * (np.sum(lost * eigen.v2) + noise)
            truth = test, ((n - k) / n) ** 2 * test
        np.testing.assert_allclose(rf_errors(eigen, n, k, 0.0, noise), truth, rtol=1e-10)
        nearly = rf_errors(eigen, n, k, 1e-13, noise)
        np.testing.assert_allclose(nearly, truth, rtol=1e-6, atol=1e-12)


def test_at_n_equal_k_the_ridgeless_error_diverges_and_the_train_error_vanishes(x64):
    test, train = rf_errors(power_law(), 60, 60, 0.0, 0.1)
    assert (float(test), float(train)) == (np.inf, 0.0)
    near, _ = rf_errors(power_law(), 60, 60, np.array([1e-6, 1e-8, 1e-10]), 0.1)
    np.testing.assert_allclose(near[1:] / near[:-1], 10, rtol=0.02)  # as the inverse root of the ridge


def test_fewer_modes_than_samples_and_features_is_least_squares(x64):
    eigen = random_structure(3, 25)  # 20 positive eigenvalues
    out_of_reach = jnp.sum(eigen.v2[20:])
    test, train = rf_errors(eigen, 50, np.array([30.0, np.inf]), 0.0, 0.7)
    np.testing.assert_allclose(test, 50 / 30 * (out_of_reach + 0.7), rtol=1e-12)
    np.testing.assert_allclose(train, (30 / 50) ** 2 * test, rtol=1e-12)
    np.testing.assert_allclose(rf_errors(eigen, 50, 30, 1e-14, 0.7)[0], test[0], rtol=1e-9)
    exact = Eigenstructure(jnp.ones(20), jnp.ones(20))
    assert [float(e) for e in krr_errors(exact, 20, 0.0)] == [0.0, 0.0]
    assert float(krr_errors(exact, 20, 0.0, 0.1)[0]) == np.inf


def test_isotropic_kernels_solve_a_quadratic(x64):
    modes, n, ridge = 300.0, 80.0, 0.9  # n = m / (1 + g) + ridge / g
    linear = n - modes - ridge
    gamma = (-linear + np.sqrt(linear**2 + 4 * n * ridge)) / (2 * n)
    for eigen in (
        Eigenstructure(jnp.ones(300), jnp.ones(300)),
        Eigenstructure(jnp.ones(1), jnp.full(1, 300.0), jnp.full(1, modes)),
    ):
        state = rf_solve(eigen, n, jnp.inf, ridge)
        np.testing.assert_allclose(state.gamma, gamma, rtol=1e-13)
        np.testing.assert_allclose(state.z, modes / (1 + gamma), rtol=1e-13)


@pytest.mark.parametrize("k", [30.0, 200.0, np.inf])
def test_learnabilities_are_conserved(x64, k):
    eigen = power_law()
    state = rf_solve(eigen, 70, k, 0.05)
    np.testing.assert_allclose(learnabilities(eigen, 70, k, 0.05).sum(), 70 - 0.05 / state.kappa, rtol=1e-10)


def test_a_huge_ridge_learns_nothing_and_train_never_exceeds_test(x64):
    eigen = power_law()
    total = eigen.v2.sum() + 0.4
    np.testing.assert_allclose(rf_errors(eigen, 70, 90, 1e12, 0.4), (total, total), rtol=1e-9)
    test, train = rf_errors(eigen, N, K, RIDGE, 0.4)
    assert jnp.all((train < test) & (train >= 0))


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_scaling_kernel_and_ridge_or_target_and_noise(x64, ridge):
    eigen, c = power_law(), 37.0
    state, scaled = rf_solve(eigen, 40, 90, ridge), rf_solve(eigen._replace(lam=c * eigen.lam), 40, 90, c * ridge)
    np.testing.assert_allclose(scaled.gamma, c * state.gamma, rtol=1e-12)
    np.testing.assert_allclose(scaled.kappa, c * state.kappa, rtol=1e-12)
    errors = np.array(rf_errors(eigen, 40, 90, ridge, 0.1))
    np.testing.assert_allclose(rf_errors(eigen._replace(lam=c * eigen.lam), 40, 90, c * ridge, 0.1), errors, rtol=1e-11)
    np.testing.assert_allclose(
        rf_errors(eigen._replace(v2=c * eigen.v2), 40, 90, ridge, c * 0.1), c * errors, rtol=1e-12
    )


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 0.2])
def test_samples_and_features_change_places(x64, ridge):
    one, other = rf_solve(power_law(), 40, 90, ridge), rf_solve(power_law(), 90, 40, ridge * 90 / 40)
    for name in ("gamma", "z", "q"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12, err_msg=name)


def test_the_order_of_modes_is_free_and_a_dead_mode_only_adds_its_power(x64):
    eigen, order = power_law(), np.random.default_rng(0).permutation(400)
    shuffled = jax.tree.map(lambda leaf: leaf[order], eigen)
    plain = rf_errors(eigen, 60, 100, 0.05, 0.1)
    np.testing.assert_allclose(rf_errors(shuffled, 60, 100, 0.05, 0.1), plain, rtol=1e-12)
    more = Eigenstructure(jnp.append(eigen.lam, 0.0), jnp.append(eigen.v2, 2.0))
    assert_same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12)
    jax.tree.map(assert_same, rf_solve(more, 60, 100, 0.05), rf_solve(eigen, 60, 100, 0.05))
    prefactor = (rf_errors(eigen, 60, 100, 0.05, 1.1)[0] - plain[0]) / 1.0
    np.testing.assert_allclose(rf_errors(more, 60, 100, 0.05, 0.1)[0] - plain[0], 2 * prefactor, rtol=1e-10)


def test_equal_eigenvalues_may_be_held_as_one_with_a_dimension(x64):
    lam, v2, dimension = jnp.array([2.0, 0.3, 0.01]), jnp.array([1.0, 0.5, 0.2]), jnp.array([1.0, 7.0, 40.0])
    repeats = np.array([1, 7, 40])
    apart = Eigenstructure(jnp.repeat(lam, repeats), jnp.repeat(v2 / dimension, repeats))
    together = Eigenstructure(lam, v2, dimension)
    for point in ((12, 20, 0.1), (20, 12, 0.0), (60, 90, 0.0), (30, jnp.inf, 0.2)):
        np.testing.assert_allclose(rf_errors(together, *point, 0.1), rf_errors(apart, *point, 0.1), rtol=1e-12)


def test_traces_of_random_matrices_are_kappa_and_z_within_three_percent(x64):
    eigen, n, k, ridge = power_law(300), 60, 100, 0.05

    def traces(key):
        features, _ = sample_gaussian_task(key, eigen, n, k)
        values = jnp.linalg.eigvalsh(features @ features.T)
        return jnp.sum(1 / (values + ridge)), jnp.sum(values / (values + ridge))

    inverse, learned = (t.mean() for t in jax.lax.map(jax.jit(traces), jax.random.split(jax.random.key(0), 60)))
    state = rf_solve(eigen, n, k, ridge)
    np.testing.assert_allclose(inverse, 1 / state.kappa, rtol=0.03)
    np.testing.assert_allclose(learned, state.z, rtol=0.03)


def test_errors_of_random_feature_regression_are_predicted_within_five_and_ten_percent(x64):
    """Sixty draws at each point of the sheet's table; the stored theory to its digits."""
    eigen, noise = power_law(400), 0.1
    table = {
        (60, 100, 0.05): (1.2414, 0.01575),
        (100, 60, 0.05): (1.3205, 0.2620),
        (60, 60, 0.3): (1.1542, 0.1939),
        (60, 400, 0.01): (0.7725, 1.7e-4),
    }
    for (n, k, ridge), stored in table.items():

        def trial(key, n=n, k=k, ridge=ridge):
            features, y = sample_gaussian_task(key, eigen, n + 300, k, noise)
            return rf_path_errors(features[:n], features[n:], y[:n], y[n:], jnp.array([ridge]))

        theory = rf_errors(eigen, n, k, ridge, noise)
        np.testing.assert_allclose(theory, stored, rtol=3e-2 if k == 400 else 3e-4)
        test, train = jax.lax.map(jax.jit(trial), jax.random.split(jax.random.key(1), 60))
        np.testing.assert_allclose(test.mean(), theory[0], rtol=0.05)
        np.testing.assert_allclose(train.mean(), theory[1], rtol=0.1)


def test_derivatives_agree_with_differences_in_every_regime(x64):
    eigen, h = power_law(200), 1e-5
    value = jax.jit(lambda x, n, k: jnp.log(jnp.stack(rf_errors(eigen, n, k, jnp.exp(x), 0.1))))
    slope = jax.jit(jax.jacfwd(value))
    curvature = jax.jit(jax.jacfwd(slope))
    for n, k, ridge in (
        (40.0, 90.0, 0.1),
        (90.0, 40.0, 1e-3),
        (40.0, 40.0, 0.01),
        (40.0, np.inf, 0.1),
        (300.0, 400.0, 0.1),
    ):
        x = np.log(ridge)
        ahead, behind = (f(x + h, n, k) for f in (value, slope)), (f(x - h, n, k) for f in (value, slope))
        first, second = ((a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True))
        np.testing.assert_allclose(slope(x, n, k), first, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(curvature(x, n, k), second, rtol=1e-5, atol=1e-8)


def test_the_ridgeless_error_has_a_right_derivative_in_the_ridge_and_one_in_n(x64):
    eigen, h = power_law(200), 1e-7
    for n, k in ((40.0, 90.0), (90.0, 40.0), (300.0, np.inf)):
        test = lambda n, ridge, k=k: rf_errors(eigen, n, k, ridge, 0.1)[0]
        in_n, in_ridge = jax.grad(test, (0, 1))(n, 0.0)
        np.testing.assert_allclose(in_ridge, (test(n, h) - test(n, 0.0)) / h, rtol=1e-3)
        np.testing.assert_allclose(in_n, (test(n + 1e-4, 0.0) - test(n - 1e-4, 0.0)) / 2e-4, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 90), k=st.integers(1, 90), log_ridge=st.floats(-20, 8))
def test_any_spectrum_is_solved(seed, n, k, log_ridge):
    with jax.enable_x64(True):
        eigen, ridge = random_structure(seed), 10.0**log_ridge
        state = rf_solve(eigen, n, k, ridge)
        np.testing.assert_allclose(state.z + state.slack, n, rtol=1e-8)
        np.testing.assert_allclose(state.slack * state.kappa, ridge, rtol=1e-8)
        test, train = rf_errors(eigen, n, k, ridge, 0.1)
        assert 0 <= train <= test < np.inf


def test_blocks_of_the_grid_change_nothing(x64):
    eigen = power_law(50)
    whole = rf_errors(eigen, N, K, RIDGE, 0.1, block=1000)
    for block in (1, 7, 64):
        np.testing.assert_allclose(rf_errors(eigen, N, K, RIDGE, 0.1, block=block), whole, rtol=1e-12)
    assert whole[0].shape == (5, 5, 5)


def test_single_precision_is_good_to_a_hundred_thousandth():
    index = jnp.arange(1.0, 10_001)
    eigen = Eigenstructure(index**-1.5, index**-1.3)
    points = np.array([20.0, 256.0, 3000.0])[:, None, None], np.array([50.0, 1e4])[None, :, None], RIDGE[..., 2:]
    ours = rf_errors(eigen, *points, 0.1)
    with jax.enable_x64(True):
        truth = rf_errors(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), eigen), *points, 0.1)
    assert ours[0].dtype == jnp.float32
    np.testing.assert_allclose(ours, truth, rtol=3e-5, atol=1e-9)


@pytest.mark.parametrize(("modes", "mesh", "axis"), [(61, "mesh8", "data"), (64, "mesh2x4", "model")])
def test_eigenvalues_split_over_devices_give_the_same_errors_and_derivatives(x64, modes, mesh, axis, request):
    eigen, n, devices = power_law(modes), np.array([20.0, 40.0, 90.0]), request.getfixturevalue(mesh)

    def loss(eigen, n, **split):
        errors = rf_errors(eigen, n, 70.0, 0.05, 0.1, **split)
        return jnp.sum(jnp.stack(errors)), errors

    value = lambda **split: jax.jit(jax.grad(lambda e, n: loss(e, n, **split), (0, 1), has_aux=True))(eigen, n)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    jax.tree.map(close, value(mesh=devices, axis=axis, block=2), value())


def test_only_sums_cross_the_devices(mesh8):
    eigen = jax.device_put(power_law(64), jax.NamedSharding(mesh8, jax.P("data")))
    text = jax.jit(lambda e: rf_errors(e, 20.0, 70.0, 0.05, 0.1, mesh=mesh8)).lower(eigen).compile().as_text()
    assert "all-reduce" in text
    assert "all-gather" not in text


EIGEN = Eigenstructure(jnp.ones(3), jnp.ones(3))
BAD = [
    (lambda: rf_errors(EIGEN, 2, 5, -0.1), "ridge must be nonnegative"),
    (lambda: rf_errors(EIGEN, 2, 5, float("nan")), "ridge must be nonnegative"),
    (lambda: rf_errors(EIGEN, 0, 5, 0.1), "n must be at least 1"),
    (lambda: rf_errors(EIGEN, jnp.inf, 5, 0.1), "n must be at least 1 and finite"),
    (lambda: rf_errors(EIGEN, 2, 0.5, 0.1), "k must be at least 1"),
    (lambda: rf_errors(EIGEN, 2, float("nan"), 0.1), "k must be at least 1"),
    (lambda: rf_errors(EIGEN, 2, 5, 0.1, -1.0), "noise must be nonnegative"),
    (lambda: krr_errors(EIGEN, 0, 0.1), "n must be at least 1"),
    (lambda: rf_solve(EIGEN, 2, 5, 0.1, block=0), "block must be"),
    (
        lambda: rf_solve(EIGEN._replace(lam=jnp.array([1.0, jnp.inf, 1.0])), 2, 5, 0.1),
        "lam must be nonnegative and finite",
    ),
    (
        lambda: rf_solve(EIGEN._replace(lam=jnp.array([1.0, jnp.nan, 1.0])), 2, 5, 0.1),
        "lam must be nonnegative and finite",
    ),
    (lambda: rf_solve(EIGEN._replace(lam=-jnp.ones(3)), 2, 5, 0.1), "lam must be nonnegative"),
    (lambda: rf_solve(EIGEN._replace(v2=jnp.ones(4)), 2, 5, 0.1), "v2 must be an array of shape"),
    (lambda: rf_solve(EIGEN._replace(v2=-jnp.ones(3)), 2, 5, 0.1), "v2 must be nonnegative"),
    (lambda: rf_solve(EIGEN._replace(multiplicity=jnp.ones(2)), 2, 5, 0.1), "multiplicity must be an array of shape"),
    (lambda: rf_solve(EIGEN._replace(multiplicity=jnp.zeros(3)), 2, 5, 0.1), "multiplicity must be positive"),
    (lambda: rf_solve(Eigenstructure(jnp.ones(0), jnp.ones(0)), 2, 5, 0.1), "lam must be at least one eigenvalue"),
    (lambda: learnabilities(EIGEN, 2, 5, -0.1), "ridge must be nonnegative"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_dtypes_are_refused():
    with pytest.raises(TypeError, match="lam must have a floating dtype"):
        rf_solve(Eigenstructure(jnp.ones(3, int), jnp.ones(3)), 2, 5, 0.1)


def test_a_compressed_infinite_law_is_taken_like_any_other(x64):
    assert jnp.isfinite(jnp.stack(rf_errors(power_law_eigenstructure(1.5, 1.2), 100, 1000, 0.0))).all()
