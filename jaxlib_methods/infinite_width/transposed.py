"""Transposed convolution: positions are spread apart by the stride, with zeros between, and filtered with stride 1.

    K'(o, o') = W_std^2 (1/f) sum_(i, j: o - s i = o' - s j) K(i, j) + b_std^2,    o - s i within the filter.

Sums over the same offset in both copies, as in a convolution; the divisor stays the filter's size f, of which at most
every s-th offset meets a position.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxlib_methods.infinite_width.affine import check_scales
from jaxlib_methods.infinite_width.layer import Layer
from jaxlib_methods.infinite_width.spatial import Window, filter_mean, window
from jaxlib_methods.infinite_width.taps import PLAIN
from jaxlib_methods.numerics.checks import require

__all__ = ["conv_transpose"]


def conv_transpose(
    width: int,
    filter_shape: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    parametrization: str = "ntk",
) -> Layer:
    """A transposed convolution, which enlarges images by its strides; as `jax.lax.conv_transpose`.

    Args:
      width: number of output channels.
      filter_shape: size along each spatial axis.
      strides: distance of the input's positions in the output; 1 if None.
      padding: "VALID" (all that a filter reaches), "SAME" (strides times the input's size) or "CIRCULAR" (the same, on
        a circle).
      weight_std: W_std.
      bias_std: b_std; 0 for no bias.
      parametrization: "ntk" or "standard", see the module of `conv`.

    Raises:
      ValueError: if a size is below 1, a standard deviation is negative, a name is unknown, or the input has another
        number of spatial axes.

    >>> params, shape = conv_transpose(5, (3, 3), strides=(2, 2), padding="SAME").init(jax.random.key(0), (4, 4, 3))
    >>> shape
    (8, 8, 5)
    """
    scales = check_scales(width, weight_std, bias_std, parametrization)
    given = window("filter_shape", filter_shape, strides, padding)
    by = Spread(given.sizes, given.strides, padding)
    offsets = math.prod(by.sizes)

    def init(key, shape, dtype=jnp.float32):
        after = jax.eval_shape(lambda x: by.filtered(x, 0, 1), jax.ShapeDtypeStruct(shape[:-1], dtype)).shape
        return scales.draw(key, (*by.sizes, shape[-1], width), offsets * shape[-1], dtype), (*after, width)

    def apply(params, x, *, key=None, taps=PLAIN, side=None):
        product = lambda x, weight: taps.conv(x, weight, (1,) * len(by.sizes))
        apart = jax.vmap(lambda image: by.apart(image, 0, 1), -1, -1)
        return scales.apply(params, jax.vmap(apart)(x), offsets * x.shape[-1], product, taps)

    def kernel(state, wanted):
        average = lambda k, lead: by.filtered(k, lead, 2 if (state.full if lead == 2 else state.own_full) else 1)
        return scales.kernel(state, average, offsets * state.channels, width)

    def presence(side):
        if padding == "VALID":
            return by.filtered(side.mask.astype(float), 1, 1) > 0
        mask = side.mask
        for i, stride in enumerate(by.strides):
            mask = jnp.repeat(mask, stride, 1 + i)
        return mask

    return Layer(init, apply, kernel, lambda wanted: wanted, presence)


class Spread(NamedTuple):
    """A filter over positions that lie apart."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str

    def apart(self, k: Array, lead: int, copies: int) -> Array:
        """Zeros between positions and margins around them, along `copies` axes for each spatial axis."""
        axes = (k.ndim - lead) // copies
        require(axes == len(self.sizes), "the input", f"{axes} spatial axes", f"{len(self.sizes)} of them")
        sizes, strides = np.repeat(self.sizes, copies).tolist(), np.repeat(self.strides, copies).tolist()
        margins = [(0, 0)] * lead + [self.margins(*pair) for pair in zip(sizes, strides, strict=True)]
        between = [0] * lead + [stride - 1 for stride in strides]
        zero = jnp.zeros((), k.dtype)
        if self.padding != "CIRCULAR":
            return jax.lax.pad(k, zero, [(*margin, zeros) for margin, zeros in zip(margins, between, strict=True)])
        k = jax.lax.pad(k, zero, [(0, zeros, zeros) for zeros in between])
        return jnp.pad(k, [(low, high - z) for (low, high), z in zip(margins, between, strict=True)], mode="wrap")

    def margins(self, size: int, stride: int) -> tuple[int, int]:
        """Positions before the first and behind the last."""
        if self.padding == "VALID":
            return size - 1, max(size, stride) - 1
        total = size + stride - 2
        low = size - 1 if stride >= size else -(-total // 2)
        return low, total - low

    def filtered(self, k: Array, lead: int, copies: int) -> Array:
        """The mean over the filter's offsets, the same in both copies."""
        by = Window(self.sizes, (1,) * len(self.sizes), "VALID")
        return filter_mean(self.apart(k, lead, copies), lead, copies == 2, by)
