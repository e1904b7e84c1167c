"""Layers that resample or choose positions: along each axis a fixed linear map, of both copies of an input alike."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxlib_methods.infinite_width.layer import Layer, linear_layer
from jaxlib_methods.infinite_width.pooling import all_pairs
from jaxlib_methods.numerics.checks import require, require_choice, require_size

__all__ = ["image_resize", "select"]

METHODS = ("nearest", "linear", "cubic", "lanczos3", "lanczos5")


def image_resize(shape: Sequence[int], method: str, *, antialias: bool = True) -> Layer:
    """Images of another size, by `jax.image.resize`: K' = R K R^T with R the matrix of the interpolation.

    Args:
      shape: positions of the output along each spatial axis.
      method: "nearest", "linear", "cubic", "lanczos3" or "lanczos5".
      antialias: whether to smooth when sizes shrink; of no effect for "nearest".

    Raises:
      ValueError: if a size is below 1, the method is unknown, or the input has another number of spatial axes.

    >>> image_resize((4,), "linear").apply((), jnp.array([[[1.0], [3.0]]])).ravel().tolist()
    [1.0, 1.5, 2.5, 3.0]
    """
    shape = tuple(shape)
    for size in shape:
        require_size("shape", size)
    require_choice("method", method, METHODS)
    resize = lambda a, new: jax.image.resize(a, new, method, antialias)

    def new_shape(given):
        _require_axes(len(given) - 1, len(shape))
        return *shape, given[-1]

    def kernel(state, wanted):
        _require_axes(state.spatial, len(shape))
        twice = tuple(size for size in shape for _ in range(2))
        to = lambda k, lead, full: resize(k, k.shape[:lead] + (twice if full else shape))
        full, own_full = state.full, state.own_full
        return state.map(lambda k: to(k, 2, full), lambda q: to(q, 1, own_full))

    def presence(side):
        return resize(side.mask.astype(jnp.float32), (len(side.mask), *shape)) != 0

    apply = lambda x: resize(x, (len(x), *new_shape(x.shape[1:])))
    needs = (lambda wanted: wanted) if method == "nearest" else all_pairs
    return linear_layer(apply, new_shape, kernel, needs, presence)


def select(*index: int | slice) -> Layer:
    """Some of the positions, as by `x[:, *index, :]`: a crop, every second row, one pixel.

    Args:
      *index: for each spatial axis a slice, or an integer, by which the axis is lost.

    Raises:
      TypeError: if an index is neither.
      ValueError: if the input has another number of spatial axes, or nothing is left of one.

    >>> select(slice(1, None), 0).apply((), jnp.arange(6.0).reshape(1, 3, 2, 1)).ravel().tolist()
    [2.0, 4.0]
    """
    for i in index:
        if not isinstance(i, int | slice) or isinstance(i, bool):
            raise TypeError(f"index must be integers and slices, got {i!r}")
    twice = tuple(i for i in index for _ in range(2))
    at = lambda a, lead, full=False: a[(slice(None),) * lead + (twice if full else index)]

    def new_shape(given):
        _require_axes(len(given) - 1, len(index))
        for size, i in zip(given, index, strict=False):
            left = range(size)[i] if isinstance(i, slice) else -size <= i < size
            require(bool(left), "index", f"{i} on an axis of {size}", "one that leaves a position")
        return np.broadcast_to(0, given)[index].shape

    def kernel(state, wanted):
        full, own_full = state.full, state.own_full
        new_shape((*state.nngp.shape[2 :: 2 if full else 1], state.channels))
        state = state.map(lambda k: at(k, 2, full), lambda q: at(q, 1, own_full))
        return replace(state, spatial=sum(isinstance(i, slice) for i in index))

    def apply(x):
        new_shape(x.shape[1:])
        return at(x, 1)

    return linear_layer(apply, new_shape, kernel, lambda wanted: wanted, lambda side: at(side.mask, 1))


def _require_axes(given: int, needed: int) -> None:
    require(given == needed, "the input", f"{given} spatial axes", f"{needed} of them")
