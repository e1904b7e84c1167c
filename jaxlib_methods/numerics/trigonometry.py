"""Cosines and angles by polynomials: within two rounding units, and on CPUs two to four times as fast as XLA's own.

With T the Chebyshev polynomials, J the Bessel functions and p = tan(pi / 16), so that 2 p / (1 - p^2) = tan(pi / 8),

    sin(y) = 2 sum_n (-1)^n J_(2n + 1)(pi / 2) T_(2n + 1)(2 y / pi),                        |y| <= pi / 2,
    arctan(q) = 2 sum_n (-1)^n p^(2n + 1) / (2n + 1) T_(2n + 1)(q / tan(pi / 8)),           |q| <= tan(pi / 8).

Multiples of pi, of which a half-integer one for the cosine, are taken away in three parts, so that their products are
exact; arctan(q) = pi / 4 - arctan((1 - q) / (1 + q)) = pi / 2 - arctan(1 / q) brings every other angle to the series.

Mason and Handscomb, "Chebyshev Polynomials", 2003, section 5.2; Cody and Waite, "Software Manual for the Elementary
Functions", 1980, chapter 8.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from numpy.polynomial import chebyshev
from scipy.special import jv

__all__ = ["fast_arctan2", "fast_cos", "fast_sin"]

PI = {  # in parts of 8, 11 and 24 bits, and of 27, 26 and 53
    "float32": (3.140625, 2029 / 2**21, 1.5099579909783764e-07),
    "float64": (105414357 / 2**25, 35743938 / 2**54, 1.1442377452219664e-17),
}
EIGHTH = math.tan(math.pi / 8)


def fast_cos(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """cos(x), within two rounding units of 1 and of x.

    Args:
      x: angles; beyond 10^6 (10^14 in double precision), where neighbouring floats are far apart, only |cos(x)| <= 1 is
        kept.

    >>> fast_cos(jnp.array([0.0, jnp.pi])).round(6).tolist()
    [1.0, -1.0]
    """
    return _cos(x)


def fast_sin(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """sin(x), as `fast_cos`.

    >>> fast_sin(jnp.array([0.0, jnp.pi / 2])).round(6).tolist()
    [0.0, 1.0]
    """
    return _sin(x)


def fast_arctan2(y: Float[ArrayLike, "..."], x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """The angle of the point (x, y), in [-pi, pi], within two rounding units of pi.

    Args:
      y: second coordinates.
      x: first coordinates; the signs of zeros do not count, and the origin has the angle 0.

    The derivative at the origin is taken as 0.

    >>> (fast_arctan2(jnp.array([0.0, 1.0, -1.0]), jnp.array([-1.0, 0.0, 1.0])) / jnp.pi).tolist()
    [1.0, 0.5, -0.25]
    """
    return _arctan2(y, x)


@jax.custom_jvp
def _cos(x: ArrayLike) -> Array:
    return _wave(x, 0.5)


@_cos.defjvp
def _cos_jvp(primals, tangents):
    return _cos(*primals), -_sin(*primals) * tangents[0]


@jax.custom_jvp
def _sin(x: ArrayLike) -> Array:
    return _wave(x, 0.0)


@_sin.defjvp
def _sin_jvp(primals, tangents):
    return _sin(*primals), _cos(*primals) * tangents[0]


@jax.custom_jvp
def _arctan2(y: ArrayLike, x: ArrayLike) -> Array:
    dtype = jnp.promote_types(jnp.result_type(y, x), jnp.float32)
    up, along = jnp.asarray(y, dtype) / 2, jnp.asarray(x, dtype) / 2  # halves, whose sums do not overflow
    low, high = jnp.minimum(jnp.abs(up), jnp.abs(along)), jnp.maximum(jnp.abs(up), jnp.abs(along))
    steep = low > EIGHTH * high
    ratio = jnp.where(steep, high - low, low) / jnp.where(steep, high + low, jnp.where(high > 0, high, 1))
    angle = _odd(ratio, _arctan_series(str(dtype)))
    angle = jnp.where(steep, math.pi / 4 - angle, angle)
    angle = jnp.where(jnp.abs(up) > jnp.abs(along), math.pi / 2 - angle, angle)
    angle = jnp.where(along < 0, math.pi - angle, angle)
    return jnp.where(up < 0, -angle, angle).astype(jnp.result_type(y, x))


@_arctan2.defjvp
def _arctan2_jvp(primals, tangents):
    (y, x), (dy, dx) = primals, tangents
    square = x**2 + y**2
    inverse = jnp.where(square > 0, 1 / jnp.where(square > 0, square, 1), 0)
    return _arctan2(y, x), inverse * (x * dy - y * dx)


def _wave(x: ArrayLike, half: float) -> Array:
    """sin(x + half pi), half being 0 or 1/2."""
    dtype = jnp.promote_types(jnp.result_type(x), jnp.float32)
    angle = jnp.asarray(x, dtype)
    turns = jnp.round(angle * (1 / math.pi) + half)
    for part in PI[str(dtype)]:
        angle = angle - (turns - half) * np.asarray(part, dtype)
    sine = _odd(jnp.clip(angle, -math.pi / 2, math.pi / 2), _sine_series(str(dtype)))
    return jnp.where(turns == 2 * jnp.round(turns / 2), sine, -sine).astype(jnp.result_type(x))


def _odd(x: Array, coefficients: np.ndarray) -> Array:
    """x times a polynomial in x^2."""
    square, total = x * x, coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * square + coefficient
    return x * total


@functools.cache
def _sine_series(dtype: str) -> np.ndarray:
    degrees = np.arange(1, 12 if dtype == "float32" else 20, 2)
    return _powers(degrees, jv(degrees, math.pi / 2), math.pi / 2, dtype)


@functools.cache
def _arctan_series(dtype: str) -> np.ndarray:
    degrees = np.arange(1, 12 if dtype == "float32" else 24, 2)
    return _powers(degrees, math.tan(math.pi / 16) ** degrees / degrees, EIGHTH, dtype)


def _powers(degrees: np.ndarray, weights: np.ndarray, end: float, dtype: str) -> np.ndarray:
    """Coefficients of the odd powers of x in 2 sum_n (-1)^n weights T(x / end)."""
    series = np.zeros(degrees[-1] + 1)
    series[degrees] = 2 * (-1.0) ** (degrees // 2) * weights
    powers = chebyshev.cheb2poly(series)
    return (powers / end ** np.arange(len(powers)))[1::2].astype(dtype)
