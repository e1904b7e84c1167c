"""The kernels of an infinitely wide network between two batches, and their matrices of any size."""

import math
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree

from jaxlib_methods.infinite_width.kernel_state import Extent, Needs, Side, input_state
from jaxlib_methods.infinite_width.layer import Layer, serial
from jaxlib_methods.infinite_width.own_variances import Reader, Writer
from jaxlib_methods.infinite_width.presence import present_inputs
from jaxlib_methods.numerics.checks import require, require_array, require_choice
from jaxlib_methods.numerics.gram import each_row, gram

__all__ = ["KernelPair", "network_gram", "network_kernel"]

TILE = 2**17  # entries of one covariance of a tile: half a MiB, which stays in the cache from layer to layer


class KernelPair(NamedTuple):
    """Both kernels of a network between two batches."""

    nngp: Float[Array, "n m *s"]
    ntk: Float[Array, "n m *s"]


def network_kernel(
    network: Layer,
    x1: Float[Array, "n *s c"],
    x2: Float[Array, "m *s c"] | None = None,
    *,
    get: str = "ntk",
    side1: Side | None = None,
    side2: Side | None = None,
) -> Float[Array, "n m *t"] | KernelPair:
    """The NNGP kernel E[f(x1) f(x2)] or the NTK of an infinitely wide network, all pairs at once.

    Args:
      network: a layer, or layers composed by `serial`, `parallel` and `residual`.
      x1: inputs, channels last.
      x2: other inputs; None stands for `x1`.
      get: "ntk", "nngp", or "both".
      side1: masks of absent positions or graphs of `x1`.
      side2: those of `x2`, if it is given.

    Returns:
      (n, m), or (n, m, h, h', w, w', ...) if the network ends on images; a `KernelPair` for "both".

    Raises:
      TypeError: if the inputs are not floating.
      ValueError: if shapes do not match, `get` is unknown, or a layer has no closed form here.

    Memory: n m p^2 numbers a covariance for images of p positions that are pooled, n m p if they are flattened. For
    more than a few images use `network_gram`.

    >>> from jaxlib_methods.infinite_width import activation, dense, serial
    >>> network = serial(dense(1), activation("relu"), dense(1))
    >>> network_kernel(network, jnp.eye(2), get="nngp")[0].round(2).tolist()
    [0.25, 0.07999999821186066]
    """
    _check(x1, x2, get)
    sides = _sides(x1, x2, side1, side2)
    same = None
    if x2 is None:
        same = jnp.eye(len(x1), dtype=bool)
    return _kernel(network, x1, x1 if x2 is None else x2, same, get, sides)


def network_gram(
    network: Layer,
    x1: Float[Array, "n *s c"],
    x2: Float[Array, "m *s c"] | None = None,
    *,
    get: str = "ntk",
    block: int | None = None,
    mesh: Mesh | None = None,
    axis: str | tuple[str, ...] = "data",
    side1: Side | None = None,
    side2: Side | None = None,
) -> Float[Array, "n m"] | KernelPair:
    """The kernels of `network_kernel` in tiles, of which a symmetric matrix needs half; on one device or many.

    Args:
      network: as in `network_kernel`; it must end without positions (`flatten`, `global_avg_pool`).
      x1: inputs, channels last.
      x2: other inputs; None stands for `x1` and a symmetric matrix.
      get: "ntk", "nngp", or "both".
      block: rows and columns of the tile at work; if None, so many that a covariance has some ten thousand entries.
      mesh: devices; inputs are split by rows over `axis`, and so is the matrix, which is never gathered.
      axis: mesh axis, or two of them, over which the matrix is split in two dimensions: see `gram`.
      side1: masks of absent positions or graphs of `x1`.
      side2: those of `x2`, if it is given.

    Raises:
      TypeError: if the inputs are not floating.
      ValueError: as `network_kernel`, and if the network ends on images or `block` is below 1.

    Cost: n m / 2 evaluations if `x2` is None, else n m. Behind pools, variances of single inputs are computed once an
    input and not with each pair. Memory: O(n m / devices) and some tiles, and n + m variances a position and layer.

    >>> from jaxlib_methods.infinite_width import conv, dense, flatten, serial
    >>> network_gram(serial(conv(1, (2,)), flatten(), dense(1)), jnp.ones((5, 4, 1)), block=2).shape
    (5, 5)
    """
    _check(x1, x2, get)
    if block is None:
        full = network.needs(_wanted(x1)).cross == Extent.FULL
        entries = math.prod(x1.shape[1:-1]) ** (2 if full else 1)
        block = min(max(math.isqrt(TILE // entries), 1), 256)
    sides = _sides(x1, x2, side1, side2)
    dtype = _dtype(x1, x1 if x2 is None else x2)

    def inputs(x, side):
        values = _own_variances(network, x.astype(dtype), side, mesh, axis)
        return x, side, values, jnp.arange(len(x))

    def kernel(a, b):
        def tile(same):
            reader = None if a[2] is None else Reader(a[2], b[2])
            return _kernel(network, a[0], b[0], same, get, None if sides is None else (a[1], b[1]), reader)

        same = a[3][:, None] == b[3][None]  # found in few tiles, and costly in each
        return tile(None) if x2 is not None else jax.lax.cond(same.any(), tile, lambda _: tile(None), same)

    first, second = sides or (None, None)
    columns = None if x2 is None else inputs(x2, second)
    return gram(kernel, inputs(x1, first), columns, block=block, mesh=mesh, axis=axis)


def _own_variances(
    network: Layer, x: Array, side: Side | None, mesh: Mesh | None, axis: str | tuple[str, ...]
) -> list[Array] | None:
    """What `Writer` writes down of all inputs; None where layers read covariances, or where variances are cheap."""
    if network.needs(_wanted(x)).own < Extent.FULL:
        return None

    def variances(row, writer):
        _kernel(network, row[0], row[0], None, "nngp", None if side is None else (row[1], row[1]), writer)
        return writer.written

    trial = Writer()
    jax.eval_shape(lambda row: variances(row, trial), jax.tree.map(lambda a: a[:1], (x, side)))
    return each_row(lambda row: variances(row, Writer()), (x, side), mesh, axis) if trial.complete else None


def _kernel(
    network: Layer,
    x1: Array,
    x2: Array,
    same: Array | None,
    get: str,
    sides: tuple[Side, Side] | None,
    record: Writer | Reader | None = None,
) -> PyTree:
    dtype = _dtype(x1, x2)
    if sides is not None:
        x1, x2 = map(present_inputs, (x1, x2), sides)
    wanted, network = _wanted(x1), serial(network)
    needs = network.needs(wanted)
    if isinstance(record, Reader):
        needs = needs._replace(own=Extent.NOTHING)
    state = input_state(x1.astype(dtype), x2.astype(dtype), needs, ntk=get != "nngp", same=same, side=sides)
    state = network.kernel(replace(state, record=record), wanted)
    if get == "both":
        assert state.ntk is not None
        return KernelPair(state.nngp, state.ntk)
    return state.nngp if get == "nngp" else state.ntk


def _dtype(x1: Array, x2: Array):
    return jnp.promote_types(jnp.promote_types(x1.dtype, x2.dtype), jnp.float32)


def _wanted(x: Array) -> Needs:
    return Needs(Extent.FULL if x.ndim > 2 else Extent.DIAGONAL, Extent.NOTHING)


def _sides(x1: Array, x2: Array | None, side1: Side | None, side2: Side | None) -> tuple[Side, Side] | None:
    """The sides of both batches, checked; a mask that only one of them has is true for the other."""
    if side1 is None and side2 is None:
        return None
    require(x2 is not None or side2 is None, "side2", "one without x2", "None where x2 is None")
    x2, side2 = (x1, side1) if x2 is None else (x2, side2)
    sides = []
    for name, x, side in (("side1", x1, side1 or Side()), ("side2", x2, side2 or Side())):
        for part, needed in ((side.mask, x.shape[:-1]), (side.graph, x.shape[:1])):
            if part is not None:
                fits = part.shape[: len(needed)] == needed
                require(fits, name, f"shape {part.shape}", f"of arrays that begin with the axes {needed}")
        sides.append(side)
    if any(side.mask is not None for side in sides):
        present = lambda x, side: jnp.ones(x.shape[:-1], bool) if side.mask is None else side.mask
        sides = [side._replace(mask=present(x, side)) for x, side in zip((x1, x2), sides, strict=True)]
    return sides[0], sides[1]


def _check(x1: Array, x2: Array | None, get: str) -> None:
    require_array("x1", x1, (None,) * max(jnp.ndim(x1), 2))
    require_choice("get", get, ("ntk", "nngp", "both"))
    if x2 is not None:
        require_array("x2", x2, (None,) * jnp.ndim(x1))
        require(x2.shape[1:] == x1.shape[1:], "x2", f"rows of shape {x2.shape[1:]}", f"rows of shape {x1.shape[1:]}")
