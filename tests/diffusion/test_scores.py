"""Oracles: autodiff of log densities, limits, symmetries, the naive sum over the training set, eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import special_ortho_group

from jaxlib_methods.diffusion import (
    delta_cross_term_score,
    delta_denoise,
    delta_first_order_score,
    delta_log_density,
    delta_score,
    gaussian_denoise,
    gaussian_equivalent_score,
    gaussian_far_field_score,
    gaussian_score,
    mixture_denoise,
    mixture_score,
)
from jaxlib_methods.numerics import (
    Gaussian,
    GaussianMixture,
    fit_gaussian,
    gaussian_from_covariance,
    gaussian_log_density,
    gaussian_sample,
    isotropic_gaussian,
    mixture_log_density,
)

D = 5
SIGMAS = [0.05, 0.7, np.array([0.05, 0.3, 1.0, 9.0])]


def gaussian(seed=0, rank=None, remainder=False):
    a = jax.random.normal(jax.random.key(seed), (D, D))
    return gaussian_from_covariance(a[0], a @ a.T, rank=rank, remainder=remainder)


def mixture(rank=None, remainder=False):
    parts = [gaussian(seed, rank, remainder) for seed in range(3)]
    return GaussianMixture(jnp.array([0.2, 0.3, 0.5]), jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts))


def probe(rows=4):
    return 2 * jax.random.normal(jax.random.key(9), (rows, D))


def naive_denoise(points, x, sigma):
    sigma = jnp.broadcast_to(jnp.asarray(sigma), x.shape[:1])[:, None]
    logits = -jnp.sum((x[:, None] - points[None]) ** 2, -1) / (2 * sigma**2)
    return jax.nn.softmax(logits) @ points


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize(("rank", "remainder"), [(None, False), (2, False), (2, True), (0, True), (0, False)])
def test_gaussian_score_is_the_gradient_of_the_log_density(x64, sigma, rank, remainder):
    g, x = gaussian(rank=rank, remainder=remainder), probe()
    truth = jax.grad(lambda x: gaussian_log_density(g, x, noise=jnp.asarray(sigma) ** 2).sum())(x)
    np.testing.assert_allclose(gaussian_score(g, x, sigma), truth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize(("rank", "remainder"), [(None, False), (2, False), (2, True)])
@pytest.mark.parametrize("block", [None, 2])
def test_mixture_score_is_the_gradient_of_the_log_density(x64, sigma, rank, remainder, block):
    m, x = mixture(rank, remainder), probe()
    truth = jax.grad(lambda x: mixture_log_density(m, x, noise=jnp.asarray(sigma) ** 2).sum())(x)
    np.testing.assert_allclose(mixture_score(m, x, sigma, block=block), truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_denoisers_obey_tweedie(x64, sigma):
    x, points = probe(), probe(20)
    noise = jnp.broadcast_to(jnp.asarray(sigma), (4,))[:, None] ** 2
    pairs = [
        (gaussian_denoise(gaussian(), x, sigma), gaussian_score(gaussian(), x, sigma)),
        (mixture_denoise(mixture(), x, sigma), mixture_score(mixture(), x, sigma)),
        (delta_denoise(points, x, sigma), delta_score(points, x, sigma)),
    ]
    for denoised, score in pairs:
        np.testing.assert_allclose(denoised, x + noise * score, rtol=1e-10, atol=1e-11)


def test_low_rank_equals_the_full_law_with_zero_variances(x64):
    low = gaussian(rank=2)
    full = gaussian()
    padded = full._replace(variances=full.variances.at[2:].set(0))
    for function in (gaussian_score, gaussian_denoise):
        np.testing.assert_allclose(function(low, probe(), 0.3), function(padded, probe(), 0.3), rtol=1e-10)


def test_one_component_is_a_gaussian_and_equal_components_are_too(x64):
    one = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), gaussian())
    for weights, parts in ((jnp.ones(1), jax.tree.map(lambda leaf: leaf[:1], one)), (jnp.array([0.4, 0.6]), one)):
        ours = mixture_score(GaussianMixture(weights, parts), probe(), 0.4)
        np.testing.assert_allclose(ours, gaussian_score(gaussian(), probe(), 0.4), rtol=1e-11)


def test_points_without_spread_as_components_are_the_training_set(x64):
    points = probe(12)
    parts = Gaussian(points, jnp.zeros((12, D, 0)), jnp.zeros((12, 0)), jnp.zeros(12))
    m = GaussianMixture(jnp.full(12, 1 / 12), parts)
    x = probe() + 0.3
    np.testing.assert_allclose(mixture_score(m, x, 0.8), delta_score(points, x, 0.8), rtol=1e-10)
    ours = delta_log_density(points, probe(), 0.8)
    np.testing.assert_allclose(ours, mixture_log_density(m, probe(), noise=0.64), rtol=1e-12)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_delta_denoiser_in_blocks_is_the_naive_sum(x64, block, sigma):
    points = probe(61)
    ours = delta_denoise(points, probe(), sigma, block=block)
    np.testing.assert_allclose(ours, naive_denoise(points, probe(), sigma), rtol=1e-10, atol=1e-12)


def test_scores_move_with_translation_and_rotation(x64):
    q, shift = jnp.asarray(special_ortho_group.rvs(D, random_state=0)), jnp.arange(1.0, D + 1)[None]
    g, x, points = gaussian(rank=2, remainder=True), probe(), probe(9)
    moved = g._replace(mean=q @ g.mean + shift[0], basis=q @ g.basis)
    ours = gaussian_score(moved, x @ q.T + shift, 0.5)
    np.testing.assert_allclose(ours, gaussian_score(g, x, 0.5) @ q.T, rtol=1e-10)
    ours = delta_score(points @ q.T + shift, x @ q.T + shift, 0.5)
    np.testing.assert_allclose(ours, delta_score(points, x, 0.5) @ q.T, rtol=1e-9, atol=1e-11)


def test_high_noise_gives_the_mean_and_low_noise_the_nearest_point(x64):
    points = probe(30)
    np.testing.assert_allclose(delta_denoise(points, probe(), 1e6), points.mean(0)[None].repeat(4, 0), atol=1e-9)
    np.testing.assert_allclose(gaussian_denoise(gaussian(), probe(), 1e7)[0], gaussian().mean, atol=1e-9)
    nearest = points[jnp.argmin(jnp.sum((probe()[:, None] - points[None]) ** 2, -1), 1)]
    np.testing.assert_allclose(delta_denoise(points, probe(), 1e-3), nearest, rtol=1e-12)


def test_denoising_error_of_a_gaussian_is_its_posterior_variance_within_five_standard_errors(x64):
    g, sigma, n = gaussian(), 0.7, 20_000
    clean = gaussian_sample(jax.random.key(0), g, n)
    noisy = clean + sigma * jax.random.normal(jax.random.key(1), clean.shape)
    errors = jnp.sum((gaussian_denoise(g, noisy, sigma) - clean) ** 2, 1)
    truth = jnp.sum(g.variances * sigma**2 / (g.variances + sigma**2))
    assert abs(errors.mean() - truth) < 5 * errors.std() / np.sqrt(n)


def test_mean_only_and_pooled_scores_are_the_isotropic_ones(x64):
    g, x = gaussian(), probe()
    mean_only, pooled = (isotropic_gaussian(g, pooled=p) for p in (False, True))
    np.testing.assert_allclose(gaussian_score(mean_only, x, 0.5), (g.mean[None] - x) / 0.25, rtol=1e-12)
    variance = g.variances.mean()
    np.testing.assert_allclose(gaussian_score(pooled, x, 0.5), (g.mean[None] - x) / (0.25 + variance), rtol=1e-12)


def test_far_fields_approach_the_gaussian_score_at_their_orders(x64):
    """Relative error of the truncated series: (lam/sigma^2)^2 for the first order, ^3 for the second."""
    g = gaussian()
    for order, power in (("first", 4), ("second", 6), ("regularised", 4)):
        error = []
        for sigma in (50.0, 100.0):
            x = g.mean[None] + sigma * probe()
            exact = gaussian_score(g, x, sigma)
            ours = gaussian_far_field_score(g, x, sigma, order=order)
            error.append(jnp.linalg.norm(ours - exact) / jnp.linalg.norm(exact))
        assert abs(np.log2(error[0] / error[1]) - power) < 0.05, order


def test_sums_over_the_training_set_give_the_gaussian_fields(x64):
    points = probe(40)
    g, x = fit_gaussian(points), 5 + 3 * probe()
    first = gaussian_far_field_score(g, x, 2.0, order="first")
    np.testing.assert_allclose(delta_first_order_score(points, x, 2.0, block=7), first, rtol=1e-10)
    ours = gaussian_equivalent_score(g, points, x, 2.0, block=7)
    np.testing.assert_allclose(ours, gaussian_score(g, x, 2.0), rtol=1e-10)


def test_cross_term_drops_the_points_norms(x64):
    points, x = probe(40), probe()
    centred = points - points.mean(0)[None]
    weights = jax.nn.softmax((x - points.mean(0)[None]) @ centred.T / 4, axis=1)
    truth = (weights @ points - x) / 4
    np.testing.assert_allclose(delta_cross_term_score(points, x, 2.0, block=7), truth, rtol=1e-11)
    on_sphere = points / jnp.linalg.norm(points, axis=1, keepdims=True)
    mirrored = jnp.concatenate([on_sphere, -on_sphere])
    ours = delta_cross_term_score(mirrored, x, 0.7)
    np.testing.assert_allclose(ours, delta_score(mirrored, x, 0.7), rtol=1e-10)


@pytest.mark.parametrize("n", [64, 61])
def test_delta_score_on_eight_devices_equals_one_and_gathers_nothing(n, mesh8):
    points, x = probe(n), probe()
    sharded = jax.jit(lambda p, x: delta_score(p, x, 0.5, block=3, mesh=mesh8))
    np.testing.assert_allclose(sharded(points, x), delta_score(points, x, 0.5), rtol=1e-4, atol=1e-4)
    ours, truth = jax.jit(lambda p, x: [delta_log_density(p, x, 0.5, mesh=mesh) for mesh in (mesh8, None)])(points, x)
    np.testing.assert_allclose(ours, truth, rtol=1e-5)
    if n == 64:
        points = jax.device_put(points, jax.NamedSharding(mesh8, jax.P("data")))
        text = sharded.lower(points, x).compile().as_text()
        assert "all-reduce" in text
        assert "all-gather" not in text


@pytest.mark.parametrize("sigma", [0.5, np.array([0.05, 0.3, 1.0, 9.0])])
def test_delta_denoiser_splits_points_and_batch_over_two_axes_with_gradients(mesh2x4, sigma):
    points, x = probe(29), probe()
    split = dict(block=3, mesh=mesh2x4, axis="model", batch_axis="data")

    @jax.jit
    def values_and_gradients(x):
        ways = [lambda x, options=options: delta_denoise(points, x, sigma, **options) for options in (split, {})]
        return [(way(x), jax.grad(lambda x, way=way: jnp.sum(jnp.sin(way(x))))(x)) for way in ways]

    (ours, gradient), (truth, expected) = values_and_gradients(x)
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_scores_of_a_sharded_batch_stay_sharded(mesh8):
    x = jax.device_put(probe(16), jax.NamedSharding(mesh8, jax.P("data")))
    for function in (lambda x: gaussian_score(gaussian(), x, 0.5), lambda x: mixture_score(mixture(), x, 0.5)):
        compiled = jax.jit(function).lower(x).compile()
        assert "all-gather" not in compiled.as_text()
        np.testing.assert_allclose(jax.jit(function)(x), function(probe(16)), rtol=2e-4, atol=1e-4)


def test_far_from_the_data_single_precision_keeps_its_digits():
    """sigma = 80: the training-set denoiser in float32 against float64."""
    points = 0.5 * jax.random.normal(jax.random.key(0), (200, 64)) + 3
    x = points[:32] + 80 * jax.random.normal(jax.random.key(1), (32, 64))
    with jax.enable_x64(True):
        truth = delta_denoise(jnp.asarray(points, jnp.float64), jnp.asarray(x, jnp.float64), 80.0)
    np.testing.assert_allclose(delta_denoise(points, x, 80.0), truth, rtol=1e-6)


BAD = [
    (lambda x: gaussian_score(gaussian(), x, 0.0), "sigma must be positive"),
    (lambda x: gaussian_score(gaussian(), x, -1.0), "sigma must be positive"),
    (lambda x: gaussian_score(gaussian(), x, float("nan")), "sigma must be positive"),
    (lambda x: gaussian_denoise(gaussian(), x, jnp.ones(3)), "sigma must be"),
    (lambda x: gaussian_score(gaussian(), x[0], 1.0), "x must be"),
    (lambda x: gaussian_score(gaussian(), x[:, :2], 1.0), "x must be"),
    (lambda x: mixture_score(mixture(), x[:, :2], 1.0), "x must be"),
    (lambda x: mixture_score(mixture(), x, 0.0), "sigma must be positive"),
    (lambda x: mixture_score(mixture(), x, 1.0, block=0), "block must be"),
    (lambda x: delta_denoise(x[:0], x, 1.0), "points must be a matrix with at least one row"),
    (lambda x: delta_denoise(x[:, :2], x, 1.0), "x must be"),
    (lambda x: delta_denoise(x, x, 1.0, block=0), "block must be"),
    (lambda x: delta_cross_term_score(x[:0], x, 1.0), "points must be"),
    (lambda x: gaussian_far_field_score(gaussian(), x, 1.0, order="third"), "order must be one of"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(probe())


def test_bad_dtypes_are_refused():
    with pytest.raises(TypeError, match="x must have a floating dtype"):
        gaussian_score(gaussian(), jnp.ones((2, D), int), 1.0)
