"""The change of the NTK in a step of descent, contracted with vectors and never formed.

    dH(a, b, c) = sum_ijk a_i b_j c_k sum lambda lambda' (d^2 z_i / dtheta dtheta') (dz_j / dtheta) (dz_k / dtheta')

A step of descent with residuals e moves the NTK by Delta H(b, c) = -eta (dH(b, c, e) + dH(c, b, e)) + O(eta^2), by
1 / width: at infinite width no representation is learned.

Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", chapter 11.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

__all__ = ["dntk_contraction"]


def dntk_contraction(
    apply: Callable[[PyTree], Array],
    params: PyTree,
    rates: PyTree,
    a: Float[Array, "*o"],
    b: Float[Array, "*o"],
    c: Float[Array, "*o"],
) -> Float[Array, ""]:
    """dH(a, b, c), by the forward derivative of a backward one.

    Args:
      apply: parameters to outputs z, inputs fixed; any shape.
      params: floating arrays.
      rates: lambda, as the parameters, each leaf a number or an array that broadcasts.
      a: vector of the second derivative, shaped as the outputs.
      b: vector of the first gradient.
      c: vector of the second gradient.

    Cost: four evaluations forward and backward; memory as of one gradient.

    >>> one = jnp.ones(1)
    >>> float(dntk_contraction(lambda w: w**2, 3 * one, 1.0, one, one, one))  # 2 (2 w)^2
    72.0
    """
    outputs, pull = jax.vjp(apply, params)
    spread = jax.tree.map(lambda rate, leaf: jnp.broadcast_to(jnp.asarray(rate, leaf.dtype), leaf.shape), rates, params)
    along = lambda v: jax.tree.map(jnp.multiply, pull(jnp.asarray(v, outputs.dtype))[0], spread)
    gradient = lambda p: jax.vjp(apply, p)[1](jnp.asarray(a, outputs.dtype))[0]
    moved = jax.jvp(gradient, (params,), (along(c),))[1]
    parts = jax.tree.map(lambda m, v: jnp.sum(m * v), moved, along(b))
    return jnp.sum(jnp.stack(jax.tree.leaves(parts)))
