"""What filters and pools of a wide network do to covariances over positions, one spatial axis after the other.

A filter meets both copies of an input at the same offset, a pool at independent ones:

    filter:  (1/f) sum_i k(s h + i, s h' + i),        pool:  (1/f^2) sum_ij k(s h + i, s h' + j).

Both are sums of shifted copies: f additions an entry and axis instead of the f^2 or more of a convolution in two
dimensions, without multiplications.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxlib_methods.infinite_width.kernel_state import Side
from jaxlib_methods.numerics.checks import require, require_choice, require_size

__all__ = ["Window", "filter_mean", "pool", "window"]

PADDINGS = ("VALID", "SAME", "CIRCULAR")


class Window(NamedTuple):
    """A filter or pool over the spatial axes: sizes, strides and padding."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str

    def margins(self, axis: int, length: int) -> tuple[int, int]:
        """Positions added before and after an axis."""
        f, s = self.sizes[axis], self.strides[axis]
        if self.padding == "VALID":
            require(length >= f, "filter or window", f"size {f} on an axis of {length}", "no larger than the input")
            return 0, 0
        total = max((-(-length // s) - 1) * s + f - length, 0)
        return total // 2, total - total // 2

    def length(self, axis: int, length: int) -> int:
        """Positions of the output along an axis."""
        low, high = self.margins(axis, length)
        return (length + low + high - self.sizes[axis]) // self.strides[axis] + 1

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Spatial shape of the output."""
        require(len(shape) == len(self.sizes), "the input", f"{len(shape)} spatial axes", f"{len(self.sizes)} of them")
        return tuple(self.length(axis, length) for axis, length in enumerate(shape))

    def pad(self, x: Array, first: int = 1) -> Array:
        """Pads the spatial axes of an input, which begin at axis `first`."""
        for i in range(len(self.sizes)):
            x = _pad(x, (first + i,), self.margins(i, x.shape[first + i]), self.padding)
        return x

    def any_present(self, side: Side) -> Array:
        """Where a position in the window is present."""
        assert side.mask is not None
        return filter_mean(side.mask.astype(float), 1, False, self) > 0

    def centre_present(self, side: Side) -> Array:
        """Where the position in the window's middle is present; of two the first."""
        mask = side.mask
        assert mask is not None
        for i, (size, stride) in enumerate(zip(self.sizes, self.strides, strict=True)):
            length = mask.shape[1 + i]
            start = (size - 1) // 2 - self.margins(i, length)[0]
            end = start + (self.length(i, length) - 1) * stride + 1
            mask = jax.lax.slice_in_dim(mask, start, end, stride, 1 + i)
        return mask


def window(name: str, sizes: Sequence[int], strides: Sequence[int] | None, padding: str) -> Window:
    """A checked window; strides are 1 if None."""
    strides = (1,) * len(sizes) if strides is None else strides
    require(len(sizes) > 0, name, "no sizes", "one size for each spatial axis")
    require(len(strides) == len(sizes), "strides", f"{len(strides)} numbers", f"{len(sizes)}, as {name}")
    for size in sizes:
        require_size(name, size)
    for stride in strides:
        require_size("strides", stride)
    require_choice("padding", padding, PADDINGS)
    return Window(tuple(sizes), tuple(strides), padding)


def filter_mean(k: Array, lead: int, full: bool, by: Window) -> Array:
    """The mean over a filter's offsets, the same in both copies; `full` says that positions come in pairs of axes."""
    for i, (size, stride) in enumerate(zip(by.sizes, by.strides, strict=True)):
        axes = (lead + 2 * i, lead + 2 * i + 1) if full else (lead + i,)
        k = _shifted_sum(k, axes, size, stride, by.margins(i, k.shape[axes[0]]), by.padding)
    return k / math.prod(by.sizes)


def pool(k: Array, lead: int, full: bool, by: Window, *, mean: bool, count_padding: bool) -> Array:
    """The sum or mean over independent offsets in both copies; without `full`, over the offsets of single positions."""
    for i, (size, stride) in enumerate(zip(by.sizes, by.strides, strict=True)):
        for axis in (lead + 2 * i, lead + 2 * i + 1) if full else (lead + i,):
            length, margins = k.shape[axis], by.margins(i, k.shape[axis])
            k = _shifted_sum(k, (axis,), size, stride, margins, by.padding)
            if mean and by.padding == "SAME" and not count_padding:
                inside = np.pad(np.ones(length), margins)
                counts = np.array([inside[j * stride : j * stride + size].sum() for j in range(k.shape[axis])])
                k = k / jnp.asarray(counts, k.dtype).reshape(-1, *(1,) * (k.ndim - axis - 1))[(None,) * axis]
            elif mean:
                k = k / size
    return k


def _shifted_sum(
    k: Array, axes: tuple[int, ...], size: int, stride: int, margins: tuple[int, int], padding: str
) -> Array:
    if (size, stride) == (1, 1):
        return k
    if len(axes) == 1:
        return _window_sum(k, axes[0], size, stride, margins, padding)
    k = _pad(k, axes, margins, padding)
    length = (k.shape[axes[0]] - size) // stride + 1

    def shifted(offset):
        along = slice(offset, offset + (length - 1) * stride + 1, stride)
        return k[tuple(along if axis in axes else slice(None) for axis in range(k.ndim))]

    total = shifted(0)
    for offset in range(1, size):
        total = total + shifted(offset)
    return total


def _window_sum(k: Array, axis: int, size: int, stride: int, margins: tuple[int, int], padding: str) -> Array:
    if padding == "CIRCULAR":
        k, margins = _pad(k, (axis,), margins, padding), (0, 0)
    at = lambda value, other: tuple(value if i == axis else other for i in range(k.ndim))
    zero = np.zeros((), k.dtype)  # known when traced, by which the window is seen to be a sum and has a derivative
    return jax.lax.reduce_window(k, zero, jax.lax.add, at(size, 1), at(stride, 1), at(margins, (0, 0)))


def _pad(k: Array, axes: tuple[int, ...], margins: tuple[int, int], padding: str) -> Array:
    if margins == (0, 0):
        return k
    widths = [margins if axis in axes else (0, 0) for axis in range(k.ndim)]
    if padding == "CIRCULAR":
        return jnp.pad(k, widths, mode="wrap")
    return jax.lax.pad(k, jnp.zeros((), k.dtype), [(*width, 0) for width in widths])
