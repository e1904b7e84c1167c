"""Rows that do not divide: pad to a multiple and mask what was added."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxlib_methods.numerics.checks import require_size

__all__ = ["pad_rows"]


def pad_rows(x: Shaped[Array, "n *rest"], multiple: int) -> tuple[Shaped[Array, "m *rest"], Float[Array, " m"]]:
    """Appends zero rows until the leading size is a multiple, and says which rows are real.

    Args:
      x: any array with a leading axis of n rows.
      multiple: m is the least multiple of this that is at least n.

    Returns:
      The padded array, and a mask, 1 on real rows and 0 on added ones, of `x`'s dtype if floating, else float32.

    Raises:
      ValueError: if `multiple` is below 1.

    >>> padded, mask = pad_rows(jnp.ones((5, 2)), 4)
    >>> padded.shape, int(mask.sum())
    ((8, 2), 5)
    """
    require_size("multiple", multiple)
    rows = x.shape[0]
    padding = -rows % multiple
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32
    mask = (jnp.arange(rows + padding) < rows).astype(dtype)
    return jnp.pad(x, ((0, padding), *[(0, 0)] * (x.ndim - 1))), mask
