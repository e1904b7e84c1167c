"""Reductions over many rows, a block at a time: memory of one block, whatever the number of rows.

A reduction is a pair of functions: `summarise` turns a block of rows into a partial result, `merge` joins two
partial results. The same pair serves blocks on one device and, with a collective in place of `merge`, devices.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
from jaxtyping import PyTree

from jaxlib_methods.numerics.checks import require_size

__all__ = ["reduce_rows"]

Part = TypeVar("Part")


def reduce_rows(
    summarise: Callable[[PyTree], Part], merge: Callable[[Part, Part], Part], rows: PyTree, *, block: int
) -> Part:
    """Merges the summaries of consecutive blocks of rows; the last block may be shorter.

    Args:
      summarise: maps a pytree of row blocks to a partial result of fixed structure.
      merge: joins two partial results; associative.
      rows: pytree of arrays with one common leading axis of at least one row.
      block: rows per block. No block is copied but the one at work; under `grad` each block is computed again
        on the way back, so that only one partial result a block is stored.

    Raises:
      ValueError: if there are no rows or `block` is below 1.

    >>> import jax.numpy as jnp
    >>> float(reduce_rows(jnp.sum, jnp.add, jnp.arange(10.0), block=4))
    45.0
    """
    require_size("block", block)
    count = jax.tree.leaves(rows)[0].shape[0]
    require_size("the number of rows", count)
    block = min(block, count)
    summarise = jax.checkpoint(summarise, prevent_cse=False)
    take = lambda start, size: jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, size), rows)
    whole = count // block
    total = summarise(take(0, block))
    total = jax.lax.fori_loop(1, whole, lambda i, part: merge(part, summarise(take(i * block, block))), total)
    if count % block:
        total = merge(total, summarise(take(whole * block, count % block)))
    return total
