"""Oracles: the formula by hand, and linear denoisers whose explained variance is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.diffusion import (
    delta_denoise,
    explained_variance,
    gaussian_denoise,
    learning_time,
    linear_denoise,
    linear_denoiser_weights,
    unexplained_variance_curve,
)
from jaxlib_methods.numerics import fit_gaussian, gaussian_from_covariance


def law():
    a = jax.random.normal(jax.random.key(0), (4, 4))
    return gaussian_from_covariance(a[0], a @ a.T)


def test_the_metric_is_the_mean_relative_error():
    s, a = jnp.array([[3.0, 4.0], [0.0, 2.0]]), jnp.array([[3.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(explained_variance(s, a), np.mean([1 - 16 / 25, 1 - 1 / 4]), rtol=1e-6)
    np.testing.assert_allclose(explained_variance(a, s), np.mean([1 - 16 / 9, 1 - 1 / 1]), rtol=1e-6)


@pytest.mark.parametrize(("of", "expected"), [("score", 0.25), ("denoised", 4.0)])
def test_pure_noise_probes_see_the_factors_of_linear_denoisers(of, expected):
    """D = x / 2 explained by D = -x / 2 ... scores -x/2 and -3x/2; and by D = 3 x / 4 ... scores -x/2 and -x/4."""
    other = {"score": lambda x, sigma: 0.75 * x, "denoised": lambda x, sigma: -0.5 * x}[of]
    curve = unexplained_variance_curve(
        jax.random.key(0),
        lambda x, sigma: 0.5 * x,
        [other],
        jnp.ones((3, 4)),
        jnp.array([0.1, 5.0]),
        probes="noise",
        of=of,
    )
    np.testing.assert_allclose(curve, [[expected] * 2], rtol=1e-5)


def test_a_point_cloud_looks_gaussian_from_afar_and_not_from_near(x64):
    points = jax.random.normal(jax.random.key(0), (50, 4))
    g = fit_gaussian(points)
    curve = unexplained_variance_curve(
        jax.random.key(1),
        lambda x, sigma: delta_denoise(points, x, sigma),
        [lambda x, sigma: gaussian_denoise(g, x, sigma), lambda x, sigma: jnp.broadcast_to(g.mean[None], x.shape)],
        points,
        jnp.array([0.3, 10.0, 20.0]),
        batches=2,
        batch_size=64,
    )
    near, far, farther = curve.T
    assert near[0] > 0.05
    assert far[0] < 1e-5
    np.testing.assert_allclose(np.log2(far / farther), [6, 4], atol=0.3)


def test_gradient_descent_on_a_linear_denoiser_follows_the_solution(x64):
    """Explicit Euler steps on the exact population loss of W and b, against the closed form."""
    g, sigma, rate, steps = law(), 0.8, 2e-4, 2000
    cov = (g.basis * g.variances[None]) @ g.basis.T

    def loss(params):
        weight, bias = params
        residual = weight - jnp.eye(4)
        noise = sigma**2 * jnp.sum(weight**2)
        return jnp.trace(residual @ cov @ residual.T) + noise + jnp.sum((bias - g.mean) ** 2)

    descend = lambda _, p: jax.tree.map(lambda v, d: v - rate * d, p, jax.grad(loss)(p))
    weight, bias = jax.lax.fori_loop(0, steps, descend, (0.3 * jnp.eye(4), jnp.zeros(4)))
    x = jax.random.normal(jax.random.key(3), (6, 4))
    ours = linear_denoise(g, x, sigma, rate * steps, initial=0.3, bias=jnp.zeros(4))
    np.testing.assert_allclose(ours, bias[None] + (x - g.mean[None]) @ weight.T, rtol=5e-3)
    gains = linear_denoiser_weights(g.variances, sigma, rate * steps, initial=0.3)
    np.testing.assert_allclose(jnp.diag(g.basis.T @ weight @ g.basis), gains, rtol=5e-3)


def test_learning_ends_at_the_gaussian_denoiser_and_large_variances_learn_first(x64):
    g, x = law(), jax.random.normal(jax.random.key(3), (6, 4))
    np.testing.assert_allclose(linear_denoise(g, x, 0.8, 1e3), gaussian_denoise(g, x, 0.8), rtol=1e-12)
    times = learning_time(g.variances, 0.8, share=0.9)
    assert np.all(np.diff(times) > 0)
    halfway = jnp.diag(jnp.stack([linear_denoiser_weights(g.variances, 0.8, t) for t in times]))
    np.testing.assert_allclose(halfway, 0.9 * g.variances / (g.variances + 0.64), rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: explained_variance(x, x[:1]), "analytic must be"),
        (lambda x: unexplained_variance_curve(jax.random.key(0), jnp.multiply, [], x[:0], jnp.ones(1)), "data must be"),
        (lambda x: unexplained_variance_curve(jax.random.key(0), jnp.multiply, [], x, jnp.zeros(1)), "sigmas must be"),
        (
            lambda x: unexplained_variance_curve(jax.random.key(0), jnp.multiply, [], x, jnp.ones(1), of="eps"),
            "of must be",
        ),
        (
            lambda x: unexplained_variance_curve(jax.random.key(0), jnp.multiply, [], x, jnp.ones(1), probes="x"),
            "probes",
        ),
        (
            lambda x: unexplained_variance_curve(jax.random.key(0), jnp.multiply, [], x, jnp.ones(1), batches=0),
            "batches",
        ),
        (lambda x: linear_denoise(law(), x, 0.0, 1.0), "sigma must be positive"),
        (lambda x: linear_denoise(law(), x, 1.0, -1.0), "time must be nonnegative"),
        (lambda x: learning_time(jnp.ones(2), 1.0, share=1.0), "share must be"),
        (lambda x: linear_denoiser_weights(-jnp.ones(2), 1.0, 1.0), "variances must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((3, 4)))
