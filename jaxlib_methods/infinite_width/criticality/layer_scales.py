"""Hyperparameters of a perceptron: variances at initialization and relative learning rates."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from jaxlib_methods.numerics.checks import require, require_nonnegative, require_positive

__all__ = ["LayerScales"]


class LayerScales(NamedTuple):
    """C_b, C_W, lambda_b, lambda_W: numbers, or one for each layer.

    Biases are drawn with variance C_b and weights with C_W / fan-in; descent moves biases by lambda_b and weights by
    lambda_W / fan-in times the gradient.
    """

    bias_variance: ArrayLike
    weight_variance: ArrayLike
    bias_rate: ArrayLike = 0.0
    weight_rate: ArrayLike = 1.0


def check_scales(scales: LayerScales, dtype: jnp.dtype, depth: int) -> tuple[Array, Array, Array, Array]:
    """The four, one entry for each layer.

    Raises:
      ValueError: if a known variance of weights is not positive, another number negative, or a shape neither () nor
        (depth,).
    """
    require_nonnegative("bias_variance", scales.bias_variance)
    require_positive("weight_variance", scales.weight_variance)
    require_nonnegative("bias_rate", scales.bias_rate)
    require_nonnegative("weight_rate", scales.weight_rate)
    arrays = [jnp.asarray(value, dtype) for value in scales]
    for name, array in zip(LayerScales._fields, arrays, strict=True):
        require(array.shape in ((), (depth,)), name, f"shape {array.shape}", f"a number or of shape ({depth},)")
    c_b, c_w, l_b, l_w = (jnp.broadcast_to(array, (depth,)) for array in arrays)
    return c_b, c_w, l_b, l_w


def check_widths(widths: ArrayLike, dtype: jnp.dtype, depth: int) -> Array:
    """Widths of hidden layers over n, one entry for each.

    Raises:
      ValueError: if a known width is not positive, or the shape neither () nor (depth - 1,).
    """
    require_positive("widths", widths)
    array = jnp.asarray(widths, dtype)
    needed = f"a number or of shape ({depth - 1},)"
    require(array.shape in ((), (depth - 1,)), "widths", f"shape {array.shape}", needed)
    return jnp.broadcast_to(array, (depth - 1,))
