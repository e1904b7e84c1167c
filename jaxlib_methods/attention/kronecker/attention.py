"""Kronecker attention: a query attends to tuples of keys under one joint softmax.

    S[i, j_1, ..., j_(K-1)] = scale sum_c q[i, c] prod_t k_t[j_t, c],
    out[i] = sum over tuples of softmax(S[i]) prod_t v_t[j_t],

order K = 2 being ordinary attention. Other logit families: `attention.kronecker.logits`.
Alman and Song, "How to Capture Higher-order Correlations? Generalizing Matrix Softmax Attention to Kronecker
Computation", 2024, section 3; Roy et al., "Fast and Simplex", 2025 (windows, biases, grouped heads).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from jaxlib_methods.attention.kronecker.blockwise import attend
from jaxlib_methods.attention.kronecker.heads import (
    add_bias,
    check_heads,
    full_masks,
    make_problem,
    make_windows,
    over_heads,
)
from jaxlib_methods.attention.kronecker.logits import FAMILIES, VALUES
from jaxlib_methods.attention.kronecker.reference import attend_reference
from jaxlib_methods.attention.kronecker.separable import attend_separable
from jaxlib_methods.attention.kronecker.sharding import halo_attend, ring_attend
from jaxlib_methods.attention.kronecker.strassen import attend_strassen
from jaxlib_methods.numerics.checks import require, require_choice

__all__ = ["kron_attention", "kron_attention_with_lse"]

IMPLEMENTATIONS = ("auto", "reference", "blockwise", "separable", "strassen", "pallas")

Heads = tuple[Float[Array, "..."], ...]


def kron_attention(
    q: Float[Array, "*batch n h d"],
    ks: Heads,
    vs: Heads,
    *,
    scale: float | None = None,
    causal: bool = False,
    windows: int | tuple[int, ...] | None = None,
    key_masks: tuple[Bool[Array, "..."] | None, ...] | None = None,
    k_bias: float = 0.0,
    v_bias: float = 0.0,
    logits: str = "trilinear",
    values: str = "product",
    impl: str = "auto",
    block_q: int = 32,
    block_k: int | tuple[int, ...] | None = None,
    precision: str | None = None,
    mesh: Mesh | None = None,
    axis: str = "data",
    batch_axis: str | None = None,
    head_axis: str | None = None,
) -> Float[Array, "*batch n h e"]:
    """Attends from each query to all tuples of keys, one key of each axis.

    Args:
      q: queries.
      ks: keys of K - 1 >= 1 axes, each (*batch, m_t, kv, d); kv divides h, and h / kv query heads share a key head.
      vs: values of the same axes, each (*batch, m_t, kv, e).
      scale: factor of the logits; 1 / sqrt(d) if None, 1 for norm logits. The theory papers use 1 / d.
      causal: sees keys up to the query's own position only. The last key of each axis stands at the last query.
      windows: number of keys up to its own that a query sees on each axis, one for all or one an axis; makes it causal.
      key_masks: for each axis a mask (*batch, m_t), False where a key is absent, or None.
      k_bias: added to the keys of all axes but the first. 1 / d with `v_bias` 1 starts a layer whose k_2 and v_2 are
        near zero as ordinary attention.
      v_bias: added to the values of all axes but the first.
      logits: "trilinear", "separable" (any order), "strassen", "determinant" or "norm" (order 3).
      values: "product" averages v_1 o ... o v_(K-1); "outer" averages v_1 (x) ... (x) v_(K-1), flattened to e^(K-1).
      impl: "auto" takes "separable" or "strassen" for those logits and "blockwise" for the others; "reference" holds
        every logit. "strassen" falls back to "blockwise" where its sums would underflow. "pallas" is a kernel for
        Hopper GPUs, never taken by "auto": order 3, trilinear logits and product values, causal, no masks or mesh,
        bfloat16 or float16, d and e 64 or 128. It is lowered for CUDA by a test, run in interpret mode only, not yet
        run on a GPU. Its own tiles are 64 x 64; `block_q` and `block_k` are those of its gradient.
      block_q: query positions of a tile.
      block_k: keys of a tile, one for all axes or one an axis; if None, tiles of 2^20 logits over all
        heads and batch entries, of 2^17 a head at least.
      precision: of the matrix products, "highest" for full float32 on TPU and GPU.
      mesh: devices over which the sequence is split; n and m_t need not divide. With `windows` each device fetches the
        window - 1 keys before its own from its neighbours; otherwise keys travel round the ring, nested for each axis.
      axis: mesh axis of the sequence.
      batch_axis: mesh axis over which the first batch dimension is split, with `mesh`.
      head_axis: mesh axis over which the heads are split, with `mesh`; its size must divide kv.

    Returns:
      Averages in the queries' dtype; zero where a query sees no key.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes, sizes or names do not fit, or "pallas" meets a CPU.

    Cost: 4 n prod_t m_t d, 12 for the gradient; each m_t is at most window + block under windows. Memory beyond inputs
    and outputs: one tile, h block_q prod_t block_k numbers for each batch entry; for "strassen" three n x m matrices.

    >>> x = jnp.arange(4.0).reshape(4, 1, 1)
    >>> kron_attention(0 * x, (x, x), (x, x))[:, 0, 0].tolist()  # mean(v1) mean(v2)
    [2.25, 2.25, 2.25, 2.25]
    """
    options: dict[str, Any] = dict(scale=scale, causal=causal, windows=windows, key_masks=key_masks)
    options |= dict(k_bias=k_bias, v_bias=v_bias)
    options |= dict(logits=logits, values=values, impl=impl, block_q=block_q, block_k=block_k, precision=precision)
    options |= dict(mesh=mesh, axis=axis, batch_axis=batch_axis, head_axis=head_axis)
    return kron_attention_with_lse(q, ks, vs, **options)[0]


def kron_attention_with_lse(
    q: Float[Array, "*batch n h d"],
    ks: Heads,
    vs: Heads,
    *,
    scale: float | None = None,
    causal: bool = False,
    windows: int | tuple[int, ...] | None = None,
    key_masks: tuple[Bool[Array, "..."] | None, ...] | None = None,
    k_bias: float = 0.0,
    v_bias: float = 0.0,
    logits: str = "trilinear",
    values: str = "product",
    impl: str = "auto",
    block_q: int = 32,
    block_k: int | tuple[int, ...] | None = None,
    precision: str | None = None,
    mesh: Mesh | None = None,
    axis: str = "data",
    batch_axis: str | None = None,
    head_axis: str | None = None,
) -> tuple[Float[Array, "*batch n h e"], Float[Array, "*batch n h"]]:
    """The averages and the log-sum-exps of the logits, both differentiable. Args, errors and cost as `kron_attention`.

    The log-sum-exps are float32 or wider, and -inf where a query sees no key. Results over disjoint sets of keys merge
    with weights softmax(lse).

    >>> x = jnp.zeros((4, 1, 1))
    >>> round(float(kron_attention_with_lse(x, (x, x), (x, x))[1][0, 0]), 3)  # log 16
    2.773
    """
    require_choice("logits", logits, tuple(FAMILIES))
    require_choice("values", values, tuple(VALUES))
    check_heads(q, ks, vs, values)
    require_choice("impl", impl, IMPLEMENTATIONS)
    order, family = len(ks) + 1, FAMILIES[logits]
    require(family.order in (None, order), "ks", f"order {order}", f"of order {family.order} for {logits} logits")
    if impl in ("separable", "strassen"):
        require(impl == logits, "logits", repr(logits), f"{impl!r} for impl={impl!r}")
    require(impl != "strassen" or values == "product", "values", repr(values), "'product' for impl='strassen'")
    q, ks, vs = jax.tree.map(jnp.asarray, (q, tuple(ks), tuple(vs)))
    lengths = [k.shape[-3] for k in ks]
    spans = make_windows(windows, causal, q.shape[-3], lengths)
    problem = make_problem(q, ks, scale, spans, logits, values, block_q, block_k, precision)
    problem = problem._replace(masked=mesh is not None or any(mask is not None for mask in key_masks or ()))
    masks, ks, vs = full_masks(key_masks, ks), add_bias(ks, k_bias), add_bias(vs, v_bias)
    if family.symmetric and values == "product":  # the longest axis last, where a tile is one tall matrix product
        by_length = sorted(range(len(ks)), key=lambda t: min(lengths[t], spans[t] if spans else lengths[t]))
        pick = lambda side: tuple(side[t] for t in by_length)
        problem = problem._replace(windows=spans and pick(spans), block_k=pick(problem.block_k))
        ks, vs, masks = pick(ks), pick(vs), pick(masks)

    if mesh is not None:
        require(impl in ("auto", "blockwise"), "impl", repr(impl), "'auto' or 'blockwise' with a mesh")
        spread = halo_attend if windows is not None else ring_attend
        out, lse = spread(problem, q, ks, vs, masks, mesh, axis, batch_axis, head_axis)
    elif impl == "reference":
        out, lse = over_heads(functools.partial(attend_reference, problem), q, ks, vs, masks)
    elif impl == "pallas":
        from jaxlib_methods.attention.kronecker.pallas import attend_pallas, check_pallas  # a second to import

        check_pallas(problem, q, ks, vs, key_masks)
        out, lse = over_heads(lambda q, ks, vs, *_: attend_pallas(problem, None, q, ks, vs), q, ks, vs, masks)
    elif logits == "separable" and impl != "blockwise":
        out, lse = over_heads(functools.partial(attend_separable, problem), q, ks, vs, masks)
    elif logits == "strassen" and values == "product" and impl != "blockwise":
        fast, slow = (functools.partial(f, problem) for f in (attend_strassen, attend))
        out, lse, fine = over_heads(fast, q, ks, vs, masks)
        out, lse = jax.lax.cond(jnp.all(fine), lambda: (out, lse), lambda: over_heads(slow, q, ks, vs, masks))
    else:
        out, lse = over_heads(functools.partial(attend, problem), q, ks, vs, masks)
    return out.astype(q.dtype), lse
