"""Systems (A + r I) x = b with A split by rows over devices, by a blocked Cholesky factorisation A + r I = L L^T.

Every device keeps its own rows. They are eliminated in turns, a block of rows of each device after the other, so that
all devices have work to the end. For the columns of one block, with `k` its rows and `i` those after it,

    L_kk = chol(A_kk),    L_ik = A_ik L_kk^-T,    A_ij -= L_ik L_jk^T,    z_k = L_kk^-1 b_k,    b_i -= L_ik z_k,

after which x_k = L_kk^-T (z_k - sum_(i > k) L_ik^T x_i), backwards. What travels is A_kk, L_ik and z_k: n x block
numbers a step, never the matrix. Golub and Van Loan, "Matrix Computations", 4th edition, section 1.6.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import (
    require,
    require_array,
    require_finite,
    require_known,
    require_nonnegative,
    require_size,
)

__all__ = ["psd_solve_sharded"]

PARTS = 4  # of the rows, each updated up to its own end alone: all but an eighth of the symmetric half is saved


def psd_solve_sharded(
    a: Float[Array, "n n"],
    b: Float[Array, "n *t"],
    ridge: Float[ArrayLike, ""],
    *,
    mesh: Mesh,
    axis: str = "data",
    block: int = 256,
) -> Float[Array, "n *t"]:
    """Solves (A + ridge I) x = b for a symmetric A that no device has to hold, as `gram` with a mesh gives it.

    Args:
      a: A, split by rows over `axis`.
      b: right-hand sides, split by rows.
      ridge: nonnegative, and large enough against the rounding of A that A + ridge I is positive definite.
      mesh: devices.
      axis: mesh axis of the rows. Where it does not divide n, the matrix is padded, which copies it; give a multiple.
      block: rows that a device eliminates at a time.

    Returns:
      x, split by rows; NaN under `jit` where A + ridge I is not positive definite. Derivatives solve again.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, a size is out of range, the axis is none of the mesh, a known ridge is
        negative, known right-hand sides are not finite, or outside `jit` the matrix is not positive definite.

    Cost: n^3 / 3 operations, split evenly, and n / block steps. Memory: about 3 n^2 / devices + n block.

    >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    >>> psd_solve_sharded(jnp.eye(2), jnp.ones(2), 1.0, mesh=mesh).round(4).tolist()
    [0.5, 0.5]
    """
    require_array("a", a, (None, None))
    require_array("a", a, (len(a),) * 2)
    require_array("b", b, (len(a), *b.shape[1:]))
    require_nonnegative("ridge", ridge)
    require_finite("b", b)
    require_size("block", block)
    require(axis in mesh.axis_names, "axis", repr(axis), "an axis of the mesh")
    dtype = jnp.promote_types(jnp.promote_types(a.dtype, b.dtype), jnp.float32)
    rows, padding = len(a), -len(a) % mesh.shape[axis]
    a, right = a.astype(dtype), b.astype(dtype).reshape(rows, -1)
    if padding:
        a = jax.scipy.linalg.block_diag(a, jnp.eye(padding, dtype=dtype))
        right = jnp.pad(right, ((0, padding), (0, 0)))
    ridge = jnp.asarray(ridge, dtype)
    local = lambda a, right, ridge: _solve(a, right, ridge, axis, block)
    solve = jax.shard_map(local, mesh=mesh, in_specs=(P(axis), P(axis), P()), out_specs=P(axis))
    fixed = jax.lax.stop_gradient((a, ridge))
    matvec = lambda x: jnp.einsum("ij,jt->it", a, x, precision="highest") + ridge * x
    inverse = lambda _, right: solve(fixed[0], right, fixed[1])
    x = jax.lax.custom_linear_solve(matvec, right, inverse, symmetric=True)
    x = (x[:rows] if padding else x).reshape(b.shape)
    require_known("a + ridge I", x, np.isfinite, "positive definite")
    return x


def _solve(a: Array, right: Array, ridge: Array, axis: str, block: int) -> Array:
    """One device's rows of the solution, from its rows of A and of the right-hand sides."""
    rows = len(a)
    stages = math.ceil(rows / block)
    block = math.ceil(rows / stages)
    a, z = _in_turns(a, ridge, axis, stages, block), jnp.pad(right, ((0, stages * block - rows), (0, 0)))
    size, panels = a.shape[1] // len(a), []
    for stage in range(stages):
        eliminate = lambda j, carry: _eliminate(j, carry[0], carry[1], axis, block)
        a, rest = jax.lax.fori_loop(0, size, eliminate, (a, z[stage * block :]))
        z = z.at[stage * block :].set(rest)
        panels.append(a[:, : size * block])
        a = a[block:, size * block :]
    for stage, panel in reversed(list(enumerate(panels))):
        substitute = lambda j, x, panel=panel: _substitute(size - 1 - j, panel, x, axis, block)
        z = z.at[stage * block :].set(jax.lax.fori_loop(0, size, substitute, z[stage * block :]))
    return z[:rows]


def _in_turns(a: Array, ridge: Array, axis: str, stages: int, block: int) -> Array:
    """Adds the ridge, pads to whole blocks by rows of the identity, and sorts columns as they are eliminated."""
    rows, size, padding = len(a), a.shape[1] // len(a), stages * block - len(a)
    a = jnp.pad(a.reshape(rows, size, rows), ((0, padding), (0, 0), (0, padding)))
    diagonal = jnp.where(jnp.arange(rows + padding) < rows, ridge, 1)
    a = a.at[:, jax.lax.axis_index(axis)].add(jnp.diag(diagonal))
    return a.reshape(rows + padding, size, stages, block).swapaxes(1, 2).reshape(rows + padding, -1)


def _eliminate(j: Array, a: Array, z: Array, axis: str, block: int) -> tuple[Array, Array]:
    """Eliminates the first block of device `j`: its columns in `a` become those of L, its rows in `z` those of z."""
    mine, columns, below = _columns(j, a, axis, block)
    diagonal, first = jax.lax.psum((mine * columns[:block], mine * z[:block]), axis)
    lower = jnp.linalg.cholesky(diagonal)
    below = solve_triangular(lower, below.T, lower=True).T
    first = solve_triangular(lower, first, lower=True)
    z = (z - _product(below, first)).at[:block].add(mine * (first - z[:block]))
    others = jax.lax.all_gather(below, axis).reshape(-1, len(a) // block, block, block)
    others = others.swapaxes(0, 1).reshape(-1, block).T
    height = math.ceil(len(a) / block / PARTS) * block
    for start in range(0, len(a), height):
        end = min(start + height, len(a)) * a.shape[1] // len(a)
        a = a.at[start : start + height, :end].add(-_product(below[start : start + height], others[:, :end]))
    return jax.lax.dynamic_update_slice_in_dim(a, below.at[:block].add(mine * lower), j * block, 1), z


def _substitute(j: Array, panel: Array, x: Array, axis: str, block: int) -> Array:
    """Puts the first block of device `j` of the solution in its place in `x`."""
    mine, columns, below = _columns(j, panel, axis, block)
    known = mine * x[:block] - _product(below.T, x)
    lower, known = jax.lax.psum((mine * columns[:block], known), axis)
    solution = solve_triangular(lower, known, lower=True, trans=1)
    return x.at[:block].add(mine * (solution - x[:block]))


def _columns(j: Array, a: Array, axis: str, block: int) -> tuple[Array, Array, Array]:
    """Whether block `j` is this device's (1 or 0), its columns, and of them the rows after it (else 0)."""
    columns = jax.lax.dynamic_slice_in_dim(a, j * block, block, 1)
    me = jax.lax.axis_index(axis)
    after = (me > j) | (jnp.arange(len(a)) >= block)
    return (me == j).astype(a.dtype), columns, jnp.where(after[:, None], columns, 0)


def _product(a: Array, b: Array) -> Array:
    return jnp.einsum("ij,jk->ik", a, b, precision="highest")
