"""Where a perceptron is critical: both susceptibilities 1 at a fixed point of the kernel, and what kind of point it is.

    scale-invariant   sigma = a_+ z, a_- z:  C_b = 0, C_W = 1 / A_2, every K;  nu = 3 A_4 / A_2^2 - 1
    zero              sigma(0) = 0:  C_b = 0, C_W = 1 / sigma_1^2, K -> 1 / (-a_1 l) if a_1 < 0;  nu = 2/3
    half-stable       root of <z sigma sigma'> = K <sigma'^2>,  C_W = 1 / <sigma'^2>,  C_b = K - C_W <sigma^2> >= 0

A_p = (a_+^p + a_-^p) / 2, a_1 = sigma_3 / sigma_1 + (3/4) (sigma_2 / sigma_1)^2, b_1 the same with 1 for 3/4.
Differences fall as d1 ~ l^-p_par and d2 ~ l^-p_perp, with p_par = 2 and p_perp = b_1 / a_1 at a zero point. V / K^2
grows by nu a layer.

An activation with a kink at 0, of slopes a_+- and second derivatives s_+- there, has a zero point too: with
C_W = 1 / A_2, c = C_W (a_+ s_+ - a_- s_-) (2 / pi)^(1/2) is the rate of K' = K + c K^(3/2); if c < 0 then
K -> 4 / (c l)^2, p_par = 3, p_perp = 2 and nu = (3 A_4 / A_2^2 - 1) / 3 (ELU, SELU).

Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", chapter 5; the kinked zero point is derived.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxlib_methods.infinite_width.criticality.activation_function import (
    ActivationFunction,
    activation_function,
    scale_invariant_slopes,
)
from jaxlib_methods.infinite_width.criticality.half_line_rule import half_line_rule

__all__ = ["CriticalPoint", "critical_point"]

KERNELS = (1e-3, 1e3)


class CriticalPoint(NamedTuple):
    """A critical initialization.

    Attributes:
      universality: "scale-invariant", "zero" or "half-stable".
      bias_variance: C_b.
      weight_variance: C_W.
      kernel: K*; NaN where every kernel is fixed.
      p_parallel: exponent of d1 with depth; 0 where differences neither grow nor fall to first order.
      p_perpendicular: exponent of d2.
      nu: growth of V / K^2 a layer.
    """

    universality: str
    bias_variance: float
    weight_variance: float
    kernel: float
    p_parallel: float
    p_perpendicular: float
    nu: float


def critical_point(activation: str | Callable[[Array], Array] | ActivationFunction) -> CriticalPoint:
    """Finds the critical initialization of an activation; works on the host, in double precision.

    Args:
      activation: as in `activation_function`; a function with a kink at 0 is given with `smooth=False`.

    Raises:
      ValueError: if the activation is unknown; or if it has no critical point, with the condition that fails. Kernels
        of half-stable points are looked for between 1e-3 and 1e3.

    >>> point = critical_point("gelu")
    >>> point.universality, round(point.weight_variance, 6), round(point.kernel, 6)  # (3 + 17^(1/2)) / 2
    ('half-stable', 1.983058, 3.561553)
    """
    sigma = activation_function(activation)
    with jax.enable_x64(True):
        slopes = scale_invariant_slopes(sigma)
        if slopes is not None:
            if slopes == (0, 0):
                raise ValueError(f"{sigma.name} has no critical point: it is constant")
            a2, nu = _growth(*slopes)
            return CriticalPoint("scale-invariant", 0.0, 1 / a2, math.nan, 0.0, 0.0, nu)
        reason = _zero_point(sigma)
        if isinstance(reason, CriticalPoint):
            return reason
        return _half_stable(sigma, reason)


def _growth(plus: float, minus: float) -> tuple[float, float]:
    """A_2, and 3 A_4 / A_2^2 - 1."""
    a2, a4 = (plus**2 + minus**2) / 2, (plus**4 + minus**4) / 2
    return a2, 3 * a4 / a2**2 - 1


def _zero_point(sigma: ActivationFunction) -> CriticalPoint | str:
    """The critical point at K* = 0, or why there is none."""
    tiny = 0.0 if sigma.smooth else 1e-150  # one side, then the other
    right, left = ([float(d) for d in sigma.derivatives(jnp.asarray(z), 1 + 2 * sigma.smooth)] for z in (tiny, -tiny))
    if not sigma.smooth:
        right.append(float(sigma.derivatives(jnp.asarray(tiny), 2)[2]))
        left.append(float(sigma.derivatives(jnp.asarray(-tiny), 2)[2]))
    if max(abs(right[0]), abs(left[0])) > 1e-12:
        return "sigma(0) is not 0"
    if max(abs(right[1]), abs(left[1])) < 1e-12:
        return "sigma'(0) is 0"
    if not sigma.smooth:
        a2, nu = _growth(right[1], left[1])
        c = (right[1] * right[2] - left[1] * left[2]) / a2 * math.sqrt(2 / math.pi)
        if c < 0:
            return CriticalPoint("zero", 0.0, 1 / a2, 0.0, 3.0, 2.0, nu / 3)
        return f"K = 0 is not stable, c = {c:.4g} is not negative"
    _, one, two, three = right
    a1, b1 = (three / one + weight * (two / one) ** 2 for weight in (0.75, 1))
    if a1 < 0:
        return CriticalPoint("zero", 0.0, 1 / one**2, 0.0, 2.0, b1 / a1, 2 / 3)
    return f"K = 0 is not stable, a_1 = {a1:.4g} is not negative"


def _half_stable(sigma: ActivationFunction, reason: str) -> CriticalPoint:
    def moments(kernels: np.ndarray) -> tuple[np.ndarray, ...]:
        """Logarithm of the ratio of susceptibilities, <sigma'^2>, <sigma^2> and the variance of sigma^2."""
        u, w = (np.asarray(a) for a in half_line_rule(jnp.dtype("float64")))
        z = np.sqrt(kernels)[:, None] * u
        s, s1 = (np.asarray(d) for d in sigma.derivatives(jnp.asarray(z), 1))
        slopes, square = s1**2 @ w, s**2 @ w
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (z * s * s1) @ w / (kernels * slopes)
        return ratio - 1, slopes, square, s**4 @ w - square**2

    low, high = np.log(KERNELS)
    grid = np.linspace(low, high, 57)
    gap, slopes, _, _ = moments(np.exp(grid))
    nowhere = f"{sigma.name} has no critical point: at K* = 0 {reason}; "
    if not slopes.all():
        raise ValueError(nowhere + "and <sigma'^2> is 0, so that no C_W makes the perpendicular susceptibility 1")
    turns = np.flatnonzero(np.sign(gap[1:]) * np.sign(gap[:-1]) < 0)
    if not turns.size:
        raise ValueError(
            nowhere + f"and the ratio of susceptibilities stays {'above' if gap[0] > 0 else 'below'} 1 for "
            f"{KERNELS[0]:g} < K < {KERNELS[1]:g}"
        )
    low, high = grid[turns[0]], grid[turns[0] + 1]
    for _ in range(9):
        fine = np.linspace(low, high, 65)
        i = np.flatnonzero(np.sign(moments(np.exp(fine))[0]) == np.sign(gap[turns[0]]))[-1]
        low, high = fine[i], fine[min(i + 1, 64)]
    kernel = float(np.exp((low + high) / 2))
    _, slopes, square, spread = (float(a[0]) for a in moments(np.array([kernel])))
    bias = kernel - square / slopes
    if bias < 0:
        raise ValueError(nowhere + f"and at K* = {kernel:.4g} the variance of biases would be {bias:.4g}")
    return CriticalPoint("half-stable", bias, 1 / slopes, kernel, 0.0, 0.0, spread / slopes**2 / kernel**2)
