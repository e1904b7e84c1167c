"""Z^T W Z in half the operations: its corner above the diagonal, and each half on the diagonal in the same way.

    [Z_1 Z_2]^T W [Z_1 Z_2] = [Z_1^T W Z_1   C          ]    C = Z_1^T W Z_2
                              [C^T           Z_2^T W Z_2],

n k^2 (1 + 2^-levels) operations in few large products. Parts of several sums add before they are put together.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

__all__ = ["assemble_symmetric", "symmetric_parts"]


PIECE = 256


def symmetric_parts(a: Float[Array, "n k"], b: Float[Array, "n k"]) -> PyTree[Float[Array, "..."]]:
    """The parts of a^T b, which is known to be symmetric: (upper left, corner, lower right), or all of a small one.

    >>> assemble_symmetric(symmetric_parts(jnp.ones((3, 2)), jnp.ones((3, 2)))).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    if a.shape[1] <= PIECE:
        return _product(a, b)
    (a1, a2), (b1, b2) = (jnp.split(x, [a.shape[1] // 2], axis=1) for x in (a, b))
    return symmetric_parts(a1, b1), _product(a1, b2), symmetric_parts(a2, b2)


def assemble_symmetric(parts: PyTree[Float[Array, "..."]]) -> Float[Array, "k k"]:
    """The matrix of `symmetric_parts`, or of sums of them; symmetric to the last bit."""
    if not isinstance(parts, tuple):
        return jnp.triu(parts) + jnp.triu(parts, 1).T
    first, corner, last = parts
    return jnp.block([[assemble_symmetric(first), corner], [corner.T, assemble_symmetric(last)]])


def _product(a, b):
    return jnp.einsum("ni,nj->ij", a, b, precision="highest")
