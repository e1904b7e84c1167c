"""Kernel ridge regression without the kernel matrix: conjugate gradients with a Nyström preconditioner.

    (K + r W^-1) a = y,    K ~ U diag(lam) U^T from a random subset of the samples,

    P^-1 = (min lam + r) U (diag(lam) + r)^-1 U^T + (I - U U^T).

The solver is `jax.scipy.sparse.linalg.cg`: its inner products and updates are global array operations, which split
over devices by themselves, and its derivatives come from the implicit function theorem; products are `gram_product`.
Rudi, Carratino and Rosasco, "FALKON: An Optimal Large Scale Kernel Method", 2017, section 3; Frangella, Tropp and
Udell, "Randomized Nyström Preconditioning", 2023, eq. 1.3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Bool, Float, Key, Shaped

from jaxlib_methods.numerics.checks import (
    has_converged,
    require_array,
    require_finite,
    require_nonnegative,
    require_positive,
    require_size,
)
from jaxlib_methods.numerics.gram import Kernel, gram, gram_product

__all__ = ["KernelSolution", "kernel_ridge_cg", "nystrom_eigh"]


class KernelSolution(NamedTuple):
    """Dual coefficients, and how well they solve the system.

    Attributes:
      coefficients: a; predictions are k(x, x_i) times them, see `gram_product`.
      residual: |y - (K + r W^-1) a| / |y| of each target in the norm of weights, computed afresh after the last step.
      converged: whether all residuals are within twice the tolerance.
    """

    coefficients: Float[Array, "n *t"]
    residual: Float[Array, "*t"]
    converged: Bool[Array, ""]


def kernel_ridge_cg(
    key: Key[Array, ""],
    kernel: Kernel,
    x: Shaped[Array, "n *rest"],
    y: Float[Array, "n *t"],
    ridge: Float[ArrayLike, ""],
    weights: Float[Array, " n"] | None = None,
    *,
    rank: int = 256,
    tolerance: float = 1e-4,
    iterations: int = 200,
    block: int = 1024,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> KernelSolution:
    """Dual coefficients of kernel ridge regression, all targets together, with one tile of K at a time.

    Args:
      key: draws the subset of the preconditioner.
      kernel: symmetric positive semidefinite; maps blocks of rows (b, ...) and (c, ...) to (b, c).
      x: samples.
      y: targets.
      ridge: positive. The steps needed grow as the root of (eigenvalue number `rank` of K + ridge) / ridge; in float32
        keep the ridge above 1e-6 of the largest eigenvalue.
      weights: nonnegative, one a sample; ones if None.
      rank: samples of the preconditioner, at most n; 0 for none.
      tolerance: residual, relative to the targets, at which to stop.
      iterations: most steps, of one product with K each.
      block: rows and columns of the tile at work.
      mesh: devices; samples and vectors are split by rows over `axis`.
      axis: mesh axis of the samples.

    Returns:
      The solution so far; if it has not converged, a RuntimeWarning says so, or under `jit` the field alone.

    Raises:
      TypeError: if `y` is not floating.
      ValueError: if shapes do not match, a size is out of range, the tolerance or a known ridge is not positive, or
        known targets are not finite.

    Cost: a step has n^2 / 2 kernel values (n^2 / devices on a mesh); the preconditioner n rank of them and 4 n rank^2.
    Memory: O(n (rank + t) / devices + rank^2).

    >>> x = jnp.linspace(0, 1, 8)[:, None]
    >>> kernel = lambda a, b: jnp.exp(-((a - b.T) ** 2))
    >>> solution = kernel_ridge_cg(jax.random.key(0), kernel, x, jnp.sin(x), 0.1, rank=4)
    >>> bool(solution.converged), solution.coefficients.shape
    (True, (8, 1))
    """
    require_array("y", y, (len(x), *y.shape[1:]))
    require_finite("y", y)
    require_positive("ridge", ridge)
    require_positive("tolerance", tolerance)
    require_size("iterations", iterations)
    require_size("rank", rank, 0, len(x))
    if weights is not None:
        require_array("weights", weights, (len(x),))
        require_nonnegative("weights", weights)
    dtype = jnp.promote_types(y.dtype, jnp.float32)
    root = None if weights is None else jnp.sqrt(weights).astype(dtype)[:, None]
    scale = lambda v: v if root is None else root * v

    def product(v):
        return scale(gram_product(kernel, x, scale(v), block=block, mesh=mesh, axis=axis)) + ridge * v

    right = scale(y.reshape(len(y), -1).astype(dtype))
    size = jnp.linalg.norm(right, axis=0)
    size = jnp.where(size > 0, size, 1)[None]
    precondition = None
    if rank:
        leading = nystrom_eigh(key, kernel, x, rank, weights=weights, block=block, mesh=mesh, axis=axis)
        precondition = _preconditioner(*leading, ridge)
    solution, _ = cg(product, right / size, tol=tolerance, maxiter=iterations, M=precondition)
    residual = jax.lax.stop_gradient(jnp.linalg.norm(right / size - product(solution), axis=0))
    converged = has_converged(residual, tolerance, "allow more iterations, or raise rank or ridge")
    return KernelSolution(scale(solution * size).reshape(y.shape), residual.reshape(y.shape[1:]), converged)


def nystrom_eigh(
    key: Key[Array, ""],
    kernel: Kernel,
    x: Shaped[Array, "n *rest"],
    rank: int,
    *,
    weights: Float[Array, " n"] | None = None,
    block: int = 1024,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> tuple[Float[Array, "n m"], Float[Array, " m"]]:
    """Orthonormal U and lam, descending, with U diag(lam) U^T = K_nS K_SS^-1 K_Sn for a random subset S of the rows.

    This is below K in the positive semidefinite order, and equal to it if K has no greater rank than K_SS.

    Args:
      key: draws the subset.
      kernel: symmetric positive semidefinite; maps blocks of rows (b, ...) and (c, ...) to (b, c).
      x: rows.
      rank: size m of the subset, 1 to n.
      weights: if given, K stands for W^(1/2) K W^(1/2).
      block: rows and columns of the tile at work.
      mesh: devices; rows are split over `axis`.
      axis: mesh axis of the rows.

    Returns:
      U and lam; where lam is zero to rounding, the columns of U are zero.

    Raises:
      ValueError: if the rank is out of range.

    Cost: n m kernel values, 4 n m^2 operations, two eigendecompositions of size m. Memory: O(n m / devices + m^2).
    Williams and Seeger, "Using the Nyström Method to Speed Up Kernel Machines", 2001.

    >>> nystrom_eigh(jax.random.key(0), lambda a, b: a @ b.T, jnp.ones((4, 1)), 2)[1].round(5).tolist()
    [4.0, 0.0]
    """
    require_size("rank", rank, 1, len(x))
    chosen = x[jax.random.choice(key, len(x), (rank,), replace=False)]
    columns = gram(kernel, x, chosen, block=block, mesh=mesh, axis=axis)
    columns = columns.astype(jnp.promote_types(columns.dtype, jnp.float32))
    if weights is not None:
        columns = jnp.sqrt(weights).astype(columns.dtype)[:, None] * columns
    values, vectors = jnp.linalg.eigh(gram(kernel, chosen, block=block).astype(columns.dtype))
    factor = _combine(columns, vectors * _inverse_root(values)[None])
    values, vectors = jnp.linalg.eigh(_combine(factor.T, factor))
    once = _combine(factor, vectors * _inverse_root(values)[None])
    empty = _inverse_root(values) == 0
    lower = jnp.linalg.cholesky(_combine(once.T, once) + jnp.diag(empty.astype(once.dtype)))
    twice = jax.scipy.linalg.solve_triangular(lower, once.T, lower=True).T
    return twice[:, ::-1], jnp.where(empty, 0, values)[::-1]


def _preconditioner(vectors, values, ridge):
    shrink = (values[-1] + ridge) / (values + ridge) - 1
    return lambda v: v + _combine(vectors, shrink[:, None] * _combine(vectors.T, v))


def _inverse_root(values):
    """values^(-1/2), and 0 where a value is zero to rounding."""
    sound = values > len(values) * jnp.finfo(values.dtype).eps * values[-1]
    return jnp.where(sound, jax.lax.rsqrt(jnp.where(sound, values, 1)), 0)


def _combine(a, b):
    return jnp.einsum("ij,jk->ik", a, b, precision="highest")
