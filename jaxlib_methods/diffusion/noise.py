"""Noise levels, variance-preserving schedules, and the three ways to say what a network predicts.

A noised sample is `x = alpha x0 + sigma eps`. Variance exploding (VE, EDM) means alpha = 1, variance preserving (VP)
means alpha^2 + sigma^2 = 1; both are the same process, since x / alpha is a VE sample at noise level sigma / alpha:

    E[x0 | x; alpha, sigma] = D(x / alpha, sigma / alpha),    lambda = log(alpha / sigma)   (half log-SNR).

Functions of a schedule compute in numpy float64 on numbers and numpy arrays (grids), in jax on jax arrays.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Float64

from jaxlib_methods.numerics.checks import require, require_positive, require_size

__all__ = [
    "Schedule",
    "cosine_schedule",
    "denoised_to_noise",
    "denoised_to_score",
    "edm_sigmas",
    "full_drift_schedule",
    "linear_schedule",
    "log_snr_sigmas",
    "noise_to_denoised",
    "score_to_denoised",
    "vp_denoiser",
]

Denoiser = Callable[..., Array]


def edm_sigmas(
    n: int, *, minimum: float = 0.002, maximum: float = 80.0, rho: float = 7.0
) -> Float64[np.ndarray, " levels"]:
    """Noise levels of EDM: n levels evenly spaced in sigma^(1/rho), then zero.

        sigma_i = (max^(1/rho) + i/(n-1) (min^(1/rho) - max^(1/rho)))^rho,  i = 0..n-1;   sigma_n = 0.

    The tail `edm_sigmas(n)[k:]` is `edm_sigmas(n - k, maximum=edm_sigmas(n)[k])`.

    Args:
      n: number of positive levels, which is the number of steps.
      minimum, maximum: least and largest positive level.
      rho: larger values put more levels at small noise.

    Returns:
      n + 1 strictly decreasing levels, float64 on the host.

    Raises:
      ValueError: if n is below 1, rho is not positive, or not 0 < minimum < maximum.

    Source: Karras et al. 2022, equation 5.

    >>> edm_sigmas(3).round(3).tolist()
    [80.0, 2.515, 0.002, 0.0]
    """
    require_size("n", n)
    require_positive("rho", rho)
    _require_levels(minimum, maximum)
    ramp = np.linspace(maximum ** (1 / rho), minimum ** (1 / rho), n)
    return np.append(ramp**rho, 0.0)


def log_snr_sigmas(n: int, *, minimum: float = 0.002, maximum: float = 80.0) -> Float64[np.ndarray, " levels"]:
    """Noise levels of n steps that are equal in lambda = -log(sigma), from `maximum` to `minimum`.

    Args:
      n: number of steps.
      minimum, maximum: last and first level. Append a zero to end with a denoised sample.

    Returns:
      n + 1 strictly decreasing levels, float64 on the host.

    Raises:
      ValueError: if n is below 1 or not 0 < minimum < maximum.

    >>> log_snr_sigmas(2, minimum=1.0, maximum=100.0).round(9).tolist()
    [100.0, 10.0, 1.0]
    """
    require_size("n", n)
    _require_levels(minimum, maximum)
    return np.geomspace(maximum, minimum, n + 1)


class Schedule(NamedTuple):
    """A variance-preserving schedule: log alpha as a decreasing function of time, and its inverse.

    Methods take a time or lambda of any shape and return the same shape.
    """

    log_alpha: Callable
    time_of_log_alpha: Callable

    def alpha(self, t):
        """Signal scale alpha(t)."""
        return _namespace(t).exp(self.log_alpha(t))

    def sigma(self, t):
        """Noise scale sigma(t) = sqrt(1 - alpha^2), accurate near t = 0."""
        xp = _namespace(t)
        return xp.sqrt(-xp.expm1(2 * self.log_alpha(t)))

    def edm_sigma(self, t):
        """Noise level of the equivalent VE process, sigma / alpha."""
        xp = _namespace(t)
        return xp.sqrt(xp.expm1(-2 * self.log_alpha(t)))

    def half_log_snr(self, t):
        """Lambda(t) = log(alpha / sigma)."""
        return -_namespace(t).log(self.edm_sigma(t))

    def time(self, half_log_snr):
        """Time at which log(alpha / sigma) has the given value."""
        return self.time_of_log_alpha(-_namespace(half_log_snr).logaddexp(0.0, -2 * half_log_snr) / 2)


def linear_schedule(b0: float = 0.1, b1: float = 20.0) -> Schedule:
    """The VP process with linear rate, dx = -b(t) x/2 dt + sqrt(b(t)) dW with b(t) = b0 + (b1 - b0) t.

        log alpha = -(b1 - b0) t^2 / 4 - b0 t / 2

    Args:
      b0, b1: rates at t = 0 and t = 1, with 0 < b0 <= b1.

    Returns:
      The schedule on 0 <= t <= 1.

    Raises:
      ValueError: if the rates are not positive, or decrease.

    Source: Song et al. 2021, the VP SDE.

    >>> round(float(linear_schedule().edm_sigma(1.0)), 2)
    152.17
    """
    require_positive("b0", b0)
    require(b0 <= b1 < np.inf, "b1", b1, f"finite and at least b0 = {b0}")
    slope = b1 - b0

    def time_of_log_alpha(log_alpha):
        root = _namespace(log_alpha).sqrt(b0**2 / 4 - slope * log_alpha)
        return -2 * log_alpha / (b0 / 2 + root)

    return Schedule(lambda t: -(slope * t / 4 + b0 / 2) * t, time_of_log_alpha)


def full_drift_schedule(beta0: float = 0.1, beta1: float = 20.0) -> Schedule:
    """The same process written with the full rate in the drift, dx = -beta x dt + sqrt(2 beta) dW.

    Here alpha = exp(-integral of beta), so beta is half of the rate b of `linear_schedule`. The defaults are
    beta(t) = 1000 (0.02 t + 0.0001 (1 - t)).

    Args:
      beta0, beta1: rates at t = 0 and t = 1, with 0 < beta0 <= beta1.

    Returns:
      `linear_schedule(2 beta0, 2 beta1)`.

    Raises:
      ValueError: if the rates are not positive, or decrease.

    >>> round(float(full_drift_schedule().log_alpha(1.0)), 6)
    -10.05
    """
    return linear_schedule(2 * beta0, 2 * beta1)


def cosine_schedule(s: float = 0.008) -> Schedule:
    """The cosine schedule, alpha = f(t) / f(0) with f(t) = cos(pi/2 (t + s) / (1 + s)).

    Args:
      s: positive offset that keeps the noise from vanishing too fast at t = 0.

    Returns:
      The schedule on 0 <= t < 1; alpha reaches 0 at t = 1.

    Raises:
      ValueError: if s is not positive.

    Source: Nichol and Dhariwal 2021, equation 17.

    >>> round(float(cosine_schedule().alpha(0.5)), 4)
    0.7027
    """
    require_positive("s", s)
    angle = lambda t: np.pi / 2 * (t + s) / (1 + s)
    start = float(np.cos(angle(0.0)))

    def log_alpha(t):
        xp = _namespace(t)
        return xp.log(xp.cos(angle(t)) / start)

    def time_of_log_alpha(log_alpha):
        xp = _namespace(log_alpha)
        return xp.arccos(start * xp.exp(log_alpha)) * (1 + s) * 2 / np.pi - s

    return Schedule(log_alpha, time_of_log_alpha)


def vp_denoiser(denoise: Denoiser, schedule: Schedule) -> Denoiser:
    """Turns a VE denoiser D(x, sigma) into the VP denoiser D(x / alpha(t), sigma(t) / alpha(t)) of (x, t).

    Args:
      denoise: VE denoiser, called with x (b, *event) and a noise level, scalar or (b,).
      schedule: gives alpha(t) and sigma(t).

    Returns:
      A function of x (b, *event) and a time, scalar or (b,). Build it once: each call makes a new function, which
      `jit` would trace again.

    >>> vp_denoiser(lambda x, sigma: x / (1 + sigma**2), linear_schedule())(jnp.ones((2, 3)), jnp.array(0.5)).shape
    (2, 3)
    """
    return lambda x, t: denoise(x / _as_rows(schedule.alpha(t), x), schedule.edm_sigma(t))


def denoised_to_score(
    denoised: Float[Array, "b *event"], x: Float[Array, "b *event"], sigma: ArrayLike, *, alpha: ArrayLike = 1.0
) -> Float[Array, "b *event"]:
    """Score of the noised density, (alpha D - x) / sigma^2 (Tweedie).

    Args:
      denoised: D = E[x0 | x].
      x: noised samples.
      sigma, alpha: noise and signal scales, scalar or (b,); sigma > 0.

    >>> denoised_to_score(jnp.zeros((1, 2)), jnp.ones((1, 2)), 2.0).tolist()
    [[-0.25, -0.25]]
    """
    return (_as_rows(alpha, x) * denoised - x) / _as_rows(sigma, x) ** 2


def score_to_denoised(
    score: Float[Array, "b *event"], x: Float[Array, "b *event"], sigma: ArrayLike, *, alpha: ArrayLike = 1.0
) -> Float[Array, "b *event"]:
    """Denoised mean from the score, (x + sigma^2 score) / alpha; arguments as in `denoised_to_score`.

    >>> score_to_denoised(-jnp.ones((1, 2)), jnp.ones((1, 2)), 1.0).tolist()
    [[0.0, 0.0]]
    """
    return (x + _as_rows(sigma, x) ** 2 * score) / _as_rows(alpha, x)


def denoised_to_noise(
    denoised: Float[Array, "b *event"], x: Float[Array, "b *event"], sigma: ArrayLike, *, alpha: ArrayLike = 1.0
) -> Float[Array, "b *event"]:
    """Predicted noise, eps = (x - alpha D) / sigma; arguments as in `denoised_to_score`.

    >>> denoised_to_noise(jnp.zeros((1, 2)), jnp.ones((1, 2)), 2.0).tolist()
    [[0.5, 0.5]]
    """
    return (x - _as_rows(alpha, x) * denoised) / _as_rows(sigma, x)


def noise_to_denoised(
    noise: Float[Array, "b *event"], x: Float[Array, "b *event"], sigma: ArrayLike, *, alpha: ArrayLike = 1.0
) -> Float[Array, "b *event"]:
    """Denoised mean from predicted noise, (x - sigma eps) / alpha; arguments as in `denoised_to_score`.

    >>> noise_to_denoised(jnp.ones((1, 2)), jnp.ones((1, 2)), 0.5).tolist()
    [[0.5, 0.5]]
    """
    return (x - _as_rows(sigma, x) * noise) / _as_rows(alpha, x)


def _as_rows(scale: ArrayLike, x: Array) -> Array:
    scale = jnp.asarray(scale, x.dtype)
    return scale.reshape(scale.shape + (1,) * (x.ndim - scale.ndim))


def _namespace(value):
    return jnp if isinstance(value, jax.Array) else np


def _require_levels(minimum: float, maximum: float) -> None:
    require_positive("minimum", minimum)
    require(minimum < maximum < np.inf, "maximum", maximum, f"finite and above minimum = {minimum}")
