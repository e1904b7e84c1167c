"""A dual activation: what an entrywise function makes of the covariance of two jointly Gaussian numbers.

With (u, v) centred Gaussian of variances q1, q2 and covariance k,

    V(q1, q2, k) = E[phi(u) phi(v)],    V'(q1, q2, k) = E[phi'(u) phi'(v)] = dV/dk    (Price's theorem).
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

__all__ = ["DualActivation"]


@dataclass(frozen=True)
class DualActivation:
    """An activation with its dual; hashable, so that it can be a static argument.

    Attributes:
      name: of the activation.
      activation: phi, entry by entry.
      both: (q1, q2, k) to (V, V'); arrays of one rank that broadcast against each other.
      diagonal: q to V(q, q, q).
      smooth: False where V' lacks the part of phi' that is a distribution (steps): then V' is not dV/dk, and only the
        NNGP kernel means something.
    """

    name: str
    activation: Callable[[Array], Array]
    both: Callable[[Array, Array, Array], tuple[Array, Array]]
    diagonal: Callable[[Array], Array]
    smooth: bool = True

    def value(self, q1: ArrayLike, q2: ArrayLike, k: ArrayLike) -> Array:
        """V(q1, q2, k)."""
        return self.both(*map(jnp.asarray, (q1, q2, k)))[0]

    def derivative(self, q1: ArrayLike, q2: ArrayLike, k: ArrayLike) -> Array:
        """V'(q1, q2, k)."""
        return self.both(*map(jnp.asarray, (q1, q2, k)))[1]


@jax.custom_jvp
def safe_sqrt(x: Array) -> Array:
    """The root of the positive part, with derivative 0 where the root is 0."""
    return jnp.sqrt(jnp.maximum(x, 0))


@safe_sqrt.defjvp
def _safe_sqrt_jvp(primals, tangents):
    root = safe_sqrt(primals[0])
    return root, jnp.where(root > 0, tangents[0] / (2 * jnp.where(root > 0, root, 1)), 0)
