"""Kernel ridge regression for many ridges from one block Krylov space, for any matrix that can be multiplied by.

    a_r = (A + r I)^-1 y ~ V (T + r I)^-1 V^T y,    T = V^T A V,    V orthonormal, spanning y, A y, A^2 y, ...

The space is the same for every ridge, so that a whole path costs little more than its smallest ridge alone. Conjugate
gradients go on from there, preconditioned by A in the space and its median eigenvalue there outside of it; they stop at
once where the space was large enough, and carry derivatives in any case.
Golub and Van Loan, "Matrix Computations", 4th edition, sections 10.3.6 (block Lanczos) and 11.3 (conjugate gradients).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxlib_methods.numerics.checks import has_converged, require_array, require_finite, require_positive, require_size
from jaxlib_methods.numerics.psd import inverse_values, spectrum_of

__all__ = ["KrylovPath", "krylov_ridge_path"]


class KrylovPath(NamedTuple):
    """Dual coefficients at every ridge, and how well they solve their systems.

    Attributes:
      coefficients: a_r; predictions are k(x, x_i) times them, see `predict_path` and `gram_product`.
      residual: |y - (A + r I) a_r| / |y| over all targets.
      converged: whether all residuals are within twice the tolerance.
    """

    coefficients: Float[Array, "r n *t"]
    residual: Float[Array, " r"]
    converged: Bool[Array, ""]


def krylov_ridge_path(
    product: Callable[[Array], Array],
    y: Float[Array, "n *t"],
    ridges: Float[ArrayLike, " r"],
    *,
    steps: int = 50,
    tolerance: float = 1e-5,
    iterations: int = 200,
) -> KrylovPath:
    """Solutions of (A + r I) a = y for many ridges r from products with A, which is never needed itself.

    Args:
      product: maps (n, k) to A times it, A symmetric positive semidefinite: `lambda v: gram @ v` for a matrix,
        `lambda v: gram_product(kernel, x, v)` for one that is not stored, on one device or many.
      y: targets. All span the space together; a single one needs more steps.
      ridges: positive, in any order. The smallest decides on the steps needed; in float32 keep it above 1e-6 of the
        largest eigenvalue.
      steps: products with A that span the space, of t columns each; fewer if n / t is less.
      tolerance: residual, relative to the targets, at which conjugate gradients stop.
      iterations: most of their steps, of r t columns each; 0 to leave it at the space.

    Returns:
      The path; if it has not converged, a RuntimeWarning says so, or under `jit` the field alone.

    Raises:
      TypeError: if `y` is not floating.
      ValueError: if a size is out of range, the tolerance or a known ridge is not positive, known targets are not
        finite, or the product changes the shape.

    Cost: the products, 8 n (steps t)^2 and 10 (steps t)^3 operations. Memory: O(n t (steps + r) + (steps t)^2). Rows
    may be split over devices: inner products are the only communication beyond that of the product.

    >>> path = krylov_ridge_path(lambda v: 2 * v, jnp.array([2.0, 4.0]), jnp.array([2.0, 6.0]))
    >>> path.coefficients.tolist(), bool(path.converged)
    ([[0.5, 1.0], [0.25, 0.5]], True)
    """
    require_array("y", y, (*y.shape[:1], *y.shape[1:]))
    require_size("the number of targets", y.size)
    require_finite("y", y)
    require_positive("ridges", ridges)
    require_positive("tolerance", tolerance)
    require_size("steps", steps)
    require_size("iterations", iterations, 0)
    dtype = jnp.promote_types(y.dtype, jnp.float32)
    flat, ridges = y.reshape(len(y), -1).astype(dtype), jnp.asarray(ridges, dtype)
    require_array("product(y)", jax.eval_shape(product, flat), flat.shape)
    size = jnp.linalg.norm(flat)
    right = jnp.repeat(flat[:, None] / jnp.where(size > 0, size, 1), len(ridges), 1)
    space, spectrum = _space(product, jax.lax.stop_gradient(flat), min(steps, -(-len(y) // flat.shape[1])))
    known = jax.lax.stop_gradient(ridges)
    inverse = jax.vmap(lambda ridge: inverse_values(spectrum, ridge), out_axes=1)(known)[:, :, None]
    outside = 1 / (jnp.median(spectrum.values) + known)[None, :, None]

    def system(a):
        return product(a.reshape(len(a), -1)).reshape(a.shape) + ridges[None, :, None] * a

    def precondition(b):
        inside = (inverse - outside) * jnp.einsum("nm,nrt->mrt", space, b, precision="highest")
        return outside * b + jnp.einsum("nm,mrt->nrt", space, inside, precision="highest")

    def solve(system, b):
        start, each = precondition(b), tolerance / len(ridges) ** 0.5
        return cg(system, b, x0=start, tol=each, maxiter=iterations, M=precondition)[0] if iterations else start

    solution = jax.lax.custom_linear_solve(system, right, solve, solve, symmetric=True)
    residual = jax.lax.stop_gradient(jnp.linalg.norm(right - system(solution), axis=(0, 2)))
    converged = has_converged(residual, tolerance, "allow more steps or iterations, or raise the smallest ridge")
    return KrylovPath(jnp.moveaxis(solution * size, 1, 0).reshape(-1, *y.shape), residual, converged)


def _space(product, y, steps):
    """Eigenvectors V U of T = U diag(s) U^T in the block Krylov space, (n, steps t), and its spectrum.

    Directions that are lost in rounding become zero columns of V, which do no harm.
    """
    count, width = y.shape
    unit = jnp.finfo(y.dtype).eps

    def step(carry, i):
        basis, block = carry
        basis = jax.lax.dynamic_update_slice_in_dim(basis, block, i * width, 1)
        image = jax.lax.stop_gradient(product(block))
        column = _combine(basis.T, image)
        return (basis, _normalised(basis, image - _combine(basis, column), 1e3 * unit * jnp.linalg.norm(image))), column

    first = _normalised(jnp.zeros_like(y), y, jnp.zeros((), y.dtype))
    start = jnp.zeros((count, steps * width), y.dtype), first
    (basis, _), columns = jax.lax.scan(step, start, jnp.arange(steps))
    upper = jnp.triu(jnp.moveaxis(columns, 0, 1).reshape(steps * width, -1))
    spectrum = spectrum_of(upper + jnp.triu(upper, 1).T, None)
    return _combine(basis, spectrum.vectors), spectrum


def _normalised(basis, block, noise):
    """An orthonormal basis of what the columns add to an orthonormal basis; zero columns where that is noise."""
    for floor in (noise, 0.1):
        block = block - _combine(basis, _combine(basis.T, block))
        values, vectors = jnp.linalg.eigh(_combine(block.T, block))
        sound = values > jnp.maximum(floor**2, len(values) * jnp.finfo(values.dtype).eps * values[-1])
        scale = jnp.where(sound, jax.lax.rsqrt(jnp.where(sound, values, 1)), 0)
        block = _combine(block, vectors * scale[None])
    return block


def _combine(a, b):
    return jnp.einsum("ij,jk->ik", a, b, precision="highest")
