"""Order 3 under causal windows as a GPU kernel: trilinear logits on the tensor cores of Hopper.

A row is one position of one of the g query heads that share the keys; a program takes 64 rows. It visits the keys of
the first axis one at a time, those of the second in blocks of 64:

    S_j = scale (q o k_1j) k_2^T,   m' = max(m, max S_j),   P_j = e^(S_j - m'),
    weighted <- weighted e^(m - m') + (P_j v_2) o v_1j,   total <- total e^(m - m') + sum P_j,

two matrix products a step. Queries, running maxima, totals and averages stay in registers, the blocks of keys and
values at hand in shared memory, and no block is fetched that no row sees. The way back is that of `blockwise`, which
starts from the averages and log-sum-exps.

Written for Pallas with its Mosaic GPU backend; nothing chooses it unless asked by name. It is lowered for CUDA by a
test, run in interpret mode only, not yet run on a GPU.
Roy et al. 2025, "Fast and Simplex" (windows, and one axis in the loop beside the other in matrix products).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.experimental.pallas as pl
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.attention.kronecker.blockwise import attend_backward
from jaxlib_methods.attention.kronecker.problem import Problem
from jaxlib_methods.numerics.checks import require

__all__ = ["attend_pallas", "check_pallas"]

TILE = 64  # rows of a program, and keys of a block: the rows of one tensor-core product
WIDTHS = 64, 128  # of heads: whole swizzled rows of shared memory, and no more than registers hold
DTYPES = jnp.bfloat16, jnp.float16


def check_pallas(problem: Problem, q: Array, ks: Sequence[Array], vs: Sequence[Array], key_masks: Any) -> None:
    """Refuses what the kernel does not compute.

    Raises:
      ValueError: unless the order is 3, logits are trilinear, values products, keys causal without masks, and arrays
        all bfloat16 or all float16 with heads 64 or 128 wide.
    """
    needed = lambda what: f"{what} for impl='pallas'"
    require(len(ks) == 2, "ks", f"order {len(ks) + 1}", needed("of order 3"))
    require(problem.logits == "trilinear", "logits", repr(problem.logits), needed("'trilinear'"))
    require(problem.values == "product", "values", repr(problem.values), needed("'product'"))
    require(problem.windows is not None, "windows", "None", needed("given, or causal=True,"))
    require(not any(mask is not None for mask in key_masks or ()), "key_masks", "a mask", needed("None"))
    require(q.dtype in DTYPES, "the dtype of q", q.dtype, needed("bfloat16 or float16"))
    for name, side in (("q", (q,)), ("ks", ks), ("vs", vs)):
        for x in side:
            require(x.dtype == q.dtype, f"the dtype of {name}", x.dtype, needed(f"that of q, {q.dtype},"))
            require(x.shape[-1] in WIDTHS, f"the last axis of {name}", x.shape[-1], needed("64 or 128"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def attend_pallas(problem: Problem, simulator: Any, q, ks, vs) -> tuple[Array, Array]:
    """Causal attention of one key/value head; the last key of each axis stands at the last query.

    Args:
      problem: what stays fixed; its blocks are those of the way back.
      simulator: None on a GPU; elsewhere Pallas' `InterpretGPUParams`, under which any dtype and width runs.
      q: (n, g, d), g query heads that share the keys.
      ks: (m_t, d) for two key axes.
      vs: (m_t, e) for two key axes.

    Returns:
      The averages (n, g, e), zero where a query sees nothing, and log-sum-exps (n, g), there -inf; float32.

    Cost: at most 4 n g (w_1 + 64) (w_2 + 192) d. Memory beyond inputs and outputs: copies of queries, keys and values
    where their number of rows is no multiple of 64.
    """
    return _forward(problem, simulator, q, ks, vs)


def _forward(problem, simulator, q, ks, vs):
    n, group, _ = q.shape
    rows, *keys = map(_pad, (q.reshape(n * group, -1), *ks, *vs))
    averages = jax.ShapeDtypeStruct((rows.shape[0], vs[0].shape[1]), jnp.float32)
    sums = jax.ShapeDtypeStruct((rows.shape[0],), jnp.float32)
    shared = [plgpu.SMEM((TILE, *x.shape[1:]), x.dtype) for x in (*keys, averages, sums)]
    run = plgpu.kernel(
        functools.partial(_program, problem, _offsets(q, ks), (n, group), simulator is not None),
        out_type=[averages, sums],
        scratch_types=[*shared, plgpu.Barrier(num_barriers=2)],
        grid=(rows.shape[0] // TILE,),
        grid_names=("tile",),
        compiler_params=plgpu.CompilerParams(approx_math=True, lowering_semantics=plgpu.LoweringSemantics.Warpgroup),
        interpret=simulator,
    )
    out, lse = run(rows, *keys)
    return out[: n * group].reshape(n, group, -1), lse[: n * group].reshape(n, group)


def _save(problem, simulator, q, ks, vs):
    out, lse = _forward(problem, simulator, q, ks, vs)
    return (out, lse), (q, ks, vs, out, lse)


def _restore(problem, simulator, saved, cotangents):
    q, ks, vs, out, lse = saved
    masks = tuple(jnp.ones(k.shape[0], bool) for k in ks)
    gradients = attend_backward(problem, (q, ks, vs, masks, _offsets(q, ks), out, lse), cotangents)
    return jax.tree.map(lambda grad, x: grad.astype(x.dtype), gradients, (q, ks, vs))


attend_pallas.defvjp(_save, _restore)


def _offsets(q, ks):
    return tuple(q.shape[0] - k.shape[0] for k in ks)


def _pad(x):
    return jnp.pad(x, ((0, -x.shape[0] % TILE), (0, 0)))


def _program(problem, offsets, sizes, simulated, q, k1, k2, v1, v2, out, lse, *scratch):
    """One tile of rows: arrays in global memory, then a block of each key array and of the results in shared memory."""
    k1_block, k2_block, v1_block, v2_block, out_block, lse_block, arrived = scratch
    n, group = sizes
    index = jax.lax.axis_index("tile")
    start = index * TILE
    first, last = start // group, jnp.minimum((start + TILE - 1) // group, n - 1)
    row = plgpu.broadcasted_iota(jnp.int32, (TILE,), 0)
    position = jax.lax.div(start + row, jnp.full_like(row, group))
    column = plgpu.broadcasted_iota(jnp.int32, (TILE, TILE), 1)

    def fetch(block, *pairs):
        plgpu.commit_smem()  # orders the reads of the last block before the copies that overwrite it
        for slot, (source, target) in enumerate(pairs):
            plgpu.copy_gmem_to_smem(source.at[pl.ds(block * TILE, TILE)], target, arrived.at[slot])
        for slot in range(len(pairs)):
            plgpu.barrier_wait(arrived.at[slot])

    def span(axis):
        """The keys that any row sees: first and one beyond the last."""
        low = first - problem.windows[axis] + 1 - offsets[axis]
        return jnp.maximum(low, 0), jnp.maximum(last + 1 - offsets[axis], 0)

    def seen(axis, last_key, key):
        distance = last_key - key
        return (distance >= 0) & (distance < problem.windows[axis])

    def second_axis(block, carry):
        fetch(block, (k2, k2_block), (v2, v2_block))
        return jax.lax.fori_loop(*_blocks(*span(0)), functools.partial(first_axis, column + block * TILE), carry)

    def first_axis(second_keys, block, carry):
        fetch(block, (k1, k1_block), (v1, v1_block))
        low, high = span(0)

        def step(key, carry):
            maximum, total, weighted = carry
            k1_row, v1_row = k1_block[key - block * TILE], v1_block[key - block * TILE].astype(jnp.float32)
            logits = problem.scale * _product(query * _across(k1_row, query), k2_block, True, simulated)
            reach = jnp.where(seen(0, position - offsets[0], key), position - offsets[1], -1)
            logits = jnp.where(seen(1, _down(reach, second_keys), second_keys), logits, -jnp.inf)
            new = jnp.maximum(maximum, logits.max(1))
            weights = jnp.exp(logits - _down(new, logits))
            shrink = jnp.exp(maximum - new)
            part = _product(weights.astype(query.dtype), v2_block, False, simulated)
            weighted = weighted * _down(shrink, weighted) + part * _across(v1_row, part)
            return new, total * shrink + weights.sum(1), weighted

        return jax.lax.fori_loop(jnp.maximum(low, block * TILE), jnp.minimum(high, (block + 1) * TILE), step, carry)

    fetch(index, (q, k2_block))  # whose shared memory is free until the first keys come
    query = k2_block[...]
    zeros = functools.partial(jnp.zeros, dtype=jnp.float32)
    carry = zeros(TILE) + float(jnp.finfo(jnp.float32).min) / 2, zeros(TILE), zeros(out_block.shape)
    maximum, total, weighted = jax.lax.fori_loop(*_blocks(*span(1)), second_axis, carry)
    some = total > 0
    safe = jnp.where(some, total, 1)
    out_block[...] = weighted / _down(safe, weighted)
    lse_block[...] = jnp.where(some, maximum + jnp.log(safe), -jnp.inf)
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(out_block, out.at[pl.ds(start, TILE)])
    plgpu.copy_smem_to_gmem(lse_block, lse.at[pl.ds(start, TILE)])
    plgpu.wait_smem_to_gmem(0)


def _product(a, b, transposed, simulated):
    """a b, or a b^T, in float32; `a` in registers, `b` in shared memory.

    Only here do the compiled and the simulated kernel differ: the simulator of jax 0.10 takes both factors of a
    tensor-core product from shared memory, so under it the product is `jnp.dot`.
    """
    if simulated:
        return jnp.dot(a, b[...].T if transposed else b[...], preferred_element_type=jnp.float32)
    b = b.transpose((1, 0)) if transposed else b

    def accumulate(total):
        plgpu.wgmma(total, a, b)
        return total[...]

    return pl.run_scoped(accumulate, plgpu.WGMMAAccumulatorRef((a.shape[0], b.shape[1]), jnp.float32))


def _blocks(low, high):
    return low // TILE, (high + TILE - 1) // TILE


def _down(column, like):
    return jax.lax.broadcast_in_dim(column, like.shape, (0,))


def _across(row, like):
    return jax.lax.broadcast_in_dim(row, like.shape, (1,))
