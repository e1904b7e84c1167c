"""Kernel matrices K_ij = k(x_i, y_j) in tiles, and their products K v without the matrix; on one device or many.

A kernel is any function that maps two blocks of rows, (b, ...) and (c, ...), to their (b, c) kernel values. Of a
symmetric K only the tiles on and above the diagonal are computed. On a mesh each device keeps its rows and the other
rows travel around the ring of devices, so that no device ever holds more than two shards of them; for a symmetric K
they travel half the way round, and one exchange of tiles brings the other half.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, Float, PyTree, Shaped

from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = ["Kernel", "gram", "gram_product"]

Kernel = Callable[[Array, Array], Array]


def gram(
    kernel: Callable[[Any, Any], Any],
    x: PyTree[Shaped[Array, "n ..."]],
    y: PyTree[Shaped[Array, "m ..."]] | None = None,
    *,
    block: int = 1024,
    mesh: Mesh | None = None,
    axis: str | tuple[str, ...] = "data",
) -> PyTree[Shaped[Array, "n m"]]:
    """The matrix of k(x_i, y_j).

    Args:
      kernel: maps blocks of rows (b, ...) and (c, ...) to (b, c), or to a pytree of such matrices; differentiable in
        what it closes over, too.
      x: rows; an array, or a pytree of arrays with one leading axis.
      y: other rows; None stands for `x` and a symmetric kernel, of which half is computed.
      block: rows and columns of the tile at work. Under `grad` a tile is computed again, not stored.
      mesh: devices; `x` and `y` are split by rows over `axis` (any n and m: padded), and so is the result. Where the
        axis does not divide n, the padding must be cut off, and outside a larger compiled program the result is
        replicated by that: give a multiple to keep it split.
      axis: mesh axis of the rows. For two axes the rows are split over both, and the result over both dimensions: its
        rows over the first axis and its columns over the second.

    Returns:
      The matrix or matrices, of the kernel's dtypes.

    Raises:
      ValueError: if there are no rows, the rows of `x` and `y` differ in shape, `block` is below 1, or the kernel does
        not give one value a pair.

    Cost: n m kernel values; if `y` is None about half, on D devices (D + 1) / (2 D) of them. Memory: O(n m / devices),
    and the kernel's on one tile.

    >>> gram(lambda a, b: a @ b.T, jnp.array([[1.0], [2.0]])).tolist()
    [[1.0, 2.0], [2.0, 4.0]]
    """
    values = _check(kernel, x, y, block)
    if mesh is None:
        return _tiles(kernel, x, x if y is None else y, values, block, symmetric=y is None)
    names: tuple[str, ...] = (axis,) if isinstance(axis, str) else tuple(axis)
    size = math.prod(mesh.shape[name] for name in names)
    rows, columns = _rows(x), _rows(x if y is None else y)
    symmetric = y is None
    x, y = _pad(x, size), _pad(x if y is None else y, size)
    steps = size // 2 + 1 if symmetric else size

    def local(x, y):
        me, width = jax.lax.axis_index(names), _rows(y)

        def put(matrix, tile, owner):
            at = lambda matrix, tile: jax.lax.dynamic_update_slice_in_dim(matrix, tile, owner * width, 1)
            return jax.tree.map(at, matrix, tile)

        def step(i, carry):
            matrix, y = carry
            tile = _tiles(kernel, x, y, values, block, axis=names)
            return put(matrix, tile, (me + i) % size), _pass_on(y, names, size)

        matrix = _zeros((_rows(x), width * size), values, names)
        if symmetric:
            own = _tiles(kernel, x, x, values, block, symmetric=True, axis=names)
            matrix, y = put(matrix, own, me), _pass_on(y, names, size)
        matrix = jax.lax.fori_loop(int(symmetric), steps, step, (matrix, y))[0]
        if symmetric and size > 1:
            near = (jnp.arange(size) - me) % size < steps
            matrix = jax.tree.map(lambda half: _mirrored(half, near, names), matrix)
        if len(names) == 2:
            spread = lambda a: jax.lax.all_to_all(a, names[-1], split_axis=1, concat_axis=0, tiled=True)
            matrix = jax.tree.map(spread, matrix)
        return matrix

    split = P(*names) if len(names) == 2 else P(names)
    matrix = jax.shard_map(local, mesh=mesh, in_specs=(P(names), P(names)), out_specs=split)(x, y)
    return jax.tree.map(lambda a: a if a.shape == (rows, columns) else a[:rows, :columns], matrix)


def gram_product(
    kernel: Kernel,
    x: Shaped[Array, "n *rest"],
    v: Float[Array, "m k"],
    y: Shaped[Array, "m *rest"] | None = None,
    *,
    block: int = 1024,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> Float[Array, "n k"]:
    """K v, sum_j k(x_i, y_j) v_j, with one tile of K at a time.

    Args:
      kernel: maps blocks of rows (b, ...) and (c, ...) to (b, c); differentiable in what it closes over, too.
      x: rows.
      v: columns to multiply, one row for each row of `y`.
      y: other rows; None stands for `x` and a symmetric kernel, of which one device computes half.
      block: rows and columns of the tile at work. Under `grad` a tile is computed again, not stored.
      mesh: devices; all arrays are split by rows over `axis` (any n and m: padded).
      axis: mesh axis of the rows.

    Raises:
      TypeError: if `v` is not floating.
      ValueError: as `gram`, and if `v` does not have a row for each row of `y`.

    Cost: n m kernel values (half on one device if `y` is None) and 2 n m k operations. Memory: O((n + m) k / devices),
    and the kernel's on one tile.

    >>> gram_product(lambda a, b: a @ b.T, jnp.array([[1.0], [2.0]]), jnp.ones((2, 1))).tolist()
    [[3.0], [6.0]]
    """
    values = _check(kernel, x, y, block)
    require(isinstance(values, jax.ShapeDtypeStruct), "kernel", "several matrices", "a function to one matrix")
    total = jax.ShapeDtypeStruct((), jnp.promote_types(values.dtype, v.dtype))
    require_array("v", v, (len(x if y is None else y), None))
    if mesh is None:
        return _product(kernel, x, x if y is None else y, v, total.dtype, block, symmetric=y is None)
    rows, size = len(x), mesh.shape[axis]
    x, y, v = _pad(x, size), _pad(x if y is None else y, size), _pad(v, size, "constant")

    def local(x, y, v):
        def step(_, carry):
            sums, y, v = carry
            sums += _product(kernel, x, y, v, total.dtype, block, axis=axis)
            return sums, *_pass_on((y, v), axis, size)

        return jax.lax.fori_loop(0, size, step, (_zeros((len(x), v.shape[1]), total, axis), y, v))[0]

    product = jax.shard_map(local, mesh=mesh, in_specs=(P(axis),) * 3, out_specs=P(axis))(x, y, v)
    return product if len(product) == rows else product[:rows]


def each_row(function: Callable[[Any], Any], x: PyTree, mesh: Mesh | None, axis: str | tuple[str, ...]) -> PyTree:
    """A function of blocks of rows (b, ...), at work on one row after the other; rows on a mesh stay on their devices.

    Under `grad` what the function computes of a row is computed again, not stored.
    """
    one = jax.checkpoint(lambda row: jax.tree.map(lambda a: a[0], function(jax.tree.map(lambda a: a[None], row))))
    local = lambda x: jax.lax.map(one, x)
    if mesh is None:
        return local(x)
    names = (axis,) if isinstance(axis, str) else tuple(axis)
    size = math.prod(mesh.shape[name] for name in names)
    values = jax.shard_map(local, mesh=mesh, in_specs=P(names), out_specs=P(names))(_pad(x, size))
    return jax.tree.map(lambda a: a if len(a) == _rows(x) else a[: _rows(x)], values)


def _tiles(kernel, x, y, values, block, symmetric=False, axis=None):
    """K, tile by tile; the last tiles reach back over rows already done, so that all are of one shape."""
    rows, columns = _rows(x), _rows(y)
    pairs, height, width = _pairs(rows, columns, block, symmetric)
    tile = jax.checkpoint(lambda i, j: kernel(_take(x, i, height), _take(y, j, width)), prevent_cse=False)

    def write(matrix, pair):
        i, j = jnp.minimum(pair[0] * height, rows - height), jnp.minimum(pair[1] * width, columns - width)
        values = tile(i, j)
        matrix = jax.tree.map(lambda a, b: jax.lax.dynamic_update_slice(a, b, (i, j)), matrix, values)
        if symmetric:
            matrix = jax.tree.map(lambda a, b: jax.lax.dynamic_update_slice(a, b.T, (j, i)), matrix, values)
        return matrix, None

    return jax.lax.scan(write, _zeros((rows, columns), values, axis), pairs)[0]


def _mirrored(half, near, axis):
    """Fills in the tiles that are not `near` with the transposes of those that other devices have computed."""
    rows, size = len(half), len(near)
    tiles = half.reshape(rows, size, rows).swapaxes(0, 1)
    sent = jax.lax.all_to_all(tiles, axis, split_axis=0, concat_axis=0, tiled=True).swapaxes(1, 2)
    return jnp.where(near[:, None, None], tiles, sent).swapaxes(0, 1).reshape(half.shape)


def _product(kernel, x, y, v, dtype, block, symmetric=False, axis=None):
    """K v, tile by tile; rows are padded to whole tiles with copies, and `v` with zeros."""
    pairs, height, width = _pairs(len(x), len(y), block, symmetric)
    rows = len(x)
    x, y, v = _pad(x, height), _pad(y, width), _pad(v, width, "constant")

    @jax.checkpoint
    def parts(i, j):
        tile = kernel(_take(x, i, height), _take(y, j, width))
        right = jnp.einsum("ij,jk->ik", tile, _take(v, j, width), precision="highest").astype(dtype)
        if not symmetric:
            return right, None
        left = jnp.einsum("ij,ik->jk", tile, _take(v, i, height), precision="highest").astype(dtype)
        return right, jnp.where(i == j, 0, left)

    def add(total, pair):
        i, j = pair[0] * height, pair[1] * width
        right, left = parts(i, j)
        total = jax.lax.dynamic_update_slice_in_dim(total, _take(total, i, height) + right, i, 0)
        if symmetric:
            total = jax.lax.dynamic_update_slice_in_dim(total, _take(total, j, width) + left, j, 0)
        return total, None

    zeros = _zeros((len(x), v.shape[1]), jax.ShapeDtypeStruct((), dtype), axis)
    return jax.lax.scan(add, zeros, pairs)[0][:rows]


def _pairs(rows, columns, block, symmetric):
    """Indices of the tiles, and a tile's height and width."""
    height, width = min(block, rows), min(block, columns)
    down, across = -(-rows // height), -(-columns // width)
    wanted = np.ones((down, across), bool)
    return np.argwhere(np.triu(wanted) if symmetric else wanted).astype(np.int32), height, width


def _rows(x):
    return len(jax.tree.leaves(x)[0])


def _take(x, start, size):
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, size), x)


def _zeros(shape, values, axis):
    """Zeros of the dtypes of `values`, marked inside `jax.shard_map` as differing from device to device."""
    zeros = jax.tree.map(lambda value: jnp.zeros(shape, value.dtype), values)
    return zeros if axis is None else jax.lax.pcast(zeros, axis, to="varying")


def _pad(x, multiple, mode="edge"):
    """Whole multiples of rows; copies of the last row are as good as any, where zero rows may divide by zero."""
    padding = -_rows(x) % multiple
    pad = lambda a: jnp.pad(a, ((0, padding), *[(0, 0)] * (a.ndim - 1)), mode=mode)
    return jax.tree.map(pad, x) if padding else x


def _pass_on(tree, axis, size):
    return jax.lax.ppermute(tree, axis, [(i, (i - 1) % size) for i in range(size)])


def _check(kernel, x, y, block):
    """Checks the rows and gives the shapes and dtypes of the kernel of one pair."""
    require_size("block", block)
    require_size("the number of rows", _rows(x))
    shapes = lambda tree: [a.shape[1:] for a in jax.tree.leaves(tree)]
    if y is not None:
        require_size("the number of rows of y", _rows(y))
        require(shapes(y) == shapes(x), "y", f"rows of shape {shapes(y)}", f"rows of shape {shapes(x)}")
    one = jax.tree.map(lambda a: a[:1], x)
    values = jax.eval_shape(kernel, one, one)
    for value in jax.tree.leaves(values):
        require(
            value.shape == (1, 1), "kernel", f"shape {value.shape} for one pair", "a function of two blocks of rows"
        )
    return values
