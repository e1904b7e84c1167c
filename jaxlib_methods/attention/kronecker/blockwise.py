"""Exact attention of any order, a tile of queries and keys at a time: memory of the inputs and one tile.

    m_i = max S_i,   out_i = sum e^(S_i - m_i) prod_t v_t / sum e^(S_i - m_i),   L_i = log sum e^(S_i)

run over key blocks with a running maximum. The way back keeps q, k, v, out and L only, and forms each tile again:

    P = e^(S - L),   dP = <do_i, prod_t v_t>,   dS = P (dP - <out_i, do_i> + dL_i),

after which every gradient is the tile's own bilinear map transposed. Under a causal window the loops run over the
visible key blocks only. Alman and Song 2024, section 3 (definition); Milakov and Gimelshein 2018 (running softmax).
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.attention.kronecker.logits import FAMILIES, VALUES
from jaxlib_methods.attention.kronecker.problem import Problem, key_range, visible

__all__ = ["attend", "attend_backward", "attend_forward", "zeros_beside"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend(problem: Problem, q, ks, vs, masks, offsets) -> tuple[Array, Array]:
    """Attention of one key/value head.

    Args:
      problem: what stays fixed.
      q: (n, g, d), g query heads that share the keys.
      ks: (m_t, d) for each key axis.
      vs: (m_t, e) for each key axis.
      masks: (m_t,) for each key axis, False where a key is absent.
      offsets: integers, for each key axis the position of its first key relative to the first query.

    Returns:
      The averages (n, g, e), zero where a query sees nothing, and log-sum-exps (n, g), there -inf; of the wide dtype.
    """
    return attend_forward(problem, q, ks, vs, masks, offsets)


def attend_forward(problem, q, ks, vs, masks, offsets):
    """The forward pass of `attend`."""
    n, group, _ = q.shape
    block = min(problem.block_q, n)
    rows = block * group
    wide = jnp.promote_types(q.dtype, jnp.float32)
    lowest = jnp.finfo(wide).min
    q, (keys, values, masks) = _pad(q, -n % block), _pad_keys(problem, ks, vs, masks)
    counts = [k.shape[0] for k in ks]
    width = vs[0].shape[1] if problem.values == "product" else math.prod(v.shape[1] for v in vs)

    def query_block(first):
        q_tile = _take(q, first, block).reshape(rows, -1)

        def tile(index, carry):
            maximum, total, weighted = carry
            k_tile, v_tile, seen, _ = slices(index)
            logits = _hidden(_logits(problem, q_tile, k_tile), seen, lowest)
            axes = tuple(range(1, logits.ndim))
            new = jnp.maximum(maximum, jnp.max(logits, axes))
            weights = jnp.exp(logits - _column(new, logits))
            shrink = jnp.exp(maximum - new)
            part = _average(problem, weights, v_tile)
            return new, total * shrink + weights.sum(axes), weighted * shrink[:, None] + part

        slices, steps = _tiles(problem, first, block, counts, (keys, values, masks), offsets)
        zeros = functools.partial(zeros_beside, (q, keys, values, masks, offsets), dtype=wide)
        start = zeros((rows,)) + lowest / 2, zeros((rows,)), zeros((rows, width))
        maximum, total, weighted = jax.lax.fori_loop(0, steps, tile, start)
        some = total > 0
        safe = jnp.where(some, total, 1)
        return weighted / safe[:, None], jnp.where(some, maximum + jnp.log(safe), -jnp.inf)

    out, lse = jax.lax.map(query_block, jnp.arange(0, q.shape[0], block))
    return out.reshape(-1, group, width)[:n], lse.reshape(-1, group)[:n]


def attend_backward(problem, saved, cotangents):
    """Gradients by q, ks and vs from what the forward pass saved, in the wide dtype.

    The log-sum-exp need not be that of these keys alone: with that of all keys, the gradients of several key sets add.
    """
    q, ks, vs, masks, offsets, out, lse = saved
    d_out, d_lse = cotangents
    n, group, _ = q.shape
    block = min(problem.block_q, n)
    rows = block * group
    wide = jnp.promote_types(q.dtype, jnp.float32)
    empty = jnp.isneginf(lse)
    delta = jnp.sum(out * d_out, -1) - jnp.where(empty, 0, d_lse)
    padding = -n % block
    lse = jnp.pad(jnp.where(empty, jnp.inf, lse), ((0, padding), (0, 0)), constant_values=jnp.inf)
    q, d_out, delta = (_pad(x, padding) for x in (q, d_out, delta))
    keys, values, masks = _pad_keys(problem, ks, vs, masks)
    counts = [k.shape[0] for k in ks]

    def query_block(carry, first):
        q_tile, do_tile = (_take(x, first, block).reshape(rows, -1) for x in (q, d_out))
        lse_tile, delta_tile = (_take(x, first, block).reshape(rows) for x in (lse, delta))

        def tile(index, carry):
            dq, dks, dvs = carry
            k_tile, v_tile, seen, starts = slices(index)
            logits, to_keys = jax.vjp(functools.partial(_logits, problem), q_tile, k_tile)
            weights = jnp.exp(_hidden(logits, seen, -jnp.inf) - _column(lse_tile, logits))
            d_weights, dv_tile = _average_backward(problem, weights, v_tile, do_tile)
            dq_tile, dk_tile = to_keys(weights * (d_weights - _column(delta_tile, logits)))
            dks, dvs = (_add_at(d, part, starts) for d, part in ((dks, dk_tile), (dvs, dv_tile)))
            return dq + dq_tile.astype(wide), dks, dvs

        slices, steps = _tiles(problem, first, block, counts, (keys, values, masks), offsets)
        dq = zeros((rows, q.shape[-1]))
        dq, *carry = jax.lax.fori_loop(0, steps, tile, (dq, *carry))
        return tuple(carry), dq.reshape(block, group, -1)

    zeros = functools.partial(zeros_beside, (q, keys, values, masks, offsets, d_out, lse, delta), dtype=wide)
    start = tuple(tuple(zeros(x.shape) for x in side) for side in (keys, values))
    (dks, dvs), dq = jax.lax.scan(query_block, start, jnp.arange(0, q.shape[0], block))
    cut = lambda grads: tuple(grad[:count] for grad, count in zip(_turned(grads), counts, strict=True))
    return dq.reshape(-1, *dq.shape[2:])[:n], cut(dks), cut(dvs)


def _save(problem, q, ks, vs, masks, offsets):
    out, lse = attend_forward(problem, q, ks, vs, masks, offsets)
    return (out, lse), (q, ks, vs, masks, offsets, out, lse)


def _restore(problem, saved, cotangents):
    gradients = attend_backward(problem, saved, cotangents)
    return *jax.tree.map(lambda grad, x: grad.astype(x.dtype), gradients, saved[:3]), None, None


attend.defvjp(_save, _restore)


def zeros_beside(tree, shape, dtype):
    """Zeros that vary over the mesh axes that any array of the tree varies over, as a loop inside shard_map needs."""
    scalars = [jnp.zeros_like(jnp.ravel(leaf)[0], dtype=dtype) for leaf in jax.tree.leaves(tree)]
    return jnp.zeros(shape, dtype) + sum(scalars)


def _logits(problem, q, ks):
    return FAMILIES[problem.logits].tile(q, _turned(ks), problem.scale, problem.precision)


def _average(problem, weights, vs):
    return VALUES[problem.values](weights, _turned(vs), problem.precision)


def _average_backward(problem, weights, vs, d_out):
    """Gradients of `_average`. Those of products come from sum_rows d_out p, one matrix product for all value axes."""
    average = functools.partial(_average, problem)
    if problem.values != "product" or len(weights) < vs[-1].shape[0]:
        return jax.vjp(average, weights, vs)[1](d_out)
    (d_weights,) = jax.vjp(lambda weights: average(weights, vs), weights)[1](d_out)
    narrow = vs[-1].dtype
    moments = jax.lax.dot_general(
        d_out.astype(narrow),
        weights.astype(narrow).reshape(len(weights), -1),
        (((0,), (0,)), ((), ())),
        precision=problem.precision,
        preferred_element_type=d_out.dtype,
    ).reshape(-1, *weights.shape[1:])
    columns = [*(v.T for v in vs[:-1]), vs[-1]]

    def gradient(kept):
        total = moments
        for axis in reversed(range(len(vs))):
            if axis != kept:
                width, count = columns[axis].shape
                after = total.ndim - axis - 2
                factor = columns[axis].reshape(width, *[1] * axis, count, *[1] * after)
                total = jnp.sum(total * factor.astype(total.dtype), axis + 1)
        return total

    *first, last = map(gradient, range(len(vs)))
    return d_weights, (*(grad.T for grad in first), last)


def _turned(side):
    """The last axis as columns (d, m) or back as rows: the gradient of columns is the faster matrix product."""
    return (*side[:-1], side[-1].T)


def _hidden(logits, seen, lowest):
    """`lowest` in place of the logits of keys that are not seen; None if all are."""
    if seen is None:
        return logits
    seen = jnp.broadcast_to(seen, (len(seen), len(logits) // len(seen), *logits.shape[1:]))
    return jnp.where(seen.reshape(logits.shape), logits, lowest)


def _column(rows, logits):
    return rows.reshape(-1, *[1] * (logits.ndim - 1))


def _take(x, start, size, axis=0):
    return jax.lax.dynamic_slice_in_dim(x, start, size, axis)


def _key_axes(side):
    """Which axis of each array runs over keys: the first, and of the last array the last."""
    return [*[0] * (len(side) - 1), side[-1].ndim - 1]


def _add_at(totals, parts, starts):
    """Adds a tile's gradients to those of all keys."""
    added = []
    for total, part, start, axis in zip(totals, parts, starts, _key_axes(totals), strict=True):
        sums = _take(total, start, part.shape[axis], axis) + part.astype(total.dtype)
        added.append(jax.lax.dynamic_update_slice_in_dim(total, sums, start, axis))
    return tuple(added)


def _pad(x, count):
    return jnp.pad(x, ((0, count), *[(0, 0)] * (x.ndim - 1)))


def _pad_keys(problem, ks, vs, masks):
    """A block of absent keys behind the last, because the blocks start anywhere; of keys and values the last turned."""
    padded = [tuple(_pad(x, b) for x, b in zip(side, problem.block_k, strict=True)) for side in (ks, vs, masks)]
    return _turned(padded[0]), _turned(padded[1]), padded[2]


def _tiles(problem, first, block, counts, arrays, offsets):
    """The tiles that hold all keys visible from a block of queries: `slices(index)` and their number."""
    whole = not problem.masked and problem.windows is None
    whole = whole and all(count % size == 0 for count, size in zip(counts, problem.block_k, strict=True))
    windows = problem.windows or (None,) * len(counts)
    spans = [key_range(first, block, *axis) for axis in zip(counts, offsets, windows, strict=True)]
    sizes = problem.block_k
    blocks = [(width + size - 1) // size for (_, width), size in zip(spans, sizes, strict=True)]
    rows = first + jnp.arange(block)

    def slices(index):
        starts = []
        for (low, _), size, number, count in zip(*(side[::-1] for side in (spans, sizes, blocks, counts)), strict=True):
            starts.insert(0, jnp.minimum(low + index % number * size, count))
            index = index // number
        k_tile, v_tile, mask_tile = (tuple(map(_take, side, starts, sizes, _key_axes(side))) for side in arrays)
        if whole:
            return k_tile, v_tile, None, starts
        seen = jnp.ones((block, 1, *[1] * len(sizes)), bool)
        for t, (start, size) in enumerate(zip(starts, sizes, strict=True)):
            axis = visible(rows, start + jnp.arange(size), offsets[t], windows[t], mask_tile[t])
            shape = [1] * len(sizes)
            shape[t] = size
            seen = seen & axis.reshape(block, 1, *shape)
        return k_tile, v_tile, seen, starts

    return slices, math.prod(blocks)
