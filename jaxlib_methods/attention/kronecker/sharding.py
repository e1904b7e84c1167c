"""Sequences split over devices: neighbours' keys under windows, a ring of keys without.

Windows: a query sees at most the w_t - 1 keys before its own, so each device fetches these from the devices before it
(`ppermute`, one a device reached) and works alone from there.

Ring: queries stay, the keys of the last axis pass round all devices, and after each full turn those of the axis before
it move on by one, P^(K-1) steps in all. Every step is a blockwise attention over the keys at hand, joined to the rest
by log-sum-exps. On the way back the gradients of the keys travel with the keys. No device ever holds more than its
share of every axis.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P

from jaxlib_methods.attention.kronecker.blockwise import attend, attend_backward, attend_forward, zeros_beside
from jaxlib_methods.attention.kronecker.heads import over_heads
from jaxlib_methods.attention.kronecker.problem import Problem
from jaxlib_methods.numerics.checks import require, require_choice

__all__ = ["fetch_before", "halo_attend", "ring_attend", "split_sequence"]


def split_sequence(local, q, ks, vs, masks, mesh: Mesh, axis, batch_axis, head_axis):
    """Runs `local(q, ks, vs, masks)` on each device's part; sequences are padded at their end, padding is masked."""
    for name in (axis, batch_axis, head_axis):
        require_choice("the mesh axis", name or axis, mesh.axis_names)
    require(batch_axis is None or q.ndim > 3, "batch_axis", repr(batch_axis), "None for arrays without a batch")
    shards, n = mesh.shape[axis], q.shape[-3]
    lead = [batch_axis if i == 0 else None for i in range(q.ndim - 3)]
    rows, mask_rows = P(*lead, axis, head_axis, None), P(*lead, axis)
    heads = ks[0].shape[-2]
    split = 1 if head_axis is None else mesh.shape[head_axis]
    require(heads % split == 0, "the number of key heads", heads, f"a multiple of {head_axis}={split}")
    padded = lambda x, place: jnp.pad(x, [(0, -s % shards if i == place else 0) for i, s in enumerate(x.shape)])
    sequence = q.ndim - 3
    q, ks, vs, masks = jax.tree.map(lambda x: padded(x, sequence), (q, ks, vs, masks))
    side = (rows,) * len(ks)
    out, lse = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(rows, side, side, (mask_rows,) * len(ks)),
        out_specs=(rows, P(*lead, axis, head_axis)),
    )(q, ks, vs, masks)
    return jax.lax.slice_in_dim(out, 0, n, axis=sequence), jax.lax.slice_in_dim(lse, 0, n, axis=sequence)


def fetch_before(x, count: int, axis: str, place: int):
    """Inside shard_map: puts before this device's part the `count` entries that precede it; zeros before the first."""
    length, shards = x.shape[place], jax.lax.axis_size(axis)
    parts = []
    for hop in range(1, min(shards - 1, -(-count // length)) + 1):
        needed = min(length, count - (hop - 1) * length)
        tail = jax.lax.slice_in_dim(x, length - needed, length, axis=place)
        parts.insert(0, jax.lax.ppermute(tail, axis, [(source, source + hop) for source in range(shards - hop)]))
    return jnp.concatenate([*parts, x], axis=place)


def halo_attend(problem: Problem, q, ks, vs, masks, mesh, axis, batch_axis, head_axis):
    """Windowed attention; all sequences have the queries' length."""
    for t, k in enumerate(ks):
        require(k.shape[-3] == q.shape[-3], f"the length of ks[{t}]", k.shape[-3], f"that of q, {q.shape[-3]}")

    def local(q, ks, vs, masks):
        place = q.ndim - 3
        ks, vs, masks = (
            tuple(fetch_before(x, w - 1, axis, place) for x, w in zip(side, problem.windows or (), strict=True))
            for side in (ks, vs, masks)
        )
        return over_heads(functools.partial(attend, problem), q, ks, vs, masks)

    return split_sequence(local, q, ks, vs, masks, mesh, axis, batch_axis, head_axis)


def ring_attend(problem: Problem, q, ks, vs, masks, mesh, axis, batch_axis, head_axis):
    """Attention over whole sequences, causal or not."""
    shifts = tuple(q.shape[-3] - k.shape[-3] for k in ks)

    def local(q, ks, vs, masks):
        ring = functools.partial(_ring, problem, (axis, mesh.shape[axis], shifts))
        return over_heads(lambda q, ks, vs, masks, _: ring(q, ks, vs, masks), q, ks, vs, masks)

    return split_sequence(local, q, ks, vs, masks, mesh, axis, batch_axis, head_axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _ring(problem, ring, q, ks, vs, masks):
    return _ring_forward(problem, ring, q, ks, vs, masks)[0]


def _ring_forward(problem, ring, q, ks, vs, masks):
    wide = jnp.promote_types(q.dtype, jnp.float32)

    def step(offsets, state, travelling):
        (ks, vs, masks), (out, lse) = travelling, state
        part, part_lse = attend_forward(problem, q, ks, vs, masks, offsets)
        return _merge(out, lse, part, part_lse), travelling

    width = vs[0].shape[-1] if problem.values == "product" else math.prod(v.shape[-1] for v in vs)
    zeros = functools.partial(zeros_beside, (q, ks, vs, masks), dtype=wide)
    start = zeros((*q.shape[:-1], width)), zeros(q.shape[:-1]) - jnp.inf
    out, lse = _round(step, ring, q, start, (ks, vs, masks))[0]
    return (out, lse), (q, ks, vs, masks, out, lse)


def _ring_backward(problem, ring, saved, cotangents):
    q, ks, vs, masks, out, lse = saved
    wide = jnp.promote_types(q.dtype, jnp.float32)

    def step(offsets, dq, travelling):
        ks, vs, masks, dks, dvs = travelling
        part = attend_backward(problem, (q, ks, vs, masks, offsets, out, lse), cotangents)
        dq, dks, dvs = jax.tree.map(jnp.add, (dq, dks, dvs), part)
        return dq, (ks, vs, masks, dks, dvs)

    zeros = lambda x: zeros_beside((q, ks, vs, masks, cotangents), x.shape, wide)
    travelling = ks, vs, masks, tuple(map(zeros, ks)), tuple(map(zeros, vs))
    dq, (*_, dks, dvs) = _round(step, ring, q, zeros(q), travelling)
    return *jax.tree.map(lambda grad, x: grad.astype(x.dtype), (dq, dks, dvs), (q, ks, vs)), None


_ring.defvjp(_ring_forward, _ring_backward)


def _round(step, ring, q, state, travelling):
    """Takes `step(offsets, state, travelling)` at every combination of key parts; all are home again at the end."""
    axis, shards, shifts = ring
    here = jax.lax.axis_index(axis)
    lengths = [k.shape[0] for k in travelling[0]]
    onward = [(source, (source + 1) % shards) for source in range(shards)]

    def turn(depth, state, travelling, sources):
        if depth == len(lengths):
            offsets = tuple(
                source * length - here * q.shape[0] + shift
                for source, length, shift in zip(sources, lengths, shifts, strict=True)
            )
            return step(offsets, state, travelling)

        def one(carry, index):
            state, travelling = turn(depth + 1, carry[0], carry[1], (*sources, (here - index) % shards))
            move = lambda x: jax.lax.ppermute(x, axis, onward)
            moved = [tuple(move(x) if t == depth else x for t, x in enumerate(side)) for side in travelling]
            return (state, tuple(moved)), None

        return jax.lax.scan(one, (state, travelling), jnp.arange(shards))[0]

    return turn(0, state, travelling, ())


def _merge(out, lse, part, part_lse):
    """Joins averages over disjoint key sets by their log-sum-exps; -inf is an empty set."""
    top = jnp.maximum(lse, part_lse)
    finite = jnp.where(jnp.isneginf(top), 0, top)
    a, b = jnp.exp(lse - finite), jnp.exp(part_lse - finite)
    total = a + b
    safe = jnp.where(total > 0, total, 1)
    merged = (out * a[..., None] + part * b[..., None]) / safe[..., None]
    return merged, jnp.where(total > 0, finite + jnp.log(safe), -jnp.inf)
