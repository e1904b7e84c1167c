"""Measured eigenstructures, exponents and ridge paths: exact matrices, known laws, direct solves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.generalization import (
    Eigenstructure,
    empirical_eigenstructure,
    fit_exponents,
    krr_errors,
    krr_learning_curve,
    krr_path_errors,
    pool_corrected,
    power_law_eigenstructure,
    rf_curve_errors,
    rf_path_errors,
    rf_solve,
    sample_gaussian_task,
    trace_kappa,
)

RIDGES = jnp.array([0.0, 0.01, 1.0])


def power_law(modes=200, alpha=1.4, beta=1.3):
    index = jnp.arange(1.0, modes + 1)
    return Eigenstructure(index**-alpha, index**-beta)


def test_a_kernel_matrix_gives_back_its_eigenvalues_and_target_power(x64):
    n = 40
    basis = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (n, n), float))[0]
    lam, coefficients = jnp.arange(1.0, n + 1)[::-1] ** 0.7, jax.random.normal(jax.random.key(1), (n, 3), float)
    kernel = n * (basis * lam[None]) @ basis.T
    eigen = empirical_eigenstructure(kernel, jnp.sqrt(n) * basis @ coefficients)
    np.testing.assert_allclose(eigen.lam, lam, rtol=1e-10)
    np.testing.assert_allclose(eigen.v2, (coefficients**2).sum(1), rtol=1e-9)
    one = empirical_eigenstructure(kernel, jnp.sqrt(n) * basis @ coefficients[:, 0])
    np.testing.assert_allclose(one.v2, coefficients[:, 0] ** 2, rtol=1e-9)


def test_a_rank_deficient_kernel_has_no_negative_eigenvalues():
    rows = jax.random.normal(jax.random.key(0), (30, 4))
    eigen = empirical_eigenstructure(rows @ rows.T, rows)
    assert jnp.all(eigen.lam >= 0)
    np.testing.assert_allclose(eigen.v2.sum(), jnp.mean(jnp.sum(rows**2, 1)), rtol=1e-4)


def test_the_pool_correction_makes_the_pools_mean_of_train_and_test():
    test, train, n, pool = 0.8, 0.1, 30, 100
    left = pool_corrected(test, train, n, pool)
    np.testing.assert_allclose((n * train + (pool - n) * left) / pool, test, rtol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_the_trace_estimates_kappa_within_five_percent(x64, ridge):
    eigen = power_law()
    rows = lambda key: sample_gaussian_task(key, eigen, 60)[0]
    estimate = jax.jit(jax.vmap(lambda key: trace_kappa(rows(key) @ rows(key).T, ridge)))
    kappas = estimate(jax.random.split(jax.random.key(0), 40))
    np.testing.assert_allclose(1 / jnp.mean(1 / kappas), rf_solve(eigen, 60, jnp.inf, ridge).kappa, rtol=0.05)


def test_exponents_of_exact_power_laws_are_theirs(x64):
    sizes = np.geomspace(200, 20_000, 8)
    eigen = power_law_eigenstructure(1.5, 1.2)
    kappas, errors = rf_solve(eigen, sizes, jnp.inf, 0.0).kappa, krr_errors(eigen, sizes, 0.0)[0]
    fit = fit_exponents(jax.random.key(0), sizes, kappas, errors)
    np.testing.assert_allclose((fit.alpha, fit.beta), (1.5, 1.2), atol=0.01)


def test_intervals_cover_the_true_exponents_nine_times_in_ten(x64):
    """Lognormal errors of 10 %, 200 repetitions: coverage within four binomial deviations, and no wider than needed."""
    sizes = np.geomspace(100, 3000, 10)

    def covered(key):
        keys = jax.random.split(key, 3)
        kappas = (sizes**-1.5)[None] * jnp.exp(0.1 * jax.random.normal(keys[0], (4, 10), float))
        errors = (sizes**-0.3)[None] * jnp.exp(0.1 * jax.random.normal(keys[1], (4, 10), float))
        fit = fit_exponents(keys[2], sizes, kappas, errors, resamples=200)
        inside = lambda interval, truth: (interval[0] < truth) & (truth < interval[1])
        return jnp.array([inside(fit.alpha_interval, 1.5), inside(fit.beta_interval, 1.3)])

    share = jax.lax.map(covered, jax.random.split(jax.random.key(0), 200), batch_size=50).mean(0)
    assert np.all(np.abs(share - 0.88) < 4 * np.sqrt(0.1 * 0.9 / 200))


@pytest.mark.parametrize("outputs", [(), (3,)])
def test_kernel_paths_are_direct_solves(x64, outputs):
    rows, y = (
        jax.random.normal(jax.random.key(0), (25, 40), float),
        jax.random.normal(jax.random.key(1), (25, *outputs), float),
    )
    kernel = rows @ rows.T
    test, train = krr_path_errors(kernel[:15, :15], kernel[15:, :15], y[:15], y[15:], RIDGES)
    square = lambda a: np.mean(np.sum(np.asarray(a).reshape(len(a), -1) ** 2, 1))
    for i, ridge in enumerate(RIDGES):
        alpha = np.linalg.solve(kernel[:15, :15] + ridge * np.eye(15), y[:15])
        np.testing.assert_allclose(test[i], square(kernel[15:, :15] @ alpha - y[15:]), rtol=1e-9)
        np.testing.assert_allclose(train[i], square(kernel[:15, :15] @ alpha - y[:15]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", [6, 15, 40])
def test_feature_paths_are_kernel_paths_on_either_side_of_n_equal_k(x64, k):
    features, y = (
        jax.random.normal(jax.random.key(0), (25, k), float),
        jax.random.normal(jax.random.key(1), (25,), float),
    )
    parts = features[:15], features[15:], y[:15], y[15:]
    kernel = features @ features.T
    ours = rf_path_errors(*parts, RIDGES)
    truth = krr_path_errors(kernel[:15, :15], kernel[15:, :15], y[:15], y[15:], RIDGES)
    np.testing.assert_allclose(ours, truth, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("over", ["features", "samples"])
def test_curves_of_random_features_are_paths_of_the_leading_ones(x64, over):
    features, y = (
        jax.random.normal(jax.random.key(0), (30, 12), float),
        jax.random.normal(jax.random.key(1), (30, 2), float),
    )
    train, test, ridges, sizes = features[:20], features[20:], RIDGES[1:], np.array([4, 9, 12])
    ours = rf_curve_errors(train, test, y[:20], y[20:], ridges, sizes, over=over)
    for i, size in enumerate(sizes):
        if over == "features":
            scale = np.sqrt(12 / size)
            truth = rf_path_errors(scale * train[:, :size], scale * test[:, :size], y[:20], y[20:], ridges)
        else:
            truth = rf_path_errors(train[:size], test, y[:size], y[20:], ridges)
        np.testing.assert_allclose(np.array(ours)[:, i], truth, rtol=1e-9)


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_learning_curves_of_one_factorisation_are_separate_fits(x64, ridge):
    rows, y = (
        jax.random.normal(jax.random.key(0), (30, 40), float),
        jax.random.normal(jax.random.key(1), (30, 2), float),
    )
    kernel, sizes = rows @ rows.T, (3, 11, 20)
    kappas, errors = krr_learning_curve(kernel[:20, :20], kernel[20:, :20], y[:20], y[20:], ridge, sizes=sizes)
    for i, n in enumerate(sizes):
        np.testing.assert_allclose(kappas[i], trace_kappa(kernel[:n, :n], ridge), rtol=1e-10)
        truth, _ = krr_path_errors(kernel[:n, :n], kernel[20:, :n], y[:n], y[20:], jnp.array([ridge]))
        np.testing.assert_allclose(errors[i], truth[0], rtol=1e-8)


def test_sampled_tasks_have_the_kernel_and_the_targets_power(x64):
    eigen, n = power_law(20), 20_000
    phi, y = sample_gaussian_task(jax.random.key(0), eigen, n, None, 0.5)
    np.testing.assert_allclose(jnp.mean(phi**2, 0), eigen.lam, rtol=5 * np.sqrt(2 / n))
    np.testing.assert_allclose(jnp.var(y), eigen.v2.sum() + 0.5, rtol=5 * np.sqrt(2 / n))
    features, again = sample_gaussian_task(jax.random.key(0), eigen, 50, 20_000, 0.5)
    phi, same = sample_gaussian_task(jax.random.key(0), eigen, 50, None, 0.5)
    np.testing.assert_array_equal(again, same)
    scale = jnp.sqrt(jnp.outer(jnp.sum(phi**2, 1), jnp.sum(phi**2, 1)))
    assert jnp.max(jnp.abs(features @ features.T - phi @ phi.T) / scale) < 6 / np.sqrt(20_000 / 2)


SQUARE, COLUMN, KEY = jnp.eye(3), jnp.ones((3, 1)), jax.random.key(0)
SIZES = jnp.array([100.0, 200.0, 400.0])
BAD = [
    (lambda: empirical_eigenstructure(jnp.ones((3, 2)), COLUMN), "kernel must be an array of shape"),
    (lambda: empirical_eigenstructure(SQUARE, jnp.ones((2, 1))), "targets must be an array of shape"),
    (lambda: pool_corrected(1.0, 0.1, 100, 100), "pool - n must be positive"),
    (lambda: pool_corrected(1.0, 0.1, 0, 100), "n must be positive"),
    (lambda: trace_kappa(-SQUARE), "kernel .* must be positive definite"),
    (lambda: trace_kappa(jnp.ones((3, 3))), "kernel .* must be positive definite"),
    (lambda: trace_kappa(SQUARE, -0.1), "ridge must be nonnegative"),
    (lambda: trace_kappa(jnp.ones((3, 2))), "kernel must be an array of shape"),
    (lambda: fit_exponents(KEY, SIZES[:2], SIZES[:2], SIZES[:2]), "sizes must be at least three"),
    (lambda: fit_exponents(KEY, SIZES, SIZES[:2], SIZES), "kappas must be an array of shape"),
    (lambda: fit_exponents(KEY, SIZES, SIZES, SIZES[:2]), "errors must be an array of shape"),
    (lambda: fit_exponents(KEY, SIZES, SIZES, SIZES, level=1.0), "level must be above 0"),
    (lambda: krr_path_errors(SQUARE, jnp.ones((2, 4)), COLUMN, COLUMN[:2], RIDGES), "the test rows must be"),
    (lambda: krr_path_errors(SQUARE, SQUARE, COLUMN[:2], COLUMN, RIDGES), "targets must be an array of shape"),
    (lambda: krr_path_errors(SQUARE, SQUARE, COLUMN, COLUMN[:2], RIDGES), "test_targets must be an array of shape"),
    (lambda: rf_path_errors(SQUARE, SQUARE, COLUMN, COLUMN, -RIDGES), "nonnegative"),
    (lambda: rf_curve_errors(SQUARE, SQUARE, COLUMN, COLUMN, RIDGES[1:], np.array([4])), "sizes must be at least 1"),
    (lambda: rf_curve_errors(SQUARE, SQUARE, COLUMN, COLUMN, RIDGES, np.array([2])), "ridges must be positive"),
    (lambda: rf_curve_errors(SQUARE, SQUARE, COLUMN, COLUMN, RIDGES, np.array([2]), over="x"), "over must be one of"),
    (lambda: krr_learning_curve(SQUARE, SQUARE, COLUMN, COLUMN, sizes=(4,)), "sizes must be"),
    (lambda: krr_learning_curve(-SQUARE, SQUARE, COLUMN, COLUMN, sizes=(2,)), "must be positive definite"),
    (lambda: sample_gaussian_task(KEY, power_law(5), 0), "samples must be"),
    (lambda: sample_gaussian_task(KEY, power_law(5), 2, 0), "features must be"),
    (lambda: sample_gaussian_task(KEY, power_law(5), 2, 2, -1.0), "noise must be nonnegative"),
    (lambda: sample_gaussian_task(KEY, power_law_eigenstructure(1.5, 1.2), 2), "multiplicity must be None"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
