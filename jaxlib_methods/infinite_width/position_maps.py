"""Layers that mix positions by a matrix, one for all inputs or one of each input's own, such as the edges of its graph.

    y_i = sum_j A_ij x_j,      K' = A_1 K A_2^T,      T' = A_1 T A_2^T.

Du, Hou, Salakhutdinov, Póczos, Wang and Xu, "Graph Neural Tangent Kernel", 2019.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.infinite_width.kernel_state import Extent, KernelState, Needs, Side
from jaxlib_methods.infinite_width.layer import Layer
from jaxlib_methods.infinite_width.pooling import all_pairs
from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = ["aggregate", "from_matrices", "map_pairs", "map_positions", "matrices"]


def map_positions(matrix: Float[Array, "..."]) -> Layer:
    """Each new position is a weighted sum of positions, with the same weights for all inputs.

    Args:
      matrix: A, (new axes, spatial axes of the input); no new axes for one weighted sum.

    Raises:
      TypeError: if the matrix is not floating.
      ValueError: if its last axes are not those of the input's positions.

    Cost: p^2 p' + p p'^2 a pair of inputs, from p positions to p'.

    >>> map_positions(jnp.array([[1.0, -1.0]])).apply((), jnp.array([[[5.0], [3.0]]])).tolist()
    [[[2.0]]]
    """
    require_array("matrix", matrix, (None,) * max(jnp.ndim(matrix), 1))
    return _mixing("matrix", lambda side: matrix[None], lambda spatial: matrix.shape[: matrix.ndim - len(spatial)])


def aggregate(shape: Sequence[int] | None = None) -> Layer:
    """Each new position is a weighted sum of positions, with weights of each input's own: `Side.graph`.

    Args:
      shape: of the new positions, () for one weighted sum; if None, that of the input's, as for a graph of v nodes,
        whose edges are a matrix (v, v). The graphs have shape (n, new axes, spatial axes of the input).

    Raises:
      ValueError: if a size is below 1, and, when it meets inputs, if their `side` has no graph or one of another shape.

    Cost: p^2 p' + p p'^2 a pair of inputs, from p positions to p'.

    >>> from jaxlib_methods.infinite_width import Side
    >>> edges = jnp.array([[[0.0, 1.0], [1.0, 0.0]]])
    >>> aggregate().apply((), jnp.array([[[5.0], [3.0]]]), side=Side(graph=edges)).tolist()
    [[[3.0], [5.0]]]
    """
    for size in shape or ():
        require_size("shape", size)
    return _mixing("side.graph", _graph, lambda spatial: spatial if shape is None else tuple(shape))


def matrices(k: Array, lead: int, spatial: int) -> Array:
    """Covariances of pairs of positions (..., h, h', w, w') as matrices (..., h w, h' w')."""
    first, second = (tuple(range(lead + i, lead + 2 * spatial, 2)) for i in (0, 1))
    size = math.prod(k.shape[axis] for axis in first)
    return k.transpose(*range(lead), *first, *second).reshape(*k.shape[:lead], size, -1)


def from_matrices(k: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `matrices`, for positions of this shape."""
    lead, count = k.ndim - 2, len(shape)
    order = [lead + i + step for i in range(count) for step in (0, count)]
    return k.reshape(*k.shape[:lead], *shape, *shape).transpose(*range(lead), *order)


def map_pairs(state: KernelState, maps: tuple[Array, Array], shape: tuple[int, ...], wanted: Needs) -> KernelState:
    """The state behind matrices (n or 1, p', p) of both batches, to positions of a new shape."""
    left, right = maps
    spatial = state.spatial

    def cross(k):
        k = jnp.einsum("aip,abpq->abiq", left, matrices(k, 2, spatial), precision="highest")
        if wanted.cross < Extent.FULL:
            return jnp.einsum("abiq,biq->abi", k, right, precision="highest").reshape(*k.shape[:2], *shape)
        return from_matrices(jnp.einsum("abiq,bjq->abij", k, right, precision="highest"), shape)

    def own(q, a):
        q = jnp.einsum("aip,apq->aiq", a, matrices(q, 1, spatial), precision="highest")
        if wanted.own < Extent.FULL:
            return jnp.einsum("aiq,aiq->ai", q, a, precision="highest").reshape(len(q), *shape)
        return from_matrices(jnp.einsum("aiq,ajq->aij", q, a, precision="highest"), shape)

    mapped = state.map(cross, lambda q: q)
    within = None if state.own is None else (own(state.own[0], left), own(state.own[1], right))
    return replace(mapped, own=within, spatial=len(shape))


def _mixing(name: str, read: Callable[[Side | None], Array], new: Callable[[tuple], tuple]) -> Layer:
    """The layer of matrices (n or 1, new axes, spatial axes), which `read` gives; `new` is the map of shapes."""

    def flat(side, rows, spatial, dtype):
        """Matrices (n, p', p), and the shape of the new positions."""
        a, shape = read(side), new(spatial)
        fits = len(spatial) > 0 and a.shape[1:] == (*shape, *spatial)
        require(fits, name, f"shape {a.shape[1:]}", f"of shape {(*shape, *spatial)} for positions {spatial}")
        a = a.reshape(len(a), math.prod(shape), math.prod(spatial)).astype(dtype)
        return jnp.broadcast_to(a, (rows, *a.shape[1:])), shape

    def init(key, shape, dtype=jnp.float32):
        return (), (*new(tuple(shape[:-1])), shape[-1])

    def apply(params, x, *, key=None, taps=None, side=None):
        a, shape = flat(side, len(x), x.shape[1:-1], x.dtype)
        y = jnp.einsum("nij,njc->nic", a, x.reshape(len(x), -1, x.shape[-1]), precision="highest")
        return y.reshape(len(x), *shape, x.shape[-1])

    def kernel(state, wanted):
        first, second = state.side or (None, None)
        spatial, dtype = state.nngp.shape[2::2], state.nngp.dtype
        left, shape = flat(first, state.nngp.shape[0], spatial, dtype)
        right, _ = flat(second, state.nngp.shape[1], spatial, dtype)
        return map_pairs(state, (left, right), shape, wanted)

    def presence(side):
        a, shape = flat(side, len(side.mask), side.mask.shape[1:], jnp.float32)
        mask = side.mask.reshape(len(a), 1, -1)
        return jnp.any((a != 0) & mask, 2).reshape(len(a), *shape)

    return Layer(init, apply, kernel, all_pairs, presence)


def _graph(side: Side | None) -> Array:
    graph = None if side is None else side.graph
    require(graph is not None, "side.graph", "none", "given with the inputs of aggregate")
    assert graph is not None
    return jnp.asarray(graph)
