"""Oracles: a fine grid of ridges, a vanishing slope, more is better, the isotropic closed form, eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxlib_methods.generalization import Eigenstructure, optimal_ridge, rf_errors


def power_law(modes=300, alpha=1.5, beta=1.3):
    index = jnp.arange(1.0, modes + 1)
    return Eigenstructure(index**-alpha, index**-beta)


best = jax.jit(optimal_ridge)
errors = jax.jit(rf_errors)


def test_no_ridge_of_a_fine_grid_is_better(x64):
    n, k = np.array([20.0, 60.0, 60.0, 400.0]), np.array([50.0, 60.0, np.inf, 30.0])
    _, least = best(power_law(), n, k, 0.3)
    grid, _ = errors(power_law(), n[None], k[None], np.append(0, np.geomspace(1e-5, 1e4, 400))[:, None], 0.3)
    assert np.all(least <= grid.min(0) * (1 + 1e-12))
    np.testing.assert_allclose(least, grid.min(0), rtol=1e-4)


def test_the_slope_in_the_ridge_vanishes_at_the_optimum(x64):
    slope = jax.jit(jax.grad(lambda log, n, k: jnp.log(rf_errors(power_law(), n, k, jnp.exp(log), 0.3)[0])))
    for n, k in ((20.0, 50.0), (60.0, 60.0), (60.0, np.inf), (100.0, 30.0)):
        ridge, test = best(power_law(), n, k, 0.3)
        assert ridge > 0
        np.testing.assert_allclose(slope(jnp.log(ridge), n, k), 0, atol=1e-9)
        np.testing.assert_allclose(test, errors(power_law(), n, k, ridge, 0.3)[0], rtol=1e-12)


def test_where_interpolation_is_best_the_ridge_is_exactly_zero(x64):
    """beta > alpha and no noise: overfitting is obligatory."""
    ridge, test = best(power_law(2000, 1.3, 2.2), 100.0, np.inf, 0.0)
    assert ridge == 0
    np.testing.assert_allclose(test, errors(power_law(2000, 1.3, 2.2), 100.0, np.inf, 0.0, 0.0)[0], rtol=1e-12)


def test_isotropic_kernels_want_the_ratio_of_noise_to_power(x64):
    eigen = Eigenstructure(jnp.ones(1), jnp.full(1, 60.0), jnp.full(1, 300.0))  # 0.2 a mode
    ridge, _ = best(eigen, np.array([30.0, 300.0, 900.0]), np.inf, 0.7)
    np.testing.assert_allclose(ridge, 0.7 / 0.2, rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 80), k=st.integers(2, 80), noise=st.floats(0.01, 5))
def test_more_samples_and_more_features_never_hurt_at_the_best_ridge(seed, n, k, noise):
    """Theorem 1 on random spectra and coefficients."""
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        eigen = Eigenstructure(jnp.exp(rng.normal(0, 3, 50)), jnp.asarray(rng.exponential(size=50)))
        pairs = np.array([(n, k), (n + 7, k), (n, k + 7), (n + 7, k + 7)], float)
        _, test = best(eigen, pairs[:, 0], pairs[:, 1], noise)
        assert test[0] > test[1] * (1 - 1e-9)
        assert test[0] > test[2] * (1 - 1e-9)
        assert min(test[1], test[2]) > test[3] * (1 - 1e-9)


def test_as_many_features_as_modes_are_least_squares_without_a_ridge(x64):
    eigen = Eigenstructure(jnp.geomspace(1e-3, 1e3, 50), jnp.linspace(0.1, 2, 50))
    test, train = errors(eigen, np.array([50.0, 51.0, 90.0]), 50.0, 0.0, 0.7)
    np.testing.assert_allclose(test, [np.inf, 51 * 0.7, 0.7 * 90 / 40], rtol=1e-12)
    np.testing.assert_allclose(train[1:], [0.7 / 51, 0.7 * 40 / 90], rtol=1e-12)
    ridge, best_test = best(eigen, 51.0, 50.0, 0.7)
    assert ridge > 0
    assert 0 < best_test < test[1]


def test_derivatives_follow_the_optimum(x64):
    value = lambda n, noise: jnp.stack(optimal_ridge(power_law(), n, 64.0, noise))
    ours, h = jax.jit(jax.jacfwd(value, (0, 1)))(50.0, 0.3), 1e-4
    compiled = jax.jit(value)
    np.testing.assert_allclose(ours[0], (compiled(50 + h, 0.3) - compiled(50 - h, 0.3)) / (2 * h), rtol=1e-5)
    np.testing.assert_allclose(ours[1], (compiled(50.0, 0.3 + h) - compiled(50.0, 0.3 - h)) / (2 * h), rtol=1e-5)


def test_eigenvalues_split_over_devices_give_the_same_optimum(x64, mesh8):
    sharded = jax.jit(lambda e: optimal_ridge(e, 20.0, 50.0, 0.3, mesh=mesh8))(power_law(61))
    np.testing.assert_allclose(sharded, best(power_law(61), 20.0, 50.0, 0.3), rtol=1e-9)


def test_single_precision_finds_it_too():
    ridge, test = best(power_law(), 60.0, 60.0, 0.3)
    with jax.enable_x64(True):
        exact = best(power_law(), 60.0, 60.0, 0.3)
    assert test.dtype == jnp.float32
    np.testing.assert_allclose(test, exact[1], rtol=1e-5)
    np.testing.assert_allclose(ridge, exact[0], rtol=0.02)


BAD = [
    (lambda e: optimal_ridge(e, 0, 5), "n must be at least 1"),
    (lambda e: optimal_ridge(e, 5, 0), "k must be at least 1"),
    (lambda e: optimal_ridge(e, 5, 5, -0.1), "noise must be nonnegative"),
    (lambda e: optimal_ridge(e, 5, 5, candidates=2), "candidates must be"),
    (lambda e: optimal_ridge(e._replace(v2=jnp.ones(2)), 5, 5), "v2 must be an array"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(power_law())
