"""Layers that mix positions without weights: pools, and the flattening of images.

A pool meets the two copies of an input at independent positions, so it needs the covariances of different positions;
flattening in front of a dense layer needs equal positions only. Means are over the positions that are present.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxlib_methods.infinite_width.kernel_state import Extent, Needs, diagonal_part
from jaxlib_methods.infinite_width.layer import Layer, linear_layer
from jaxlib_methods.infinite_width.spatial import Window, pool, window
from jaxlib_methods.numerics.checks import require

__all__ = ["avg_pool", "flatten", "global_avg_pool", "global_sum_pool", "sum_pool"]


def avg_pool(
    window_shape: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    count_padding: bool = False,
) -> Layer:
    """The mean over windows.

    Args:
      window_shape: size along each spatial axis.
      strides: steps; the window's sizes if None.
      padding: "VALID" (none), "SAME" (zeros) or "CIRCULAR".
      count_padding: whether zeros of the padding count as positions.

    Raises:
      ValueError: if a size is below 1, the padding is unknown, or the window does not fit the input.

    >>> avg_pool((2,)).apply((), jnp.array([[[1.0], [3.0], [4.0], [4.0]]])).ravel().tolist()
    [2.0, 4.0]
    """
    return _pool(window_shape, strides, padding, mean=True, count_padding=count_padding)


def sum_pool(window_shape: Sequence[int], *, strides: Sequence[int] | None = None, padding: str = "VALID") -> Layer:
    """The sum over windows. Args and errors as `avg_pool`.

    Args:
      window_shape: size along each spatial axis.
      strides: steps; the window's sizes if None.
      padding: "VALID" (none), "SAME" (zeros) or "CIRCULAR".

    >>> sum_pool((2,)).apply((), jnp.array([[[1.0], [3.0]]])).ravel().tolist()
    [4.0]
    """
    return _pool(window_shape, strides, padding, mean=False, count_padding=True)


def global_avg_pool() -> Layer:
    """The mean over all positions.

    >>> global_avg_pool().apply((), jnp.ones((2, 4, 4, 3))).shape
    (2, 3)
    """
    return _global(jnp.mean)


def global_sum_pool() -> Layer:
    """The sum over all positions.

    >>> global_sum_pool().apply((), jnp.ones((1, 4, 4, 1))).item()
    16.0
    """
    return _global(jnp.sum)


def flatten() -> Layer:
    """Makes one vector of all positions and channels; the kernel is the mean over equal positions.

    >>> flatten().apply((), jnp.ones((2, 4, 4, 3))).shape
    (2, 48)
    """

    def kernel(state, wanted):
        spatial, full, own_full = state.spatial, state.full, state.own_full
        mean = lambda k, lead, full: jnp.mean(
            diagonal_part(k, lead, spatial) if full else k, tuple(range(lead, lead + spatial))
        )
        positions = math.prod(state.nngp.shape[2 :: 2 if full else 1])
        state = state.map(lambda k: mean(k, 2, full), lambda q: mean(q, 1, own_full))
        return replace(state, spatial=0, channels=state.channels * positions, gaussian=False)

    def presence(side):
        return jnp.any(side.mask, tuple(range(1, side.mask.ndim)))

    def needs(wanted):
        return Needs(Extent.DIAGONAL, min(wanted.own, Extent.DIAGONAL))

    flat = lambda shape: (math.prod(shape),)
    return linear_layer(lambda x: x.reshape(len(x), -1), flat, kernel, needs, presence)


def _pool(window_shape, strides, padding, *, mean: bool, count_padding: bool) -> Layer:
    by = window("window_shape", window_shape, window_shape if strides is None else strides, padding)

    def apply(x):
        padded, ones = by.pad(x), by.pad(jnp.ones((1, *x.shape[1:-1], 1), x.dtype))
        total = _window_sum(padded, by)
        if not mean:
            return total
        return total / (_window_sum(ones, by) if not count_padding else math.prod(by.sizes))

    def kernel(state, wanted):
        require(state.spatial == len(by.sizes), "the input", f"{state.spatial} spatial axes", f"{len(by.sizes)}")
        apply = lambda k, lead: pool(k, lead, True, by, mean=mean, count_padding=count_padding)
        return state.map(lambda k: apply(k, 2), lambda q: apply(q, 1))

    def presence(side):
        if count_padding:
            return by.any_present(side)
        return pool(side.mask.astype(float), 1, False, by, mean=True, count_padding=False)

    return linear_layer(apply, lambda shape: (*by.shape(shape[:-1]), shape[-1]), kernel, all_pairs, presence)


def _global(reduce) -> Layer:
    def kernel(state, wanted):
        if not state.spatial:
            return state
        state = state.map(lambda k: reduce(k, tuple(range(2, k.ndim))), lambda q: reduce(q, tuple(range(1, q.ndim))))
        return replace(state, spatial=0)

    def presence(side):
        axes = tuple(range(1, side.mask.ndim))
        return jnp.mean(side.mask.astype(float), axes) if reduce is jnp.mean else jnp.any(side.mask, axes)

    apply = lambda x: reduce(x, tuple(range(1, x.ndim - 1)))
    return linear_layer(apply, lambda shape: shape[-1:], kernel, all_pairs, presence)


def all_pairs(wanted: Needs) -> Needs:
    """The needs of layers that mix positions."""
    return Needs(Extent.FULL, Extent.FULL if wanted.own else Extent.NOTHING)


def _window_sum(x, by: Window):
    sizes, strides = (1, *by.sizes, 1), (1, *by.strides, 1)
    return jax.lax.reduce_window(x, np.zeros((), x.dtype), jax.lax.add, sizes, strides, "VALID")
