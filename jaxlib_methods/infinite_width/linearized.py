"""A model replaced by its Taylor polynomial in the parameters, about where they start.

f_k(p) = sum_(d <= k) (1 / d!) d^d/ds^d f(p0 + s (p - p0)) at s = 0
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxlib_methods.numerics.checks import require_size

__all__ = ["linearize", "taylor_expand"]


def linearize(apply: Callable[..., Array], params: PyTree) -> Callable[..., Array]:
    """The model that is linear in its parameters, f(p0) + J(p0) (p - p0): training it is kernel regression by the NTK.

    Returns a function like `apply`: of parameters and inputs.

    >>> linear = linearize(lambda w, x: w**2 * x, jnp.array(1.0))
    >>> float(linear(jnp.array(3.0), jnp.array(1.0)))  # 1 + 2 (3 - 1)
    5.0
    """
    return taylor_expand(apply, params, 1)


def taylor_expand(apply: Callable[..., Array], params: PyTree, degree: int) -> Callable[..., Array]:
    """The model's Taylor polynomial of any degree in the parameters. Cost: about 2^degree evaluations.

    Args:
      apply: (parameters, *arguments) to outputs, pytrees included.
      params: p0; floating arrays.
      degree: of the polynomial, at least 0.

    Raises:
      ValueError: if the degree is negative.

    >>> square = taylor_expand(lambda w, x: w**2 * x, jnp.array(1.0), 2)
    >>> float(square(jnp.array(3.0), jnp.array(1.0)))
    9.0
    """
    require_size("degree", degree, 0)

    def expanded(moved, *arguments, **options):
        step = jax.tree.map(jnp.subtract, moved, params)
        along = lambda s: apply(
            jax.tree.map(lambda p, d: p + s.astype(p.dtype) * d, params, step), *arguments, **options
        )
        start = jnp.zeros((), jnp.result_type(*jax.tree.leaves(params)))
        total, derivative = along(start), along
        for order in range(1, degree + 1):
            derivative = _slope(derivative)
            total = jax.tree.map(lambda a, b, order=order: a + b / math.factorial(order), total, derivative(start))
        return total

    return expanded


def _slope(function: Callable) -> Callable:
    return lambda s: jax.jvp(function, (s,), (jnp.ones_like(s),))[1]
