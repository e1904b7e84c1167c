"""Oracles: dense linear algebra, autodiff, sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxlib_methods.numerics import (
    Gaussian,
    GaussianMixture,
    fit_gaussian,
    fit_gaussian_randomized,
    fit_mixture,
    gaussian_covariance,
    gaussian_from_covariance,
    gaussian_log_density,
    gaussian_sample,
    isotropic_gaussian,
    mixture_from_labels,
    mixture_log_density,
    mixture_responsibilities,
    mixture_sample,
    spectral_map,
)

D = 6
pytestmark = pytest.mark.usefixtures("x64")


def random_gaussian(seed=0, rank=None, remainder=False):
    a = jax.random.normal(jax.random.key(seed), (D, D))
    return gaussian_from_covariance(a[0], a @ a.T / D, rank=rank, remainder=remainder)


@pytest.mark.parametrize(("rank", "remainder"), [(None, False), (2, False), (2, True), (0, True), (0, False)])
def test_spectral_map_is_the_function_of_the_dense_covariance(rank, remainder):
    g = random_gaussian(rank=rank, remainder=remainder)
    u = jax.random.normal(jax.random.key(5), (7, D))
    values, vectors = np.linalg.eigh(np.asarray(gaussian_covariance(g)))
    dense = (vectors * np.sqrt(values + 0.3)) @ vectors.T
    np.testing.assert_allclose(spectral_map(g, u, lambda lam: jnp.sqrt(lam + 0.3)), u @ dense, rtol=1e-12)


@pytest.mark.parametrize(("rank", "remainder"), [(None, False), (3, False), (3, True), (0, True)])
def test_log_density_is_that_of_the_dense_blurred_gaussian(rank, remainder):
    g = random_gaussian(rank=rank, remainder=remainder)
    x = jax.random.normal(jax.random.key(1), (9, D))
    dense = stats.multivariate_normal(g.mean, gaussian_covariance(g) + 0.7 * np.eye(D))
    np.testing.assert_allclose(gaussian_log_density(g, x, noise=0.7), dense.logpdf(x), rtol=1e-12)
    rows = jnp.linspace(0.5, 2, 9)
    each = [gaussian_log_density(g, x[i : i + 1], noise=rows[i])[0] for i in range(9)]
    np.testing.assert_allclose(gaussian_log_density(g, x, noise=rows), jnp.stack(each), rtol=1e-13)


def test_truncation_keeps_the_trace_only_with_the_remainder():
    full = random_gaussian()
    kept = random_gaussian(rank=2, remainder=True)
    cut = random_gaussian(rank=2)
    trace = jnp.trace(gaussian_covariance(full))
    np.testing.assert_allclose(jnp.trace(gaussian_covariance(kept)), trace, rtol=1e-12)
    np.testing.assert_allclose(jnp.trace(gaussian_covariance(cut)), full.variances[:2].sum(), rtol=1e-12)
    np.testing.assert_allclose(gaussian_covariance(isotropic_gaussian(full)), trace / D * np.eye(D), rtol=1e-12)
    assert not gaussian_covariance(isotropic_gaussian(full, pooled=False)).any()


def test_samples_have_the_mean_and_covariance_within_five_standard_errors():
    g = random_gaussian(rank=2, remainder=True)
    n = 40_000
    x = gaussian_sample(jax.random.key(2), g, n)
    cov = np.asarray(gaussian_covariance(g))
    assert np.all(np.abs(x.mean(0) - g.mean) < 5 * np.sqrt(np.diag(cov) / n))
    error = np.sqrt((cov**2 + np.outer(np.diag(cov), np.diag(cov))) / n)
    assert np.all(np.abs(np.cov(x.T) - cov) < 5 * error)


@pytest.mark.parametrize("block", [7, 100, 4096])
def test_fit_is_the_sample_mean_and_covariance(block):
    x = jax.random.normal(jax.random.key(0), (100, D)) @ jax.random.normal(jax.random.key(1), (D, D)) + 3
    g = fit_gaussian(x, block=block)
    np.testing.assert_allclose(g.mean, np.mean(x, 0), rtol=1e-12)
    np.testing.assert_allclose(gaussian_covariance(g), np.cov(x.T, ddof=0), rtol=1e-10, atol=1e-12)
    assert np.all(np.diff(g.variances) <= 0)
    unbiased = fit_gaussian(x, ddof=1, block=block)
    np.testing.assert_allclose(gaussian_covariance(unbiased), np.cov(x.T), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("remainder", [True, False])
def test_randomized_fit_equals_the_exact_one_where_the_spectrum_decays(remainder, mesh8):
    scales = 2.0 ** -jnp.arange(40)
    x = jax.random.normal(jax.random.key(0), (203, 40)) * scales[None] + 1
    exact = fit_gaussian(x, rank=5, remainder=remainder)
    for mesh in (None, mesh8):
        fast = fit_gaussian_randomized(jax.random.key(1), x, 5, remainder=remainder, iterations=4, block=32, mesh=mesh)
        np.testing.assert_allclose(fast.mean, exact.mean, rtol=1e-12)
        np.testing.assert_allclose(fast.variances, exact.variances, rtol=1e-8)
        np.testing.assert_allclose(fast.remainder, exact.remainder, rtol=1e-6, atol=1e-15)
        np.testing.assert_allclose(np.abs(jnp.sum(fast.basis * exact.basis, 0)), 1, rtol=1e-8)


def two_component_mixture():
    parts = [random_gaussian(0, 2, True), random_gaussian(1, 2, True)]
    return GaussianMixture(jnp.array([0.3, 0.7]), jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts))


def test_mixture_density_and_responsibilities_follow_bayes_rule():
    mixture = two_component_mixture()
    x = jax.random.normal(jax.random.key(3), (8, D))
    joint = np.stack(
        [
            w * np.exp(gaussian_log_density(jax.tree.map(lambda leaf, k=k: leaf[k], mixture.components), x, noise=0.1))
            for k, w in enumerate(mixture.weights)
        ],
        axis=1,
    )
    np.testing.assert_allclose(mixture_log_density(mixture, x, noise=0.1), np.log(joint.sum(1)), rtol=1e-12)
    shares = mixture_responsibilities(mixture, x, noise=0.1)
    np.testing.assert_allclose(shares, joint / joint.sum(1, keepdims=True), rtol=1e-10)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-14)


def test_mixture_samples_have_the_mixture_mean_within_five_standard_errors():
    mixture = two_component_mixture()
    n = 40_000
    x = mixture_sample(jax.random.key(4), mixture, n)
    mean = mixture.weights @ mixture.components.mean
    assert np.all(np.abs(x.mean(0) - mean) < 5 * x.std(0) / np.sqrt(n))


@pytest.mark.parametrize("block", [3, 64])
def test_mixture_from_labels_is_the_fit_of_each_class(block):
    x = jax.random.normal(jax.random.key(0), (50, D))
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 3, 50)).at[:3].set(jnp.arange(3))
    mixture = mixture_from_labels(x, labels, 4, rank=2, remainder=True, ridge=0.5, block=block)
    for k in range(3):
        alone = fit_gaussian(x[labels == k], rank=2, remainder=True)
        ours = jax.tree.map(lambda leaf, k=k: leaf[k], mixture.components)
        dense = gaussian_covariance(alone) + 0.5 * np.eye(D)
        np.testing.assert_allclose(ours.mean, alone.mean, atol=1e-12)
        np.testing.assert_allclose(gaussian_covariance(ours), dense, atol=1e-12)
        np.testing.assert_allclose(mixture.weights[k], np.mean(labels == k))
    assert float(mixture.weights[3]) == 0
    assert np.all(np.isfinite(mixture_log_density(mixture, x)))


def test_mixture_fit_finds_separated_clusters():
    centres = 50 * jax.random.normal(jax.random.key(1), (4, D))
    x = jnp.repeat(centres, 25, axis=0) + jax.random.normal(jax.random.key(2), (100, D))
    mixture = fit_mixture(jax.random.key(0), x, 4)
    np.testing.assert_allclose(np.sort(mixture.weights), 0.25)
    nearest = jnp.linalg.norm(mixture.components.mean[:, None] - centres[None], axis=-1).min(0)
    assert np.all(nearest < 5 * np.sqrt(D / 25))


BAD = [
    (lambda x: fit_gaussian(x[0]), ValueError, "x must be"),
    (lambda x: fit_gaussian(x.astype(int)), TypeError, "x must have a floating dtype"),
    (lambda x: fit_gaussian(x[:0]), ValueError, "x must be a matrix with at least one row"),
    (lambda x: fit_gaussian(x[:1], ddof=1), ValueError, "more than ddof"),
    (lambda x: fit_gaussian(x, rank=D + 1), ValueError, "rank must be"),
    (lambda x: fit_gaussian(x, rank=-1), ValueError, "rank must be"),
    (lambda x: fit_gaussian(x, block=0), ValueError, "block must be"),
    (lambda x: fit_gaussian(x.at[3, 2].set(jnp.nan)), ValueError, "x must be finite"),
    (lambda x: fit_gaussian_randomized(jax.random.key(0), x, 0), ValueError, "rank must be"),
    (lambda x: fit_gaussian_randomized(jax.random.key(0), x.at[0, 0].set(jnp.inf), 1), ValueError, "x must be finite"),
    (lambda x: mixture_from_labels(x, jnp.zeros(10), 2), TypeError, "labels must have an integer dtype"),
    (lambda x: mixture_from_labels(x, jnp.zeros(9, int), 2), ValueError, "labels must be"),
    (lambda x: mixture_from_labels(x, jnp.zeros(10, int), 2, ridge=-1.0), ValueError, "ridge must be"),
    (lambda x: gaussian_log_density(random_gaussian(), x[:, :2]), ValueError, "x must be"),
    (lambda x: gaussian_log_density(random_gaussian(), x, noise=-1.0), ValueError, "noise must be nonnegative"),
    (lambda x: gaussian_log_density(random_gaussian(), x, noise=jnp.ones(3)), ValueError, "noise must be"),
    (lambda x: gaussian_from_covariance(x[0], x), ValueError, "covariance must be"),
    (lambda x: gaussian_sample(jax.random.key(0), random_gaussian(), 0), ValueError, "count must be"),
    (
        lambda x: mixture_log_density(GaussianMixture(jnp.array([-1.0, 2.0]), two_component_mixture().components), x),
        ValueError,
        "mixture.weights must be",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(jax.random.normal(jax.random.key(0), (10, D)))


def test_zero_rank_and_full_rank_agree_for_an_isotropic_law():
    x = jax.random.normal(jax.random.key(0), (4, D))
    none = Gaussian(jnp.zeros(D), jnp.zeros((D, 0)), jnp.zeros(0), jnp.asarray(2.0))
    full = Gaussian(jnp.zeros(D), jnp.eye(D), jnp.full(D, 2.0), jnp.asarray(0.0))
    np.testing.assert_allclose(gaussian_log_density(none, x), gaussian_log_density(full, x), rtol=1e-13)
