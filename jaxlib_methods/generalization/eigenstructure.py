"""A kernel and a target as the learning theory sees them: eigenvalues, and the target's power in each eigenspace.

    K(x, x') = sum_i lam_i phi_i(x) phi_i(x'),    f = sum_i v_i phi_i,    E[phi_i phi_j] = 1 if i = j, else 0.

Measured on N points, with the kernel matrix K and targets Y (several outputs are summed):

    K / N = U diag(lam) U^T,    v_i^2 = |U_i^T Y|^2 / N.

Simon, Karkada, Ghosh and Belkin, "More is Better: when Infinite Overparameterization is Optimal and Overfitting is
Obligatory", 2023, sections 3 and 6.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require, require_array, require_nonnegative, require_positive

__all__ = ["Eigenstructure", "check_eigenstructure", "empirical_eigenstructure", "pool_corrected"]


class Eigenstructure(NamedTuple):
    """`m` eigenspaces: eigenvalue, the target's squared coefficients summed over the space, and its dimension.

    Dimensions may be any positive numbers; None stands for simple eigenvalues. A law of infinitely many modes is held
    in a few hundred entries this way (`power_law_eigenstructure`), a rotation-invariant kernel in one an order.
    """

    lam: Float[Array, " m"]
    v2: Float[Array, " m"]
    multiplicity: Float[Array, " m"] | None = None


def check_eigenstructure(eigen: Eigenstructure) -> Eigenstructure:
    """Returns the eigenstructure as arrays of one dtype.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if lengths differ or are zero, or a known entry is negative or not finite, or a dimension is zero.

    >>> check_eigenstructure(Eigenstructure(jnp.ones(2), jnp.ones(3)))
    Traceback (most recent call last):
    ValueError: v2 must be an array of shape (2), got shape (3,)
    """
    require_array("lam", eigen.lam, (None,))
    length = jnp.shape(eigen.lam)[0]
    require(length > 0, "lam", "no entries", "at least one eigenvalue")
    require_array("v2", eigen.v2, (length,))
    require_nonnegative("lam", eigen.lam)
    require_nonnegative("v2", eigen.v2)
    dtype = jnp.result_type(eigen.lam)
    if eigen.multiplicity is None:
        return Eigenstructure(jnp.asarray(eigen.lam), jnp.asarray(eigen.v2, dtype))
    require_array("multiplicity", eigen.multiplicity, (length,))
    require_positive("multiplicity", eigen.multiplicity)
    return Eigenstructure(*(jnp.asarray(leaf, dtype) for leaf in eigen))


def empirical_eigenstructure(kernel: Float[Array, "n n"], targets: Float[Array, "n *c"]) -> Eigenstructure:
    """Eigenvalues, descending, and target power of a kernel matrix over a pool of points that stands for the data law.

    Eigenvalues of rounding size below zero are taken as zero. Beyond index n/3 or so both are biased, because the pool
    is finite: read exponents from `trace_kappa` and the learning curve (`fit_exponents`), not from these.

    Args:
      kernel: symmetric positive semidefinite matrix K(x_i, x_j); give float64 for ridgeless predictions.
      targets: one row a point, any number of outputs.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match.

    Cost: one symmetric eigendecomposition, O(n^3). Memory: 2 n^2.

    >>> eigen = empirical_eigenstructure(jnp.diag(jnp.array([2.0, 4.0])), jnp.array([1.0, 0.0]))
    >>> eigen.lam.tolist(), eigen.v2.tolist()
    ([2.0, 1.0], [0.0, 0.5])
    """
    require_array("kernel", kernel, (None, None))
    n = kernel.shape[0]
    require_array("kernel", kernel, (n, n))
    targets = jnp.reshape(targets, (n, -1)) if jnp.ndim(targets) == 1 else targets
    require_array("targets", targets, (n, None))
    values, vectors = jnp.linalg.eigh(kernel)
    power = jnp.sum(jnp.einsum("ni,nc->ic", vectors, targets, precision="highest") ** 2, 1)
    return Eigenstructure(jnp.maximum(values[::-1], 0) / n, power[::-1] / n)


def pool_corrected(
    test: Float[ArrayLike, "..."], train: Float[ArrayLike, "..."], n: ArrayLike, pool: ArrayLike
) -> Float[Array, "..."]:
    """Predicted error on the points of a finite pool that were not trained on: (N E_test - n E_train) / (N - n).

    The theory tests on fresh draws from the data law; with an empirical eigenstructure that law is the pool, which
    contains the training points.

    Args:
      test: predicted test error.
      train: predicted train error.
      n: training points, below N.
      pool: N, points in the pool.

    Raises:
      ValueError: if a known n is not positive, or not below N.

    >>> float(pool_corrected(1.0, 0.0, n=50, pool=100))
    2.0
    """
    require_positive("n", n)
    require_positive("pool - n", jnp.asarray(pool) - jnp.asarray(n))
    dtype = jnp.result_type(test)
    n, pool = jnp.asarray(n, dtype), jnp.asarray(pool, dtype)
    return (pool * test - n * train) / (pool - n)
