"""Regression tasks under the theory's assumption: eigenfunctions and feature coefficients that are independent normals.

    phi_i(x), zeta_i(w) ~ N(0, 1),    g_j(x) = sum_i sqrt(lam_i) zeta_i(w_j) phi_i(x) / sqrt(k),
    y = sum_i v_i phi_i(x) + N(0, s).

Simon, Karkada, Ghosh and Belkin, "More is Better: when Infinite Overparameterization is Optimal and Overfitting is
Obligatory", 2023, section 4, assumption A.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.generalization.eigenstructure import Eigenstructure, check_eigenstructure
from jaxlib_methods.numerics.checks import require, require_nonnegative, require_size

__all__ = ["sample_gaussian_task"]


def sample_gaussian_task(
    key: Key[Array, ""], eigen: Eigenstructure, samples: int, features: int | None = None, noise: ArrayLike = 0.0
) -> tuple[Float[Array, "n k"], Float[Array, " n"]]:
    """Features and noisy targets of random points; inner products of rows are the random-feature kernel.

    Args:
      key: draws points, weights and noise; independent of one another.
      eigen: simple eigenvalues, and the squared coefficients of a target with positive ones.
      samples: number of points n, at least 1.
      features: number of random features k, at least 1; None for the kernel itself, k = m features.
      noise: variance of the label noise.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if a size is below 1, the noise negative, the eigenstructure not valid, or an eigenvalue multiple.

    Cost: 2 n m k. Memory: O((n + k) m). The same key gives the same points and noise, whatever the features.

    >>> eigen = Eigenstructure(jnp.ones(3), jnp.ones(3))
    >>> [a.shape for a in sample_gaussian_task(jax.random.key(0), eigen, 5, 2)]
    [(5, 2), (5,)]
    """
    eigen = check_eigenstructure(eigen)
    require(eigen.multiplicity is None, "multiplicity", "an array", "None: draw every mode by itself")
    require_size("samples", samples)
    require_nonnegative("noise", noise)
    dtype, modes = eigen.lam.dtype, eigen.lam.shape[0]
    keys = jax.random.split(key, 3)
    phi = jax.random.normal(keys[0], (samples, modes), dtype)
    targets = jnp.einsum("nm,m->n", phi, jnp.sqrt(eigen.v2), precision="highest")
    targets += jnp.sqrt(jnp.asarray(noise, dtype)) * jax.random.normal(keys[1], (samples,), dtype)
    phi *= jnp.sqrt(eigen.lam)[None]
    if features is None:
        return phi, targets
    require_size("features", features)
    zeta = jax.random.normal(keys[2], (features, modes), dtype)
    return jnp.einsum("nm,km->nk", phi, zeta, precision="highest") / features**0.5, targets
