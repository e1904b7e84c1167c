"""The order in which a linear denoiser learns: high-variance directions and high noise first.

D(x) = b + W (x - mu), trained by gradient flow at fixed sigma on E |D(x0 + sigma n) - x0|^2, decouples along the
principal directions of the data:

    w_k(tau) = w*_k + (w_k(0) - w*_k) exp(-2 (lam_k + sigma^2) tau),   w*_k = lam_k / (lam_k + sigma^2),
    b(tau)   = mu + (b(0) - mu) exp(-2 tau).

Derived in the sheet of Wang and Vastola 2024.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require, require_array, require_nonnegative, require_positive
from jaxlib_methods.numerics.gaussian import Gaussian, spectral_map

__all__ = ["learning_time", "linear_denoise", "linear_denoiser_weights"]


def linear_denoiser_weights(
    variances: Float[Array, " r"],
    sigma: Float[ArrayLike, ""],
    time: Float[ArrayLike, ""],
    *,
    initial: Float[ArrayLike, ""] | Float[ArrayLike, " r"] = 0.0,
) -> Float[Array, " r"]:
    """w_k(tau), the gain of each principal direction after training time tau.

    Args:
      variances: lam_k, nonnegative.
      sigma: noise level of the training; positive.
      time: tau, learning rate times steps of gradient descent; nonnegative.
      initial: gains at time zero, one for all or one a direction.

    Raises:
      ValueError: if a known value is out of range.

    >>> linear_denoiser_weights(jnp.array([1.0]), 1.0, 100.0).tolist()
    [0.5]
    """
    require_array("variances", variances, (None,))
    require_nonnegative("variances", variances)
    require_positive("sigma", sigma)
    require_nonnegative("time", time)
    return _gain(variances, *(jnp.asarray(v, variances.dtype) for v in (sigma, time, initial)))


def linear_denoise(
    gaussian: Gaussian,
    x: Float[Array, "b d"],
    sigma: Float[ArrayLike, ""],
    time: Float[ArrayLike, ""],
    *,
    initial: float = 0.0,
    bias: Float[Array, " d"] | None = None,
) -> Float[Array, "b d"]:
    """The linear denoiser after training time tau: the Gaussian denoiser as tau grows.

    Args:
      gaussian: law of the clean data.
      x: noisy points.
      sigma: noise level of the training; positive.
      time: tau; nonnegative.
      initial: W(0) is this times the identity.
      bias: b(0); the mean if None.

    Raises:
      ValueError: if shapes do not match or a known value is out of range.

    >>> g = Gaussian(jnp.zeros(1), jnp.ones((1, 1)), jnp.ones(1), jnp.zeros(()))
    >>> linear_denoise(g, jnp.ones((1, 1)), 1.0, 100.0).tolist()
    [[0.5]]
    """
    require_positive("sigma", sigma)
    require_nonnegative("time", time)
    sigma, time = jnp.asarray(sigma, x.dtype), jnp.asarray(time, x.dtype)
    start = gaussian.mean if bias is None else bias
    centre = gaussian.mean + (start - gaussian.mean) * jnp.exp(-2 * time)
    return centre[None] + spectral_map(gaussian, x - gaussian.mean[None], lambda lam: _gain(lam, sigma, time, initial))


def learning_time(
    variances: Float[Array, " r"], sigma: Float[ArrayLike, ""], *, share: float = 0.5
) -> Float[Array, " r"]:
    """Training time until each direction has gone a share of its way: -log(1 - share) / (2 (lam + sigma^2)).

    Args:
      variances: lam, nonnegative.
      sigma: noise level of the training; positive.
      share: of the way from start to end.

    Raises:
      ValueError: if the share is not in (0, 1) or a known value is out of range.

    >>> print(learning_time(jnp.array([1.0, 3.0]), 1.0).round(4))
    [0.1733 0.0866]
    """
    require(0 < share < 1, "share", share, "between 0 and 1, both excluded")
    require_array("variances", variances, (None,))
    require_nonnegative("variances", variances)
    require_positive("sigma", sigma)
    return -jnp.log1p(-share) / (2 * (variances + jnp.asarray(sigma, variances.dtype) ** 2))


def _gain(lam: Array, sigma: Array, time: Array, initial: ArrayLike) -> Array:
    target = lam / (lam + sigma**2)
    return target + (initial - target) * jnp.exp(-2 * (lam + sigma**2) * time)
