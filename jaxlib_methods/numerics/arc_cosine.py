"""Arc-cosine kernels: what infinitely many random step or ReLU units see of two inputs, and finitely many of them.

With w ~ N(0, I), c the cosine between x and y, and theta = arccos c,

    degree 0:  2 E[step(w.x) step(w.y)] = 1 - theta / pi,
    degree 1:  2 E[relu(w.x) relu(w.y)] = |x| |y| (sin theta + (pi - theta) cos theta) / pi.

The derivative of the second in c is the first. With weights of variance 2/d the ReLU kernel is the NNGP kernel of one
hidden layer, K(x, x) = |x|^2 / d.

Cho and Saul, "Kernel Methods for Deep Learning", 2009, eqs. 1-6.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxlib_methods.numerics.checks import require_array, require_choice, require_size
from jaxlib_methods.numerics.projections import random_rows
from jaxlib_methods.numerics.trigonometry import fast_arctan2

__all__ = ["arc_cosine", "arc_cosine_features", "arc_cosine_kernel"]


def arc_cosine(cosine: Float[Array, "..."], *, degree: int = 1) -> Float[Array, "..."]:
    """The arc-cosine function of the cosine between two inputs, 1 at cosine 1.

    Args:
      cosine: in [-1, 1]; what rounding left outside is taken as the end of the interval.
      degree: 1 for ReLU units, 0 for steps.

    Raises:
      ValueError: if the degree is neither 0 nor 1.

    The derivative is exact everywhere for degree 1; for degree 0 it is infinite at cosine 1 and -1.

    >>> arc_cosine(jnp.array([1.0, -1.0])).tolist(), arc_cosine(jnp.array([0.0]), degree=0).round(4).tolist()
    ([1.0, 0.0], [0.5])
    """
    require_choice("degree", str(degree), ("0", "1"))
    cosine = jnp.clip(cosine, -1, 1)
    return _relu(cosine) if degree else 1 - _angle(cosine) / jnp.pi


def arc_cosine_kernel(x: Float[Array, "n d"], y: Float[Array, "m d"], *, degree: int = 1) -> Float[Array, "n m"]:
    """Arc-cosine kernel between rows: |x| |y| / d times the function for degree 1 (the ReLU NNGP kernel), or itself.

    Give it to `gram` to compute a large matrix in tiles or on many devices. A row of zeros has cosine 0 to all.

    Args:
      x: rows.
      y: other rows.
      degree: 1 for ReLU units, 0 for steps.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or the degree is neither 0 nor 1.

    Cost: 2 n m d, and an arc cosine a pair.

    >>> arc_cosine_kernel(jnp.array([[1.0, 1.0]]), jnp.array([[1.0, 1.0], [-2.0, -2.0]])).round(4).tolist()
    [[1.0, 0.0]]
    """
    require_array("x", x, (None, None))
    require_array("y", y, (None, x.shape[1]))
    norms = [jnp.sqrt(jnp.sum(rows**2, 1)) for rows in (x, y)]
    scale = norms[0][:, None] * norms[1][None]
    inner = jnp.einsum("nd,md->nm", x, y, precision="highest")
    values = arc_cosine(inner / jnp.where(scale > 0, scale, 1), degree=degree)
    return scale / x.shape[1] * values if degree else values


def arc_cosine_features(
    key: Key[Array, ""], x: Float[Array, "n d"], features: int, *, degree: int = 1
) -> Float[Array, "n k"]:
    """Random ReLU or step units, scaled so that inner products of rows average to `arc_cosine_kernel`.

    Args:
      key: draws the weights.
      x: rows.
      features: number of units k, at least 1.
      degree: 1 for ReLU units, 0 for steps.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if a size is below 1 or the degree is neither 0 nor 1.

    Cost: 2 n d k. Memory: O((n + d) k).

    >>> arc_cosine_features(jax.random.key(0), jnp.ones((3, 2)), 5).shape
    (3, 5)
    """
    require_array("x", x, (None, None))
    require_size("features", features)
    require_choice("degree", str(degree), ("0", "1"))
    dim = x.shape[1]
    weights = random_rows(key, features, dim, dtype=x.dtype)
    inner = jnp.einsum("nd,kd->nk", x, weights, precision="highest")
    if degree:
        return jax.nn.relu(inner) * (2 / (dim * features)) ** 0.5
    return jnp.heaviside(inner, 0) * (2 / features) ** 0.5


@jax.custom_jvp
def _relu(cosine: Array) -> Array:
    sine = jnp.sqrt((1 - cosine) * (1 + cosine))
    return (sine + (jnp.pi - fast_arctan2(sine, cosine)) * cosine) / jnp.pi


@_relu.defjvp
def _relu_jvp(primals, tangents):
    (cosine,), (direction,) = primals, tangents
    return _relu(cosine), (1 - _angle(cosine) / jnp.pi) * direction


def _angle(cosine: Array) -> Array:
    return fast_arctan2(jnp.sqrt((1 - cosine) * (1 + cosine)), cosine)
