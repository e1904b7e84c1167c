"""Duals by Hermite series: exact for polynomials, by Gauss-Hermite quadrature for any other function.

With the normalised Hermite polynomials h_k and c = k / (q1 q2)^(1/2), Mehler's formula gives

    V = sum_k a_k(q1) a_k(q2) c^k,    a_k(q) = E[phi(q^(1/2) z) h_k(z)],    z ~ N(0, 1),

and dV/dk, which by Price's theorem is V', needs no derivative of phi. With n nodes and the n terms k < n the discrete
transform is orthogonal: V(q, q, q) is the quadrature of phi^2, and a matrix of values of V is positive semidefinite.
For polynomials a_k(q) = q^(k/2) times a polynomial in q, and no root is left.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxlib_methods.infinite_width.dual import DualActivation
from jaxlib_methods.numerics.checks import require, require_finite, require_size

__all__ = ["hermite_dual", "polynomial_dual", "quadrature_dual"]


def quadrature_dual(activation: Callable[[Array], Array], *, degree: int = 40) -> DualActivation:
    """The dual of any function of polynomial growth, by Gauss-Hermite quadrature.

    Args:
      activation: phi, entry by entry; its derivative is not needed.
      degree: nodes, 1 to 128, and terms of the series. For tanh at variance 1, 40 give V to 1e-9 and V' to 1e-7; at a
        kink the error of V falls as degree^(-3/2) at worst, at k^2 = q1 q2, and that of V' as degree^(-1/2).

    Raises:
      ValueError: if the degree is out of range or `activation` does not keep shapes.

    Cost: `degree` evaluations of phi a variance, and 4 `degree` operations a pair. Variances are floored at the
    rounding unit, below which the function is taken as linear.

    >>> round(float(quadrature_dual(lambda x: x**2).value(1.0, 1.0, 0.5)), 4)
    1.5
    """
    require_size("degree", degree, 1, 128)
    require(callable(activation), "activation", repr(activation), "a function")
    given = np.shape(np.asarray(activation(jnp.ones((2, 1)))))
    require(given == (2, 1), "activation", f"a function from shape (2, 1) to {given}", "a function of each entry")
    name = f"quadrature({getattr(activation, '__name__', 'activation')}, {degree})"
    both = functools.partial(_by_series, activation, degree)
    return DualActivation(name, activation, both, lambda q: jnp.sum(_coefficients(activation, degree, q)[0] ** 2, 0))


def polynomial_dual(coefficients: Sequence[float]) -> DualActivation:
    """The dual of sum_m c_m x^m, exact at all variances.

    Args:
      coefficients: c_0, c_1, ...

    Raises:
      ValueError: if there are none or one is not finite.

    >>> polynomial_dual([0, 0, 1]).value(1.0, 2.0, 0.5).item()  # q1 q2 + 2 k^2
    2.5
    """
    require(len(coefficients) > 0, "coefficients", "none", "at least one number")
    require_finite("coefficients", coefficients)
    rows = _wick(coefficients)

    def both(q1, q2, k):
        return _mehler([_horner(row, q1) * _horner(row, q2) for row in rows], k)

    def diagonal(q):
        return both(q, q, q)[0]

    powers = tuple(map(float, coefficients))
    name = "polynomial(" + ", ".join(f"{c:g}" for c in powers) + ")"
    return DualActivation(name, lambda x: _horner(powers, x), both, diagonal)


def hermite_dual(degree: int) -> DualActivation:
    """The dual of the normalised Hermite polynomial h_k: V = c^k at unit variances.

    Args:
      degree: k, at most 100.

    Raises:
      ValueError: if the degree is out of range.

    >>> round(float(hermite_dual(3).value(1.0, 1.0, 0.5)), 6)
    0.125
    """
    require_size("degree", degree, 0, 100)

    def scaled(q):
        """h_k(q^(1/2) z) = sum_m b_m(q) q^(m/2) h_m(z)."""
        terms = [jnp.zeros_like(q)] * (degree + 1)
        for j in range(degree // 2 + 1):
            m = degree - 2 * j
            size = math.exp((math.lgamma(degree + 1) - math.lgamma(m + 1)) / 2 - math.lgamma(j + 1)) / 2**j
            terms[m] = size * (q - 1) ** j
        return terms

    def both(q1, q2, k):
        return _mehler([a * b for a, b in zip(scaled(q1), scaled(q2), strict=True)], k)

    activation = lambda x: hermite_rows(x, degree)[degree]
    return DualActivation(f"hermite({degree})", activation, both, lambda q: both(q, q, q)[0])


def _by_series(activation: Callable, degree: int, q1: Array, q2: Array, k: Array) -> tuple[Array, Array]:
    (left, root1), (right, root2) = (_coefficients(activation, degree, q) for q in (q1, q2))
    inverse = 1 / (root1 * root2)
    value, slope = _mehler([left[i] * right[i] for i in range(degree)], jnp.clip(k * inverse, -1, 1))
    return value, slope * inverse


def _coefficients(activation: Callable, degree: int, q: Array) -> tuple[Array, Array]:
    """a_k(q), (degree, ...), and the root of q."""
    nodes, transform = _hermite(degree)
    root = jnp.sqrt(jnp.maximum(q, jnp.finfo(q.dtype).eps))
    column = lambda a: jnp.asarray(a, q.dtype).reshape(-1, *(1,) * q.ndim)
    values = activation(column(nodes) * root[None])
    return jnp.einsum("ki,i...->k...", jnp.asarray(transform, q.dtype), values, precision="highest"), root


@functools.cache
def _hermite(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of the rule, and weights times h_k at the nodes, (k, node)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(degree)
    weights = weights / weights.sum()
    return nodes, np.stack(hermite_rows(nodes, degree - 1)) * weights


def hermite_rows(x, degree: int) -> list:
    """h_0 to h_degree at x."""
    rows = [x * 0 + 1, x]
    for k in range(1, degree):
        rows.append((x * rows[k] - math.sqrt(k) * rows[k - 1]) / math.sqrt(k + 1))
    return rows[: degree + 1]


def _wick(coefficients: Sequence[float]) -> list[list[float]]:
    """For each k the coefficients of a polynomial in q, which times q^(k/2) is a_k(q)."""
    size = len(coefficients)
    rows = [[0.0] * ((size - 1 - k) // 2 + 1) for k in range(size)]
    for m, c in enumerate(coefficients):
        for j in range(m // 2 + 1):
            k = m - 2 * j
            rows[k][j] += float(c) * math.factorial(m) / (2**j * math.factorial(j) * math.factorial(k) ** 0.5)
    return rows


def _horner(coefficients: Sequence[float], x: Array) -> Array:
    total = jnp.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def _mehler(products: list[Array], x: Array) -> tuple[Array, Array]:
    """sum_k p_k x^k and its derivative in x."""
    value = jnp.zeros_like(products[0] * x)
    slope = value
    for product in reversed(products):
        slope = slope * x + value
        value = value * x + product
    return value, slope
