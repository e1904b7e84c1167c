"""Oracles: the published EDM levels, inverses, both views of the VP process, Tweedie's formula by autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.diffusion.noise import (
    cosine_schedule,
    denoised_to_noise,
    denoised_to_score,
    edm_sigmas,
    full_drift_schedule,
    linear_schedule,
    log_snr_sigmas,
    noise_to_denoised,
    score_to_denoised,
    vp_denoiser,
)

EDM_18 = [80, 57.586, 40.786, 28.375, 19.353, 12.910, 8.4009, 5.3152, 3.2568, 1.9233, 1.0882]
EDM_18 += [0.5853, 0.2964, 0.1395, 0.0599, 0.0229, 0.0075, 0.002, 0]
SCHEDULES = [linear_schedule(), cosine_schedule(), full_drift_schedule()]
GRIDS = [edm_sigmas, log_snr_sigmas]


def test_eighteen_edm_levels_are_the_published_ones():
    np.testing.assert_allclose(edm_sigmas(18), EDM_18, rtol=4e-5, atol=5e-5)


@pytest.mark.parametrize("skip", [1, 5, 16])
def test_tail_of_the_edm_levels_is_the_rebuilt_grid(skip):
    sigmas = edm_sigmas(18)
    np.testing.assert_allclose(sigmas[skip:], edm_sigmas(18 - skip, maximum=sigmas[skip]), rtol=1e-12)


def test_log_snr_levels_are_equal_in_lambda():
    sigmas = log_snr_sigmas(40)
    assert sigmas.dtype == np.float64
    np.testing.assert_allclose(sigmas[[0, -1]], [80, 0.002], rtol=1e-14)
    np.testing.assert_allclose(np.diff(np.log(sigmas)), np.log(0.002 / 80) / 40, rtol=1e-10)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    "bad",
    [{"n": 0}, {"n": 2.0}, {"n": 4, "minimum": 0.0}, {"n": 4, "minimum": 90.0}, {"n": 4, "maximum": np.nan}],
)
def test_bad_levels_are_named(grid, bad):
    with pytest.raises(ValueError, match="must be"):
        grid(**bad)


def test_bad_schedules_are_named():
    for make in (
        lambda: edm_sigmas(4, rho=0.0),
        lambda: linear_schedule(0.0, 20.0),
        lambda: linear_schedule(2.0, 1.0),
        lambda: cosine_schedule(0.0),
    ):
        with pytest.raises(ValueError, match="must be"):
            make()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_preserve_variance_and_invert(schedule):
    t = np.linspace(0.01, 0.95, 50)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-14)
    np.testing.assert_allclose(schedule.half_log_snr(t), np.log(alpha / sigma), atol=1e-12)
    np.testing.assert_allclose(schedule.edm_sigma(t), sigma / alpha, rtol=1e-10)
    np.testing.assert_allclose(schedule.time(schedule.half_log_snr(t)), t, rtol=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_compute_the_same_on_jax_arrays(schedule):
    t = np.linspace(0.01, 0.95, 9)
    for method in (schedule.alpha, schedule.sigma, schedule.edm_sigma, schedule.half_log_snr):
        np.testing.assert_allclose(jax.jit(method)(jnp.asarray(t, jnp.float32)), method(t), rtol=2e-5, atol=1e-6)
    lambdas = schedule.half_log_snr(t)
    np.testing.assert_allclose(jax.jit(schedule.time)(jnp.asarray(lambdas, jnp.float32)), t, rtol=2e-3)


def test_linear_schedule_solves_its_own_equation(x64):
    """The signal decays at rate b/2 = 0.05 + 9.95 t; its EDM view is sqrt(exp(19.9 t^2/2 + 0.1 t) - 1)."""
    t = jnp.linspace(0.1, 1.0, 7)
    decay = jax.vmap(jax.grad(linear_schedule().log_alpha))(t)
    np.testing.assert_allclose(decay, -(0.1 + 19.9 * t) / 2, rtol=1e-12)
    np.testing.assert_allclose(linear_schedule().edm_sigma(t), np.sqrt(np.expm1(19.9 * t**2 / 2 + 0.1 * t)), rtol=1e-12)


def test_full_drift_decays_by_the_whole_rate(x64):
    t = jnp.linspace(0.1, 1.0, 7)
    decay = jax.vmap(jax.grad(full_drift_schedule().log_alpha))(t)
    np.testing.assert_allclose(decay, -1000 * (0.02 * t + 0.0001 * (1 - t)), rtol=1e-12)


def test_vp_denoiser_is_the_posterior_mean_of_the_vp_process(x64):
    """For x0 ~ N(mu, v): E[x0 | x] = mu + alpha v / (alpha^2 v + sigma^2) (x - alpha mu), at one or many times."""
    mu, v, schedule = 0.7, 0.3, linear_schedule()
    rows = lambda s: jnp.reshape(s, (-1, 1))
    denoise = vp_denoiser(lambda x, s: mu + v / (v + rows(s) ** 2) * (x - mu), schedule)
    x, t = jnp.linspace(-2, 2, 12).reshape(4, 3), jnp.array([0.1, 0.3, 0.6, 0.9])
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    truth = mu + alpha * v / (alpha**2 * v + sigma**2) * (x - alpha * mu)
    np.testing.assert_allclose(denoise(x, t), truth, rtol=1e-12)
    np.testing.assert_allclose(denoise(x, t[2])[2], truth[2], rtol=1e-12)


@pytest.mark.parametrize("per_row", [False, True])
def test_score_is_the_gradient_of_the_log_density_and_conversions_invert(x64, per_row):
    mu, v = 0.7, 0.3
    scale = jnp.array([0.5, 1.0, 2.0]) if per_row else jnp.array(0.8)
    alpha, sigma = 0.6 * scale, 1.3 * scale
    x = jax.random.normal(jax.random.key(0), (3, 4))
    rows = lambda s: jnp.broadcast_to(s, (3,))[:, None]
    variance = rows(alpha) ** 2 * v + rows(sigma) ** 2
    score = jax.grad(lambda x: jnp.sum(-((x - rows(alpha) * mu) ** 2) / (2 * variance)))(x)
    denoised = mu + rows(alpha) * v / variance * (x - rows(alpha) * mu)
    np.testing.assert_allclose(denoised_to_score(denoised, x, sigma, alpha=alpha), score, rtol=1e-11)
    np.testing.assert_allclose(score_to_denoised(score, x, sigma, alpha=alpha), denoised, rtol=1e-11)
    noise = denoised_to_noise(denoised, x, sigma, alpha=alpha)
    np.testing.assert_allclose(noise, -rows(sigma) * score, rtol=1e-11)
    np.testing.assert_allclose(noise_to_denoised(noise, x, sigma, alpha=alpha), denoised, rtol=1e-11)


def test_conversions_keep_float32():
    x = jnp.ones((2, 3))
    assert denoised_to_score(x, x, np.float64(0.3)).dtype == jnp.float32
