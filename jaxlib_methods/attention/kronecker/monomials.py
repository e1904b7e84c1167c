"""All monomials of up to a degree in d variables, and polynomials that stand in for the exponential.

x^a = prod_s x_s^(a_s) over the C(d + g, g) multi-indices with |a| <= g, by products of lower monomials, so that values
and gradients are right at zero. With them (x.y)^t = sum over |a| = t of (t! / prod a_s!) x^a y^a.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

__all__ = ["exponential_coefficients", "monomials", "multinomials", "relative_error"]

GRID = 4001


def monomials(x: Array, degree: int) -> Array:
    """(..., d) to (..., C(d + degree, degree)), by degree, then by the last variable that occurs."""
    dim = x.shape[-1]
    levels, ends = [jnp.ones((*x.shape[:-1], 1), x.dtype)], [1] * dim
    for _ in range(degree):
        last = levels[-1]
        levels.append(jnp.concatenate([x[..., s : s + 1] * last[..., : ends[s]] for s in range(dim)], axis=-1))
        ends = list(np.cumsum(ends))
    return jnp.concatenate(levels, axis=-1)


def multinomials(dim: int, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """|a| and |a|! / prod a_s! of every column of `monomials`."""
    unit = np.eye(dim, dtype=int)
    levels, ends = [np.zeros((1, dim), int)], [1] * dim
    for _ in range(degree):
        levels.append(np.concatenate([levels[-1][: ends[s]] + unit[s] for s in range(dim)]))
        ends = list(np.cumsum(ends))
    factorial = np.array([math.factorial(t) for t in range(degree + 1)], float)
    exponents = np.concatenate(levels)
    total = exponents.sum(1)
    return total, factorial[total] / factorial[exponents].prod(1)


def exponential_coefficients(radius: float, degree: int, basis: str) -> np.ndarray:
    """Coefficients of z^0, ..., z^degree of a polynomial near e^z on [-radius, radius]."""
    if basis == "taylor":
        return np.array([1 / math.factorial(t) for t in range(degree + 1)])
    half, orders = radius / 2, np.arange(degree + 1)
    term = np.array([half**t / math.factorial(t) for t in range(degree + 1)])
    bessel = term  # I_t(radius) = sum_s (radius / 2)^(2s + t) / (s! (s + t)!)
    for s in range(1, 60):
        term = term * half**2 / (s * (s + orders))
        bessel = bessel + term
    series = np.array([bessel[0], *(2 * value for value in bessel[1:])])
    in_unit = np.polynomial.chebyshev.cheb2poly(series)
    return np.pad(in_unit, (0, degree + 1 - len(in_unit))) / float(radius) ** np.arange(degree + 1)


def relative_error(coefficients: np.ndarray, radius: float) -> float:
    """max |P(z) e^-z - 1| over |z| <= radius, by a grid dense enough that the rest is covered by a factor 1 + 1e-3."""
    z = radius * np.cos(np.linspace(0, np.pi, GRID))
    return float(1.001 * np.max(np.abs(np.polynomial.polynomial.polyval(z, coefficients) * np.exp(-z) - 1)))
