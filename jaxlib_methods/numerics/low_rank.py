"""Leading eigenpairs of a symmetric operator that is known only by its products with thin matrices.

Subspace iteration on a random start: Q <- orth(A Q), then the small matrix Q^T A Q is diagonalised.
Halko, Martinsson and Tropp, "Finding structure with randomness", 2011, algorithms 4.4 and 5.3.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxlib_methods.numerics.checks import require_size

__all__ = ["randomized_eigh"]


def randomized_eigh(
    key: Key[Array, ""],
    product: Callable[[Array], Array],
    dim: int,
    rank: int,
    *,
    oversample: int = 16,
    iterations: int = 2,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> tuple[Float[Array, " r"], Float[Array, "d r"]]:
    """The `rank` largest eigenvalues, descending, and their eigenvectors of a positive semidefinite operator.

    Args:
      key: draws the start.
      product: maps (d, m) to A times it.
      dim: d.
      rank: r, 1 to d.
      oversample: extra columns carried; the error falls with the gap between eigenvalues r and r + oversample.
      iterations: rounds of subspace iteration, at least 1; products are taken `iterations + 1` times.
      dtype: of the work.

    Raises:
      ValueError: if a size is out of range.

    Cost: (iterations + 1) products with r + oversample columns, as many thin QRs. Memory: O(d (r + oversample)).

    >>> a = jnp.diag(jnp.array([1.0, 3.0, 2.0]))
    >>> randomized_eigh(jax.random.key(0), lambda q: a @ q, 3, 2)[0].round(4).tolist()
    [3.0, 2.0]
    """
    require_size("dim", dim)
    require_size("rank", rank, 1, dim)
    require_size("oversample", oversample, 0)
    require_size("iterations", iterations)
    columns = min(rank + oversample, dim)
    start = jnp.linalg.qr(jax.random.normal(key, (dim, columns), dtype))[0]
    orthonormal = jax.lax.fori_loop(0, iterations, lambda _, q: jnp.linalg.qr(product(q))[0], start)
    small = jnp.einsum("dm,dn->mn", orthonormal, product(orthonormal), precision="highest")
    values, vectors = jnp.linalg.eigh((small + small.T) / 2)
    top = jnp.einsum("dm,mr->dr", orthonormal, vectors[:, ::-1][:, :rank], precision="highest")
    return jnp.maximum(values[::-1][:rank], 0), top
