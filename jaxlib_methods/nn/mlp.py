"""Multilayer perceptrons as an init/apply pair, and sinusoidal features of a scalar.

h_0 = x,   h_l = f(h_(l-1) W_l + b_l),   y = h_(L-1) W_L + b_L,   W_l ~ N(0, gain^2 / fan_in),  b_l = 0.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = ["Dense", "mlp_apply", "mlp_init", "sinusoidal_features"]


class Dense(NamedTuple):
    """One affine map."""

    weight: Float[Array, "i o"]
    bias: Float[Array, " o"]


def mlp_init(
    key: Key[Array, ""], sizes: Sequence[int], *, gain: float = 1.0, last_gain: float | None = None
) -> tuple[Dense, ...]:
    """Draws the layers of a perceptron.

    Args:
      key: typed PRNG key.
      sizes: widths of input, hidden layers and output.
      gain: standard deviation of a weight times sqrt(fan_in).
      last_gain: the same for the last layer; `gain` if None, 0 for a network that starts at zero.

    Raises:
      ValueError: if there are fewer than two sizes or one is below 1.

    >>> [layer.weight.shape for layer in mlp_init(jax.random.key(0), (3, 8, 1))]
    [(3, 8), (8, 1)]
    """
    require(len(sizes) >= 2, "sizes", tuple(sizes), "at least an input and an output width")
    for size in sizes:
        require_size("sizes", size)
    gains = [gain] * (len(sizes) - 2) + [gain if last_gain is None else last_gain]
    keys = jax.random.split(key, len(sizes) - 1)
    return tuple(
        Dense(g / i**0.5 * jax.random.normal(k, (i, o)), jnp.zeros(o))
        for k, g, i, o in zip(keys, gains, sizes[:-1], sizes[1:], strict=True)
    )


def mlp_apply(
    params: Sequence[Dense], x: Float[Array, "b i"], *, activation: Callable[[Array], Array] = jax.nn.silu
) -> Float[Array, "b o"]:
    """Applies the perceptron to rows; no activation after the last layer.

    Args:
      params: layers from `mlp_init`.
      x: rows.
      activation: between layers, entry by entry.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if its rows are not as wide as the first layer.

    >>> mlp_apply(mlp_init(jax.random.key(0), (3, 8, 1)), jnp.ones((5, 3))).shape
    (5, 1)
    """
    require_array("x", x, (None, params[0].weight.shape[0]))
    for layer in params[:-1]:
        x = activation(x @ layer.weight + layer.bias[None])
    return x @ params[-1].weight + params[-1].bias[None]


def sinusoidal_features(
    x: Float[Array, " b"], num_features: int, *, lowest: float = 1.0, highest: float = 16.0
) -> Float[Array, "b f"]:
    """Cosines and sines of a scalar at geometrically spaced angular frequencies.

    Args:
      x: scalars.
      num_features: f, even and at least 2: f/2 cosines, then f/2 sines.
      lowest: lowest angular frequency, in radians a unit of x.
      highest: highest angular frequency.

    Raises:
      ValueError: if `num_features` is odd or below 2.

    >>> sinusoidal_features(jnp.zeros(1), 4).tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    require_size("num_features", num_features, 2)
    require(num_features % 2 == 0, "num_features", num_features, "even")
    require_array("x", x, (None,))
    angles = x[:, None] * jnp.geomspace(lowest, highest, num_features // 2, dtype=x.dtype)[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=1)
