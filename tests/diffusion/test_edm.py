"""Oracles: unit variances, the effective target, the schedule formulas, exact geometric transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.ndimage import map_coordinates

from jaxlib_methods.diffusion import (
    NUM_LABELS,
    augment,
    edm_denoiser,
    edm_ema_decay,
    edm_loss,
    edm_optimizer,
    edm_preconditioning,
    gaussian_denoise,
)
from jaxlib_methods.numerics import Gaussian


@pytest.mark.parametrize("sigma_data", [0.5, 2.0])
def test_input_and_target_of_the_network_have_unit_variance(x64, sigma_data):
    sigma = jnp.logspace(-3, 2, 11)
    c = edm_preconditioning(sigma, sigma_data=sigma_data)
    np.testing.assert_allclose(c.input**2 * (sigma**2 + sigma_data**2), 1, rtol=1e-12)
    target = ((1 - c.skip) ** 2 * sigma_data**2 + c.skip**2 * sigma**2) / c.output**2
    np.testing.assert_allclose(target, 1, rtol=1e-10)
    np.testing.assert_allclose(c.weight * c.output**2, 1, rtol=1e-12)
    np.testing.assert_allclose(c.noise, jnp.log(sigma) / 4)


def test_a_network_that_outputs_zero_is_the_denoiser_of_isotropic_data(x64):
    x = jax.random.normal(jax.random.key(0), (3, 4))
    g = Gaussian(jnp.zeros(4), jnp.zeros((4, 0)), jnp.zeros(0), jnp.asarray(0.25))
    zero = edm_denoiser(lambda params, x, noise: jnp.zeros_like(x))
    sigma = jnp.array([0.1, 1.0, 10.0])
    np.testing.assert_allclose(zero(None, x, sigma), gaussian_denoise(g, x, sigma), rtol=1e-12)


def test_the_denoiser_passes_arguments_and_one_noise_label_an_image():
    def network(params, x, noise, label, *, scale):
        assert noise.shape == (3,)
        return params * label * scale * jnp.ones_like(x)

    ours = edm_denoiser(network)(2.0, jnp.zeros((3, 4, 4, 1)), 0.5, 3.0, scale=5.0)
    np.testing.assert_allclose(ours, 30 * edm_preconditioning(0.5).output, rtol=1e-6)


def test_the_loss_of_the_exact_gaussian_denoiser_is_its_posterior_variance(x64):
    """E weight sum_k lam_k sigma^2 / (lam_k + sigma^2) by quadrature over log sigma; five standard errors."""
    lam = jnp.array([1.0, 0.25, 0.04])
    g = Gaussian(jnp.zeros(3), jnp.eye(3), lam, jnp.asarray(0.0))
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    sigma = np.exp(-1.2 + 1.2 * nodes)[:, None]
    each = edm_preconditioning(sigma).weight * (lam[None] * sigma**2 / (lam[None] + sigma**2))
    truth = np.sum(weights[:, None] * each) / np.sqrt(2 * np.pi)
    denoise = lambda params, x, sigma: gaussian_denoise(g, x, sigma)

    def loss(keys):
        return edm_loss(keys[0], denoise, None, jnp.sqrt(lam)[None] * jax.random.normal(keys[1], (500, 3)))

    losses = jax.lax.map(loss, jax.random.split(jax.random.key(1), (200, 2)))
    assert abs(losses.mean() - truth) < 5 * losses.std() / np.sqrt(200)


def test_the_average_forgets_half_in_a_half_life_and_ramps_up(x64):
    decay = edm_ema_decay(512, half_life=51_200, ramp=None)
    np.testing.assert_allclose(decay(jnp.asarray(3)) ** 100, 0.5, rtol=1e-6)
    ramped = edm_ema_decay(512, half_life=51_200, ramp=0.05)
    np.testing.assert_allclose(ramped(jnp.asarray(100)), 0.5 ** (1 / 5), rtol=1e-6)
    np.testing.assert_allclose(ramped(jnp.asarray(10**6)), decay(jnp.asarray(10**6)), rtol=1e-6)
    assert ramped(jnp.asarray(0)) == 0


def test_the_optimiser_is_adam_with_warm_up_on_cleaned_gradients():
    ours = edm_optimizer(1e-2, warmup_steps=4)
    truth = optax.adam(lambda count: 1e-2 * jnp.minimum((count + 1) / 4, 1), eps=1e-8)
    params = {"w": jnp.ones(3)}
    states = [ours.init(params), truth.init(params)]
    for dirty, clean in [([jnp.nan, jnp.inf, -jnp.inf], [0.0, 1e5, -1e5]), ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])]:
        updates, states[0] = ours.update({"w": jnp.array(dirty)}, states[0], params)
        expected, states[1] = truth.update({"w": jnp.array(clean)}, states[1], params)
        np.testing.assert_array_equal(updates["w"], expected["w"])


def images(count=64):
    return jax.random.uniform(jax.random.key(5), (count, 9, 9, 2))


def test_without_augmentation_only_the_horizontal_flip_is_drawn():
    out, labels = augment(jax.random.key(0), images(), probability=0.0)
    flipped = np.asarray(labels[:, 0]) == 1
    assert 15 < flipped.sum() < 49
    assert not np.asarray(labels[:, 1:]).any()
    truth = np.where(flipped[:, None, None, None], np.asarray(images())[:, :, ::-1], images())
    np.testing.assert_allclose(out, truth, atol=1e-5)


def test_labels_describe_independent_draws_of_their_stated_laws():
    _, labels = augment(jax.random.key(0), jnp.zeros((4000, 2, 2, 1)), probability=1.0)
    labels = np.asarray(labels)
    assert labels.shape == (4000, NUM_LABELS)
    np.testing.assert_allclose(labels[:, :2].mean(0), 0.5, atol=5 * 0.5 / 63)
    np.testing.assert_allclose(labels[:, [2, 7, 8]].std(0), 1, atol=0.08)
    np.testing.assert_allclose((labels[:, 3] + 1) ** 2 + labels[:, 4] ** 2, 1, atol=1e-5)
    np.testing.assert_allclose(np.hypot(labels[:, 5], labels[:, 6]).mean(), np.sqrt(2 / np.pi), atol=0.06)
    some = np.asarray(augment(jax.random.key(1), jnp.zeros((4000, 2, 2, 1)), probability=0.12)[1])
    np.testing.assert_allclose((some[:, [2, 4, 5, 7]] != 0).mean(0), 0.12, atol=5 * 0.33 / 63)


def test_a_bright_spot_moves_as_its_labels_say():
    """The peak of a spot follows flips, scale, rotation, stretch and translation."""
    size = 65
    rows, columns = jnp.meshgrid(jnp.arange(size), jnp.arange(size), indexing="ij")
    place = np.array([6.0, -4.0])
    spot = jnp.exp(-((rows - 32 - place[0]) ** 2 + (columns - 32 - place[1]) ** 2) / 18.0)
    out, labels = augment(
        jax.random.key(3), jnp.broadcast_to(spot[None, :, :, None], (24, size, size, 1)), probability=0.7
    )
    for image, label in zip(np.asarray(out)[..., 0], np.asarray(labels, float), strict=True):
        x_flip, y_flip, scale, cos, sin, stretch_cos, stretch_sin, down, right = label
        vector = place * [1 - 2 * y_flip, 1 - 2 * x_flip]
        amount, frame = np.hypot(stretch_cos, stretch_sin), np.arctan2(stretch_sin, stretch_cos) / 2
        turn = lambda a: np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        vector = turn(frame) @ (2.0 ** (0.2 * amount * np.array([1, -1])) * (turn(-frame) @ vector))
        vector = 2 ** (0.2 * scale) * turn(np.arctan2(sin, cos + 1)) @ vector + 0.125 * size * np.array([down, right])
        if np.abs(vector).max() < 28:
            peak = map_coordinates(image, (32 + vector)[:, None], order=1)[0]
            assert peak > 0.93  # 1 at the centre, 0.93 at 1.1 pixels from it


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edm_preconditioning(0.0), "sigma must be positive"),
        (lambda: edm_preconditioning(1.0, sigma_data=0.0), "sigma_data must be positive"),
        (lambda: edm_ema_decay(0), "batch_size must be"),
        (lambda: edm_optimizer(0.0, warmup_steps=1), "learning_rate must be"),
        (lambda: edm_optimizer(warmup_steps=-1), "warmup_steps must be"),
        (lambda: augment(jax.random.key(0), jnp.ones((2, 4, 4))), "images must be"),
        (lambda: augment(jax.random.key(0), jnp.ones((2, 4, 4, 1)), probability=1.5), "probability must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
