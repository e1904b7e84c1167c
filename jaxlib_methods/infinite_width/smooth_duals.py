"""Duals in closed form of smooth activations: error function, GELU, sines, exponentials and Gaussians.

Williams, "Computing with Infinite Networks", 1997; Rahimi and Recht, 2007; Tsuchida, Pearce, van der Heide, Roosta and
Gallagher, "Avoiding Kernel Fixed Points: Computing with ELU and GELU Infinite Networks", 2021.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxlib_methods.infinite_width.dual import DualActivation, safe_sqrt
from jaxlib_methods.infinite_width.hermite_duals import hermite_rows
from jaxlib_methods.numerics.checks import require, require_finite, require_positive
from jaxlib_methods.numerics.trigonometry import fast_arctan2

__all__ = [
    "erf_dual",
    "exponential_dual",
    "gaussian_dual",
    "gelu_dual",
    "normalized_exponential_dual",
    "rbf_dual",
    "sine_dual",
    "sine_gaussian_dual",
]

PI = math.pi


def erf_dual(a: float = 1.0, b: float = 1.0, c: float = 0.0) -> DualActivation:
    """The dual of a erf(b x) + c; with a = c = 1/2 and b = 1/2.4020563531719796 close to the logistic function.

        V = a^2 (2 / pi) arcsin(2 k / ((1 + 2 q1)(1 + 2 q2))^(1/2)) + c^2,    at q and k times b^2.

    Args:
      a: height.
      b: steepness.
      c: shift.

    Raises:
      ValueError: if a number is not finite.

    >>> round(float(erf_dual().value(0.5, 0.5, 0.5)), 4)
    0.3333
    """
    a, b, c = _finite(a=a, b=b, c=c)

    def both(q1, q2, k):
        q1, q2, k = b**2 * q1, b**2 * q2, b**2 * k
        root = safe_sqrt((1 + 2 * q1) * (1 + 2 * q2) - 4 * k**2)
        return a**2 * 2 / PI * fast_arctan2(2 * k, root) + c**2, a**2 * b**2 * 4 / PI / root

    def diagonal(q):
        return a**2 * 2 / PI * fast_arctan2(2 * b**2 * q, jnp.sqrt(1 + 4 * b**2 * q)) + c**2

    return DualActivation(f"erf({a:g}, {b:g}, {c:g})", lambda x: a * jax.scipy.special.erf(b * x) + c, both, diagonal)


def gelu_dual() -> DualActivation:
    """The dual of x times the normal distribution function of x, the exact GELU.

    With P = (1 + q1)(1 + q2), D = (P - k^2)^(1/2), p = q1 q2 and alpha = atan2(k, D),

        V = [(k^2 + p D^2) / (P D) + k alpha] / (2 pi) + k / 4.

    >>> round(float(gelu_dual().value(1.0, 1.0, 0.0)), 4)
    0.0796
    """

    def both(q1, q2, k):
        p, outer = q1 * q2, (1 + q1) * (1 + q2)
        square = outer - k**2
        root = safe_sqrt(square)
        angle = fast_arctan2(k, root)
        value = ((k**2 + p * square) / (outer * root) + k * angle) / (2 * PI) + k / 4
        slope = 0.25 + angle / (2 * PI) + (1 / square + (1 - p) / outer + 1) * k / (2 * PI * root)
        return value, slope

    def diagonal(q):
        root = jnp.sqrt(1 + 2 * q)
        return q * (0.25 + (q / ((1 + q) * root) + fast_arctan2(q, root) / 2) / PI)

    return DualActivation("gelu", functools.partial(jax.nn.gelu, approximate=False), both, diagonal)


def sine_dual(a: float = 1.0, b: float = 1.0, c: float = 0.0) -> DualActivation:
    """The dual of a sin(b x + c); a cosine is c = pi / 2.

    Args:
      a: amplitude.
      b: angular frequency.
      c: phase.

    Raises:
      ValueError: if a number is not finite.

    >>> sine_dual(c=jnp.pi / 2).value(0.0, 0.0, 0.0).item()
    1.0
    """
    a, b, c = _finite(a=a, b=b, c=c)

    def both(q1, q2, k):
        near = jnp.exp(b**2 * (k - (q1 + q2) / 2))
        far = jnp.exp(-(b**2) * (k + (q1 + q2) / 2)) * math.cos(2 * c)
        return a**2 / 2 * (near - far), a**2 * b**2 / 2 * (near + far)

    def diagonal(q):
        return a**2 / 2 * (1 - jnp.exp(-2 * b**2 * q) * math.cos(2 * c))

    return DualActivation(f"sine({a:g}, {b:g}, {c:g})", lambda x: a * jnp.sin(b * x + c), both, diagonal)


def rbf_dual(gamma: float = 1.0) -> DualActivation:
    """The dual of 2^(1/2) sin((2 gamma)^(1/2) x + pi / 4): V = exp(-gamma (q1 + q2 - 2 k)), the Gaussian kernel.

    Args:
      gamma: inverse square length, positive.

    Raises:
      ValueError: if gamma is not positive.

    >>> rbf_dual().value(3.0, 3.0, 3.0).item()
    1.0
    """
    require_positive("gamma", gamma)
    gamma = float(gamma)

    def both(q1, q2, k):
        value = jnp.exp(-gamma * (q1 + q2 - 2 * k))
        return value, 2 * gamma * value

    wave = lambda x: 2**0.5 * jnp.sin((2 * gamma) ** 0.5 * x + PI / 4)
    return DualActivation(f"rbf({gamma:g})", wave, both, jnp.ones_like)


def exponential_dual(a: float = 1.0, b: float = 1.0) -> DualActivation:
    """The dual of a exp(b x): V = a^2 exp(b^2 ((q1 + q2) / 2 + k)).

    Args:
      a: value at 0.
      b: rate.

    Raises:
      ValueError: if a number is not finite.

    >>> exponential_dual(a=2.0).value(0.0, 0.0, 0.0).item()
    4.0
    """
    a, b = _finite(a=a, b=b)

    def both(q1, q2, k):
        value = a**2 * jnp.exp(b**2 * ((q1 + q2) / 2 + k))
        return value, b**2 * value

    return DualActivation(
        f"exponential({a:g}, {b:g})", lambda x: a * jnp.exp(b * x), both, lambda q: a**2 * jnp.exp(2 * b**2 * q)
    )


def gaussian_dual(a: float = 1.0, b: float = -1.0) -> DualActivation:
    """The dual of a exp(b x^2).

        V = a^2 / det^(1/2),    det = (1 - 2 b q1)(1 - 2 b q2) - 4 b^2 k^2.

    Args:
      a: value at 0.
      b: rate; negative for a bump. With positive b there is no second moment from q = 1 / (4 b) on, and V is NaN.

    Raises:
      ValueError: if a number is not finite.

    >>> round(float(gaussian_dual().value(2.0, 2.0, 2.0)), 4)
    0.3333
    """
    a, b = _finite(a=a, b=b)

    def both(q1, q2, k):
        first, second = 1 - 2 * b * q1, 1 - 2 * b * q2
        inside = (first > 0) & (second > 0)
        inverse = jax.lax.rsqrt(jnp.where(inside, first * second - 4 * b**2 * k**2, jnp.nan))
        return a**2 * inverse, 4 * a**2 * b**2 * k * inverse**3

    return DualActivation(
        f"gaussian({a:g}, {b:g})",
        lambda x: a * jnp.exp(b * x**2),
        both,
        lambda q: a**2 * jax.lax.rsqrt(jnp.where(1 - 4 * b * q > 0, 1 - 4 * b * q, jnp.nan)),
    )


def normalized_exponential_dual(gamma: float = 1.0, shift: float = -1.0) -> DualActivation:
    """The dual V = (q1 q2)^(1/2) exp(gamma (c + shift)), c = k / (q1 q2)^(1/2): a Gaussian kernel of directions.

    The activation is r phi(x / r), with r the root mean square of x over channels (the last axis) and
    phi = exp(gamma shift / 2) sum_n (gamma^n / n!)^(1/2) h_n, h_n the normalised Hermite polynomials.

    Args:
      gamma: inverse square length, positive, at most 8.
      shift: added to the cosine; -1 keeps variances.

    Raises:
      ValueError: if a number is out of range.

    >>> normalized_exponential_dual().value(3.0, 3.0, 3.0).item()
    3.0
    """
    require(0 < gamma <= 8, "gamma", gamma, "positive, at most 8")
    (shift,), gamma = _finite(shift=shift), float(gamma)
    terms = np.exp((gamma * shift + np.array([n * math.log(gamma) - math.lgamma(n + 1) for n in range(60)])) / 2)

    def activation(x):
        root = jnp.sqrt(jnp.mean(x**2, -1, keepdims=True))
        rows = hermite_rows(x / jnp.where(root > 0, root, 1), len(terms) - 1)
        return root * sum(float(a) * row for a, row in zip(terms, rows, strict=True))

    def both(q1, q2, k):
        root = safe_sqrt(q1) * safe_sqrt(q2)
        value = jnp.exp(gamma * (k / jnp.where(root > 0, root, 1) + shift))
        return root * value, gamma * value

    return DualActivation(
        f"normalized_exponential({gamma:g}, {shift:g})", activation, both, lambda q: math.exp(gamma * (1 + shift)) * q
    )


def sine_gaussian_dual() -> DualActivation:
    """The dual of exp(-x^2) sin x, a wavelet.

    >>> sine_gaussian_dual().value(1.0, 1.0, 0.0).item()
    0.0
    """

    def both(q1, q2, k):
        total, gap = q1 + q2, 4 * (q1 * q2 - k**2)
        n = 2 * total + gap + 1
        left, right = jnp.exp(-(total + gap + 2 * k) / (2 * n)), jnp.exp(2 * k / n)
        value = left * (right - 1) * jax.lax.rsqrt(n) / 2
        even = (1 + 2 * total + 4 * (k**2 + q1 * q2)) * (1 + right)
        odd = 4 * k * (gap + 3 * total + 2) * (right - 1)
        return value, left / 2 * (even + odd) * n**-2.5

    def diagonal(q):
        return jnp.exp(-2 * q / (1 + 4 * q)) * jnp.expm1(2 * q / (1 + 4 * q)) * jax.lax.rsqrt(1 + 4 * q) / 2

    return DualActivation("sine_gaussian", lambda x: jnp.exp(-(x**2)) * jnp.sin(x), both, diagonal)


def _finite(**values: float) -> tuple[float, ...]:
    for name, value in values.items():
        require_finite(name, value)
    return tuple(map(float, values.values()))
