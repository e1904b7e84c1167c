"""Noise added on the way: reproducible, absent at amount zero, and of the variance that its recurrence gives."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion.sampler_problems import gaussian, mixture_denoise, start

from jaxlib_methods.diffusion.heun import Churn, heun_plan
from jaxlib_methods.diffusion.noise import edm_sigmas
from jaxlib_methods.diffusion.plan import sample


def test_churn_is_reproducible_by_key_and_needs_one():
    plan = heun_plan(edm_sigmas(8), churn=Churn(10.0))
    run = lambda seed: sample(mixture_denoise, start(), plan, key=jax.random.key(seed))
    np.testing.assert_array_equal(run(1), run(1))
    assert jnp.abs(run(1) - run(2)).max() > 0.01
    with pytest.raises(ValueError, match="key must be given"):
        sample(mixture_denoise, start(), plan)


def test_churn_of_amount_zero_is_plain_heun(x64):
    plain = sample(mixture_denoise, start(), heun_plan(edm_sigmas(8)))
    churned = sample(mixture_denoise, start(), heun_plan(edm_sigmas(8), churn=Churn(0.0)), key=jax.random.key(0))
    np.testing.assert_allclose(plain, churned, atol=1e-13)


def churned_variance(variance, sigmas, churn):
    """Variance of Heun's samples when D = v / (v + sigma^2) x: each step adds noise, then scales."""
    total = variance + sigmas[0] ** 2
    rate = lambda s: s / (variance + s**2)
    for now, following in pairwise(sigmas):
        acts = churn.minimum <= now <= churn.maximum
        hat = now * (1 + acts * min(churn.amount / (len(sigmas) - 1), np.sqrt(2) - 1))
        step = following - hat
        factor = 1 + step * rate(hat)
        if following > 0:
            factor = 1 + step / 2 * (rate(hat) + rate(following) * factor)
        total = factor**2 * (total + churn.noise**2 * (hat**2 - now**2))
    return total


def test_churned_samples_of_a_gaussian_have_the_variance_of_the_recurrence():
    """Four standard errors of 40000 draws."""
    mean, variance, n = 0.4, 0.25, 40000
    sigmas, churn = edm_sigmas(32), Churn(10.0, 0.05, 50.0, 1.01)
    x = np.sqrt(sigmas[0] ** 2 + variance) * jax.random.normal(jax.random.key(1), (n, 1)) + mean
    result = sample(gaussian(mean, variance), x, heun_plan(sigmas, churn=churn), key=jax.random.key(2))
    truth = churned_variance(variance, sigmas, churn)
    assert abs(result.mean() - mean) < 4 * np.sqrt(truth / n)
    assert abs(result.var() / truth - 1) < 4 * np.sqrt(2 / n)
    assert abs(np.corrcoef(x[:, 0], result[:, 0])[0, 1]) < 0.8
    assert abs(churned_variance(variance, edm_sigmas(256), Churn(40.0, 0.05, 50.0)) / variance - 1) < 0.01


@pytest.mark.parametrize("churn", [Churn(-1.0), Churn(1.0, 2.0, 1.0), Churn(1.0, noise=-1.0), Churn(np.nan)])
def test_bad_churn_is_named(churn):
    with pytest.raises(ValueError, match="churn"):
        heun_plan([3.0, 1.0], churn=churn)


def test_churn_excludes_scales_and_times():
    with pytest.raises(ValueError, match="churn must be None"):
        heun_plan([3.0, 1.0], churn=Churn(1.0), times=[3.0, 1.0])
