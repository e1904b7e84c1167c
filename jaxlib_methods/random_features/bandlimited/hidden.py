"""Frozen hidden layers with weights in a band, and the networks on top of them.

g(x) = sum_j c_j sigma(a_j . x - b_j),    (a_j, b_j) drawn from a band V and kept, c trained or computed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import require, require_array, require_positive
from jaxlib_methods.numerics.projections import random_rows

__all__ = ["Hidden", "hidden_features", "random_net_apply", "sample_hidden"]

Activation = Callable[[Array], Array]


class Hidden(NamedTuple):
    """Weights and biases of `n` hidden units in `m` dimensions."""

    a: Float[Array, "n m"]
    b: Float[Array, " n"]


def sample_hidden(
    key: Key[Array, ""],
    count: int,
    dim: int,
    *,
    law: str = "box",
    lam: Float[ArrayLike, ""] = 1.0,
    beta: Float[ArrayLike, ""] | None = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> Hidden:
    """Draws hidden units: weights lam times a law of unit scale, biases uniform in [-beta, beta].

    The same key gives the same units at every lam and beta, up to their scale.

    Args:
      key: typed PRNG key.
      count: number of units n, at least 1.
      dim: m, at least 1.
      law: of the weights, as in `numerics.random_rows`: "box", "ball", "gaussian", "sphere" and others.
      lam: bandwidth; nonnegative.
      beta: range of the biases, `lam` if None: the bias range matters as much as that of the weights, and for data in
        [0, 1] half of the knots a x = b then lie outside. For cosines give pi.
      dtype: of the units.

    Raises:
      ValueError: if a size is below 1, the law unknown, or a known range is not positive.

    >>> sample_hidden(jax.random.key(0), 5, 2, lam=3.0).a.shape
    (5, 2)
    """
    require_positive("lam", lam)
    if beta is not None:
        require_positive("beta", beta)
    weight_key, bias_key = jax.random.split(key)
    a = random_rows(weight_key, count, dim, law=law, dtype=dtype)
    b = jax.random.uniform(bias_key, (count,), dtype, -1, 1)
    return scale_hidden(Hidden(a, b), lam, lam if beta is None else beta)


def scale_hidden(hidden: Hidden, lam: ArrayLike, beta: ArrayLike) -> Hidden:
    """Units of unit range brought to weights of range lam and biases of range beta."""
    return Hidden((hidden.a * lam).astype(hidden.a.dtype), (hidden.b * beta).astype(hidden.b.dtype))


def hidden_features(hidden: Hidden, x: Float[Array, "N m"], activation: Activation) -> Float[Array, "N n"]:
    """Features sigma(a . x - b), one row a point; rows and units may be split over devices.

    Args:
      hidden: the units.
      x: points.
      activation: sigma, elementwise.

    Raises:
      ValueError: if the points and units differ in dimension.

    Cost: one (N, m) x (m, n) product.

    >>> hidden_features(Hidden(jnp.ones((1, 2)), jnp.ones(1)), jnp.ones((1, 2)), jnp.square).tolist()
    [[1.0]]
    """
    _check(hidden, x)
    angles = jnp.einsum("Nm,nm->Nn", x, hidden.a, precision="highest")
    return activation(angles - hidden.b[None])


def random_net_apply(
    hidden: Hidden,
    coefficients: Float[Array, "n *t"],
    x: Float[Array, "N m"],
    activation: Activation,
    *,
    block: int = 4096,
) -> Float[Array, "N *t"]:
    """The network sum_j c_j sigma(a_j . x - b_j), a block of units at a time.

    Args:
      hidden: the units.
      coefficients: c, one a unit, or one row a unit.
      x: points.
      activation: sigma, elementwise.
      block: units worked on at once. Memory: O(N block).

    Raises:
      ValueError: if shapes do not match or `block` is below 1.

    >>> hidden = Hidden(jnp.ones((1, 2)), jnp.ones(1))
    >>> random_net_apply(hidden, jnp.full(1, 3.0), jnp.ones((1, 2)), jnp.square).tolist()
    [3.0]
    """
    _check(hidden, x)
    count = len(hidden.b)
    require(coefficients.shape[:1] == (count,), "coefficients", f"shape {coefficients.shape}", f"of {count} rows")

    def part(rows):
        hidden, c = rows
        return jnp.einsum("Nn,n...->N...", hidden_features(hidden, x, activation), c, precision="highest")

    return reduce_rows(part, jnp.add, (hidden, coefficients), block=block)


def _check(hidden, x):
    require_array("x", x, (None, hidden.a.shape[1]))
