"""What stays fixed while an attention runs, and which keys a block of queries can see."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["Problem", "key_range", "visible"]


class Problem(NamedTuple):
    """Static description of one attention; hashable.

    Attributes:
      logits, values: names in `FAMILIES` and `VALUES`.
      scale: factor of the logits.
      windows: for each key axis the number of keys up to the query's own that it sees; None sees all keys.
      block_q: query positions of a tile.
      block_k: keys of a tile on each axis.
      precision: of the matrix products.
      masked: whether keys may be absent.
    """

    logits: str
    values: str
    scale: float
    windows: tuple[int, ...] | None
    block_q: int
    block_k: tuple[int, ...]
    precision: str | None
    masked: bool = True


def visible(rows: Array, keys: Array, offset: Array | int, window: int | None, mask: Array) -> Array:
    """Whether each query row sees each key: the key is real and lies in the window that ends at the query."""
    if window is None:
        return jnp.broadcast_to(mask[None], (rows.shape[0], keys.shape[0]))
    distance = rows[:, None] - keys[None] - offset
    return mask[None] & (distance >= 0) & (distance < window)


def key_range(first: Array | int, block_q: int, count: int, offset: Array | int, window: int | None):
    """First key that a block of queries can see, and the number from there on that holds all it can see.

    The number is static, so that loops over keys have a fixed length, unless the window is longer than half the keys.
    """
    if window is None:
        return 0, count
    low = jnp.clip(first - window + 1 - offset, 0, count)
    most = window + block_q - 1
    return low, most if 2 * most <= count else jnp.clip(first + block_q - offset, low, count) - low
