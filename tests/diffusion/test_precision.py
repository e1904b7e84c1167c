"""Statistics and scores ask for full single precision, which a CPU gives unasked and an accelerator does not.

The first test reads the program, anywhere; the second compares numbers with double precision on the host. To run it on
an accelerator: `JAX_PLATFORMS=cuda python -m pytest tests/diffusion/test_precision.py`, or `tpu`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.diffusion import delta_score, gaussian_score, mixture_score, teleport
from jaxlib_methods.numerics import covariance, fit_gaussian, mixture_from_labels, moments

POINTS = 1 + 0.1 * np.random.default_rng(0).standard_normal((256, 96))
NOISY = POINTS[:8] + 0.05 * np.random.default_rng(1).standard_normal((8, 96))
SIGMAS = np.array([0.5, 0.05, 0.0])

METHODS = {
    "covariance": lambda points, x: covariance(moments(points)),
    "gaussian": lambda points, x: gaussian_score(fit_gaussian(points), x, 0.05),
    "mixture": lambda points, x: mixture_score(
        mixture_from_labels(points, jnp.arange(256) % 2, 2, ridge=1e-3), x, 0.05
    ),
    "training set": lambda points, x: delta_score(points, x, 0.05),
    "teleportation": lambda points, x: teleport(fit_gaussian(points), x, SIGMAS, 1)[0],
}


@pytest.mark.parametrize("name", METHODS)
def test_every_product_asks_for_the_highest_precision(name):
    text = jax.jit(METHODS[name]).lower(jnp.asarray(POINTS, jnp.float32), jnp.asarray(NOISY, jnp.float32)).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert products
    for line in products:
        assert "precision = [HIGHEST, HIGHEST]" in line, line


@pytest.mark.parametrize("name", METHODS)
def test_single_precision_agrees_with_double(name):
    """Ten-bit products would be off by 1e-3 of the points' size, and by more in scores."""
    single = jax.jit(METHODS[name])(jnp.asarray(POINTS, jnp.float32), jnp.asarray(NOISY, jnp.float32))
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        double = jax.jit(METHODS[name])(jnp.asarray(POINTS), jnp.asarray(NOISY))
    np.testing.assert_allclose(single, double, atol=2e-5 * np.abs(double).max())
