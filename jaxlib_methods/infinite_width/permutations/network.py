"""One hidden layer of rectifiers without biases, whose training inputs are the basis vectors.

    f(x) = c_2 V relu(c_1 W^T x / |x|),      W, V: (k, n),      W ~ N(0, d_1^2), V ~ N(0, d_2^2),

                 d_1           c_1           d_2           c_2
    "ntk"        1             s / sqrt(k)   1             s / sqrt(n)
    "standard"   s / sqrt(k)   1             s / sqrt(n)   1

Both start as the same function. Under gradient descent the first keeps its rates at any width; in the second the
readout's are n times the hidden layer's, so that a wide one trains its readout alone.

Unit i of a network is drawn from the key folded with i, whatever the width and wherever the unit lives. Units come
last, where accelerators want the long axis.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, Num

from jaxlib_methods.infinite_width.permutations.binary_inputs import require_length
from jaxlib_methods.numerics.checks import require_choice, require_positive, require_size

__all__ = ["PermutationNetwork", "permutation_network_apply", "permutation_network_init"]


class PermutationNetwork(NamedTuple):
    """W and V, a column for each hidden unit; leading axes are members of an ensemble."""

    hidden: Float[Array, "*b k n"]
    readout: Float[Array, "*b k n"]


def permutation_network_init(
    key: Key[Array, ""],
    k: int,
    width: int,
    *,
    parametrization: str = "ntk",
    weight_std: ArrayLike = 1.0,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> PermutationNetwork:
    """Draws a network.

    Args:
      key: typed PRNG key.
      k: length of inputs and outputs.
      width: hidden units n.
      parametrization: "ntk" or "standard".
      weight_std: s.
      dtype: of the weights.

    Raises:
      ValueError: if a size is below 1, the parametrization is unknown or a known s is not positive.

    >>> permutation_network_init(jax.random.key(0), 4, 100).readout.shape
    (4, 100)
    """
    require_size("k", k)
    require_size("width", width)
    require_positive("weight_std", weight_std)
    return draw_units(key, jnp.arange(width), k, scales(parametrization, k, width, weight_std)[0], dtype)


def permutation_network_apply(
    params: PermutationNetwork, x: Num[Array, "*b k"], *, parametrization: str = "ntk", weight_std: ArrayLike = 1.0
) -> Float[Array, "*b k"]:
    """The network's outputs.

    Args:
      params: of one network.
      x: inputs, divided by their length here; zeros give zeros.
      parametrization: that of the draw.
      weight_std: that of the draw.

    Raises:
      ValueError: if lengths differ or the parametrization is unknown.

    >>> params = permutation_network_init(jax.random.key(0), 4, 100)
    >>> permutation_network_apply(params, jnp.zeros(4)).tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    k, width = params.hidden.shape
    require_length("x", x, k)
    return outputs(params, unit_length(x, params.hidden.dtype), scales(parametrization, k, width, weight_std)[1])


def scales(
    parametrization: str, k: int, width: int, weight_std: ArrayLike
) -> tuple[tuple[ArrayLike, ArrayLike], tuple[ArrayLike, ArrayLike]]:
    """Standard deviations (d_1, d_2) and factors (c_1, c_2)."""
    require_choice("parametrization", parametrization, ("ntk", "standard"))
    ones, by_size = (1.0, 1.0), (weight_std / k**0.5, weight_std / width**0.5)
    return (ones, by_size) if parametrization == "ntk" else (by_size, ones)


def draw_units(
    key: Array, units: Array, k: int, deviations: tuple[ArrayLike, ArrayLike], dtype: jax.typing.DTypeLike
) -> PermutationNetwork:
    """The columns of some hidden units, by their numbers."""
    draw = lambda unit: jax.random.normal(jax.random.fold_in(key, unit), (2, k), dtype)
    both = jax.vmap(draw, out_axes=2)(units)
    return PermutationNetwork(*(jnp.asarray(d, dtype) * one for d, one in zip(deviations, both, strict=True)))


def outputs(params: PermutationNetwork, x: Array, factors: tuple[ArrayLike, ArrayLike]) -> Array:
    """The sum over these units."""
    first, second = (jnp.asarray(factor, x.dtype) for factor in factors)
    hidden = jax.nn.relu(first * jnp.einsum("...k,kn->...n", x, params.hidden, precision="highest"))
    return second * jnp.einsum("...n,kn->...k", hidden, params.readout, precision="highest")


def unit_length(x: Array, dtype: jax.typing.DTypeLike) -> Array:
    """Rows divided by their length; zeros stay."""
    x = jnp.asarray(x, dtype)
    square = jnp.sum(x**2, -1, keepdims=True)
    return x / jnp.sqrt(jnp.where(square > 0, square, 1))
