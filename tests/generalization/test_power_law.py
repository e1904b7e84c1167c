"""Oracles: exact sums over the spectrum, the minimum on a grid, the threshold, stored exponents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxlib_methods.generalization import (
    Eigenstructure,
    is_overfitting_obligatory,
    krr_errors,
    optimal_fitting_ratio,
    overfitting_noise_threshold,
    power_law_eigenstructure,
    power_law_errors,
    power_law_kappa,
    rf_solve,
    suboptimality_bound,
)


def exponents():
    return st.floats(1.05, 3.0).flatmap(lambda a: st.tuples(st.just(a), st.floats(1.02, 2 * a + 0.95)))


def test_the_compressed_law_is_the_sum_over_all_modes(x64):
    """A sum over 2e6 modes leaves out 0.412 of the sheet's 2.010, all of it power out of reach."""
    index = jnp.arange(1.0, 2e6 + 1)
    cut = Eigenstructure(index**-1.5, index**-1.2)
    test, _ = krr_errors(cut, 1000, 0.0)
    np.testing.assert_allclose(test, 1.5982, rtol=5e-5)
    beyond = 2e6**-0.2 / 0.2
    q = rf_solve(cut, 1000, jnp.inf, 0.0).q
    np.testing.assert_allclose(1000 / (1000 - q) * beyond, 0.4120, rtol=1e-2)
    whole = power_law_eigenstructure(1.5, 1.2)
    finer = power_law_eigenstructure(1.5, 1.2, exact=50_000)
    np.testing.assert_allclose(krr_errors(whole, 1000, 0.0)[0], krr_errors(finer, 1000, 0.0)[0], rtol=1e-6)
    np.testing.assert_allclose(krr_errors(whole, 1000, 0.0)[0], 2.010, rtol=3e-3)


@pytest.mark.parametrize("alpha", [1.12, 2.0, 5.0])
def test_the_compressed_law_has_the_zeta_function_as_its_trace(x64, alpha):
    eigen = power_law_eigenstructure(alpha, alpha)
    head = np.arange(1.0, 200_001)
    zeta = np.sum(head**-alpha) + 200_000.5 ** (1 - alpha) / (alpha - 1)
    np.testing.assert_allclose(jnp.sum(eigen.lam * eigen.multiplicity), zeta, rtol=1e-7)
    np.testing.assert_allclose(eigen.v2.sum(), zeta, rtol=1e-7)


@pytest.mark.parametrize(("alpha", "beta"), [(1.5, 1.2), (2.0, 2.6), (1.2, 1.2), (1.5, 2.5)])
@pytest.mark.parametrize("ratio", [0.0, 0.3])
def test_continuum_formulas_meet_the_exact_sums_as_one_over_n(x64, alpha, beta, ratio):
    eigen, sizes = power_law_eigenstructure(alpha, beta), np.array([1e3, 1e4])
    kappa = power_law_kappa(alpha, sizes, ratio)
    noiseless, _ = power_law_errors(alpha, beta, sizes)
    test, train = power_law_errors(alpha, beta, sizes, 0.7, ratio)
    ridge = sizes * kappa * np.sqrt(ratio)
    exact = krr_errors(eigen, sizes, ridge, 0.7 * noiseless)
    gap = np.abs(np.array([test, *([train] if ratio else [])]) / np.array(exact)[: 1 + bool(ratio)] - 1)
    assert np.all(gap[:, 0] < 5e-3)
    assert np.all(gap[:, 1] < gap[:, 0] / 4)
    np.testing.assert_allclose(rf_solve(eigen, sizes, jnp.inf, ridge).kappa, kappa, rtol=5e-3)


@settings(deadline=None, max_examples=30)
@given(pair=exponents(), noise=st.just(0.0) | st.floats(1e-3, 60))
def test_the_best_fitting_ratio_is_the_minimum_of_the_error_on_a_grid(pair, noise):
    with jax.enable_x64(True):
        r = np.linspace(0, 0.9995, 2000)
        test, _ = power_law_errors(*pair, 1000, noise, r**2)
        best = np.sqrt(optimal_fitting_ratio(*pair, noise))
        assert abs(r[np.argmin(test)] - best) < 1e-3
        bound = suboptimality_bound(*pair, noise, r**2)
        least, _ = power_law_errors(*pair, 1000, noise, best**2)
        assert np.all(test / least >= bound - 1e-9)
        assert bool(is_overfitting_obligatory(*pair, noise)) == (best == 0)


def test_without_noise_the_best_ratio_is_explicit_and_it_is_continuous_at_the_threshold(x64):
    alpha, beta = np.array([1.5, 1.9, 1.2]), np.array([1.2, 1.3, 2.0])
    explicit = np.maximum(0, (alpha - beta) / ((alpha - 1) * beta))
    np.testing.assert_allclose(np.sqrt(optimal_fitting_ratio(alpha, beta)), explicit, rtol=1e-12)
    threshold = overfitting_noise_threshold(1.3, 1.6)
    around = optimal_fitting_ratio(1.3, 1.6, threshold + np.array([-1e-3, 0.0, 1e-9, 1e-5]))
    assert np.all(around[:2] == 0)
    assert np.all((around[2:] > 0) & (around[2:] < 1e-8))


def test_theorem_two_on_the_papers_exponents(x64):
    """MNIST, SVHN and CIFAR-10 at noise 0, 1, 5 and 50."""
    alpha, beta = np.array([1.12, 1.22, 1.17])[:, None], np.array([1.36, 1.20, 1.14])[:, None]
    truth = [[0, 0, 0.187, 0.771], [0.006, 0.259, 0.644, 0.932], [0.024, 0.312, 0.691, 0.948]]
    ratios = optimal_fitting_ratio(alpha, beta, np.array([[0.0, 1.0, 5.0, 50.0]]))
    np.testing.assert_allclose(ratios, truth, atol=6e-4)


def test_the_best_ratio_is_differentiable(x64):
    gradient, h = jax.grad(optimal_fitting_ratio, (0, 1, 2))(1.2, 1.3, 5.0), 1e-6
    for i, slope in enumerate(gradient):
        step = np.eye(3)[i] * h
        ahead, behind = (optimal_fitting_ratio(*(np.array([1.2, 1.3, 5.0]) + s)) for s in (step, -step))
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * h), rtol=1e-7)


BAD = [
    (lambda: power_law_errors(1.0, 1.2, 100), "alpha must be above 1"),
    (lambda: power_law_errors(1.5, 1.0, 100), "beta must be above 1"),
    (lambda: power_law_errors(1.5, 4.0, 100), "beta must be below 2 alpha"),
    (lambda: power_law_errors(np.array([1.5, 3.0]), 4.1, 100), "beta must be below 2 alpha"),
    (lambda: power_law_errors(float("nan"), 1.2, 100), "alpha must be above 1"),
    (lambda: power_law_errors(1.5, 1.2, 0), "n must be at least 1"),
    (lambda: power_law_errors(1.5, 1.2, 100, -1.0), "noise_ratio must be nonnegative"),
    (lambda: power_law_errors(1.5, 1.2, 100, 0.0, 1.0), "fitting_ratio must be at least 0 and below 1"),
    (lambda: power_law_kappa(0.9, 100), "alpha must be above 1"),
    (lambda: optimal_fitting_ratio(1.5, 0.9), "beta must be above 1"),
    (lambda: overfitting_noise_threshold(1.5, 4.0), "beta must be below 2 alpha"),
    (lambda: is_overfitting_obligatory(1.5, 1.2, -0.1), "noise_ratio must be nonnegative"),
    (lambda: suboptimality_bound(1.5, 1.2, 0.0, -0.1), "fitting_ratio must be"),
    (lambda: power_law_eigenstructure(1.0, 1.2), "alpha must be above 1"),
    (lambda: power_law_eigenstructure(1.5, 1.2, exact=0), "exact must be"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
