"""From arrays with batch and heads to one key/value head, and the checks that all entry points share."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxlib_methods.attention.kronecker.problem import Problem
from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = ["add_bias", "check_heads", "full_masks", "make_problem", "make_windows", "over_heads"]

TILE, LEAST = 2**20, 2**17  # logits of a tile, over all heads and batch entries, and least of one head
LONGEST = 512  # keys of the longest axis: with them a tile's logits are few enough for a core's cache


def check_heads(q: Array, ks: Sequence[Array], vs: Sequence[Array], values: str = "product") -> None:
    """Checks shapes and dtypes of queries, keys and values with batch and heads."""
    require(len(ks) >= 1, "ks", f"order {len(ks) + 1}", "at least one key axis, order 2")
    require(len(vs) == len(ks), "vs", f"{len(vs)} arrays", f"as many arrays as ks, {len(ks)}")
    require(np.ndim(q) >= 3, "q", f"shape {np.shape(q)}", "an array of shape (*batch, n, h, d)")
    *batch, n, heads, dim = np.shape(q)
    require_array("q", q, (*batch, n, heads, dim))
    require(min(n, heads, dim) >= 1, "q", f"shape {np.shape(q)}", "without empty axes")
    kv = np.shape(ks[0])[-2] if np.ndim(ks[0]) >= 3 else 0
    width = np.shape(vs[0])[-1] if np.ndim(vs[0]) >= 3 else 0
    for t, (k, v) in enumerate(zip(ks, vs, strict=True)):
        require_array(f"ks[{t}]", k, (*batch, None, kv, dim))
        length = np.shape(k)[-3]
        require_size(f"the length of ks[{t}]", length)
        require_array(f"vs[{t}]", v, (*batch, length, kv, width if values == "product" else None))
    require(kv >= 1 and heads % kv == 0, "the number of query heads", heads, f"a multiple of the {kv} key heads")


def make_windows(windows: int | tuple[int, ...] | None, causal: bool, n: int, lengths: Sequence[int]):
    """One window an axis: as given, as long as the sequence if only causal, None if all keys are seen."""
    if windows is None:
        return (n + max(lengths),) * len(lengths) if causal else None
    windows = (windows,) * len(lengths) if isinstance(windows, int | np.integer) else tuple(windows)
    require(len(windows) == len(lengths), "windows", windows, f"one number for each of the {len(lengths)} key axes")
    for window in windows:
        require_size("windows", window)
    return windows


def make_problem(
    q: Array,
    ks: Sequence[Array],
    scale: float | None,
    windows: tuple[int, ...] | None,
    logits: str,
    values: str,
    block_q: int,
    block_k: int | tuple[int, ...] | None,
    precision: str | None,
) -> Problem:
    """Fills in what the caller left open."""
    require_size("block_q", block_q)
    *batch, n, heads, dim = np.shape(q)
    kv = ks[0].shape[-2]
    lengths = [k.shape[-3] for k in ks]
    default = 1.0 if logits == "norm" else 1 / math.sqrt(dim)
    block_q = min(block_q, n)
    if block_k is None:
        spans = lengths if windows is None else [min(m, w + block_q - 1) for m, w in zip(lengths, windows, strict=True)]
        logits_a_head = max(TILE // (math.prod(batch) * kv), LEAST)
        block_k = _tile_sizes(spans, logits_a_head // (block_q * heads // kv))
    elif isinstance(block_k, int | np.integer):
        block_k = (block_k,) * len(ks)
    require(len(block_k) == len(ks), "block_k", block_k, f"one number for each of the {len(ks)} key axes")
    for size in block_k:
        require_size("block_k", size)
    sizes = tuple(min(size, m) for size, m in zip(block_k, lengths, strict=True))
    return Problem(logits, values, default if scale is None else float(scale), windows, block_q, sizes, precision)


def _tile_sizes(spans: Sequence[int], budget: int) -> tuple[int, ...]:
    """Keys a tile on each axis: up to `LONGEST` on the longest, the rest of the budget shared by the others."""
    longest = max(range(len(spans)), key=lambda t: (spans[t], t))  # of equal ones the last, which tiles multiply by
    even = lambda span, limit: -(-span // -(-span // max(1, limit)))
    width = even(spans[longest], budget if len(spans) == 1 else min(LONGEST, budget))
    each = int((budget // width) ** (1 / max(1, len(spans) - 1)))
    return tuple(width if t == longest else even(span, each) for t, span in enumerate(spans))


def full_masks(key_masks: Sequence[Array | None] | None, ks: Sequence[Array]) -> tuple[Array, ...]:
    """A mask (*batch, m_t) for every axis."""
    key_masks = (None,) * len(ks) if key_masks is None else key_masks
    require(len(key_masks) == len(ks), "key_masks", f"{len(key_masks)} masks", f"one for each of {len(ks)} key axes")
    masks = []
    for t, (mask, k) in enumerate(zip(key_masks, ks, strict=True)):
        shape = k.shape[:-2]
        mask = jnp.ones(shape, bool) if mask is None else jnp.asarray(mask)
        require(mask.shape == shape, f"key_masks[{t}]", f"shape {mask.shape}", f"of shape {shape}")
        masks.append(mask.astype(bool))
    return tuple(masks)


def add_bias(side: Sequence[Array], bias: float) -> tuple[Array, ...]:
    """Adds the bias to every axis but the first."""
    first, *rest = side
    return (first, *(x + jnp.asarray(bias, x.dtype) for x in rest)) if bias else tuple(side)


def over_heads(attend: Callable[..., Any], q, ks, vs, masks, offsets=None) -> Any:
    """Runs `attend(q, ks, vs, masks, offsets)` for every batch entry and key head; results (*batch, n, h, ...).

    Results that are not one number or row a query, such as flags, keep the leading axes (*batch, kv).
    """
    *batch, n, heads, dim = q.shape
    kv = ks[0].shape[-2]
    offsets = tuple(n - k.shape[-3] for k in ks) if offsets is None else offsets
    q = jnp.moveaxis(q.reshape(*batch, n, kv, heads // kv, dim), -3, -4)
    ks, vs = (tuple(jnp.moveaxis(x, -2, -3) for x in side) for side in (ks, vs))
    run = _over(attend, kv, (0, 0, 0, None, None))
    for size in reversed(batch):
        run = _over(run, size, (0, 0, 0, 0, None))
    lead = len(batch)

    def joined(x):
        if x.ndim <= lead + 1:
            return x
        x = jnp.moveaxis(x, lead, lead + 1)
        return x.reshape(*batch, n, heads, *x.shape[lead + 3 :])

    return jax.tree.map(joined, run(q, ks, vs, masks, offsets))


def _over(function: Callable[..., Any], size: int, in_axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """`jax.vmap`, but a batch of one is no batch: its products stay products of matrices, which are faster on CPUs."""
    if size != 1:
        return jax.vmap(function, in_axes=in_axes)

    def alone(*args):
        only = (x if axis is None else jax.tree.map(lambda a: a[0], x) for x, axis in zip(args, in_axes, strict=True))
        return jax.tree.map(lambda a: a[None], function(*only))

    return alone
