"""Sums of feature-value products over the keys that each query sees, passed along the sequence in chunks.

A_i = sum over j in the window that ends at i of phi(k_j) (x) v_j: the key that enters is added, the key that leaves
subtracted, so that rounding grows with the window and the square root of the length, not with all keys seen so far.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxlib_methods.numerics.blocks import reduce_rows

__all__ = ["key_sums", "map_running_sums"]


def key_sums(features: Callable[[Array], Array], k: Array, v: Array, block: int) -> Array:
    """sum_j phi(k_j) (x) v_j: (r, e)."""
    product = lambda rows: jnp.einsum("jr,je->re", features(rows[0]), rows[1], precision="highest")
    return reduce_rows(product, jnp.add, (k, v), block=block)


def map_running_sums(
    consume: Callable[..., PyTree],
    queries: PyTree,
    axes: Sequence[tuple[Array, Array]],
    features: Callable[[Array], Array],
    windows: Sequence[int],
    chunk: int,
    before: Sequence[Array] | None = None,
) -> PyTree:
    """Maps `consume(query chunk, *sums)` over the sequence, sums (chunk, r, e) for each key axis.

    Args:
      consume: gives a pytree with a leading axis of `chunk`.
      queries: pytree with a leading axis of n queries.
      axes: keys (m_t, d) and values (m_t, e), zero where a key is absent; the last key stands at the last query.
      features: phi, (..., d) to (..., r).
      windows: one an axis.
      chunk: queries worked on at once; memory O(chunk r e) an axis.
      before: sums over keys that precede all of these, None for zero.
    """
    n = jax.tree.leaves(queries)[0].shape[0]
    chunk = min(chunk, n)
    padding = -n % chunk
    steps = (n + padding) // chunk
    chunked = lambda x: jnp.pad(x, ((0, padding), *[(0, 0)] * (x.ndim - 1))).reshape(steps, chunk, *x.shape[1:])
    entering, leaving, start = [], [], []
    for t, ((k, v), window) in enumerate(zip(axes, windows, strict=True)):
        lead = k.shape[0] - n
        shift = lambda x, lead=lead, window=window: jnp.pad(
            x[max(0, lead - window) :], ((max(0, window - lead), 0), *[(0, 0)] * (x.ndim - 1))
        )[:n]
        entering.append((chunked(k[lead:]), chunked(v[lead:])))
        leaving.append((chunked(shift(k)), chunked(shift(v))) if window < k.shape[0] else None)
        first = max(0, lead - window)
        shape = features(k[:1]).shape[-1], v.shape[-1]
        past = jnp.zeros_like(v, shape=shape) if before is None else before[t]
        start.append(past + key_sums(features, k[first:lead], v[first:lead], chunk) if lead else past)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(sums, part):
        rows, entering, leaving = part
        new, running = [], []
        for total, enter, leave in zip(sums, entering, leaving, strict=True):
            outer = lambda pair: features(pair[0])[:, :, None] * pair[1][:, None, :]
            change = outer(enter) if leave is None else outer(enter) - outer(leave)
            running.append(total[None] + jnp.cumsum(change, axis=0))
            new.append(running[-1][-1])
        return new, consume(rows, *running)

    out = jax.lax.scan(step, start, (jax.tree.map(chunked, queries), entering, leaving))[1]
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n], out)
