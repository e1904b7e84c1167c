"""Separable logits: the attention is the product of ordinary attentions, one a key axis.

    S = scale (q.k_1 + ... + q.k_(K-1)):   P[j_1, ...] = prod_t softmax(scale q.k_t)[j_t],
    out = prod_t softmax(scale q k_t^T) v_t,   L = sum_t L_t,

exact also under windows and masks, because visibility is a product over the axes: n m d instead of n m^2 d.
"""

import functools

import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.attention.kronecker.blockwise import attend
from jaxlib_methods.attention.kronecker.problem import Problem

__all__ = ["attend_separable"]


def attend_separable(problem: Problem, q, ks, vs, masks, offsets) -> tuple[Array, Array]:
    """As `blockwise.attend`, for separable logits."""
    parts = []
    for t in range(len(ks)):
        only = slice(t, t + 1)
        one = problem._replace(block_k=problem.block_k[only], windows=problem.windows and problem.windows[only])
        parts.append(attend(one, q, ks[only], vs[only], masks[only], offsets[only]))
    joined = lambda a, b: a * b
    if problem.values == "outer":
        joined = lambda a, b: (a[..., None] * b[..., None, :]).reshape(*a.shape[:-1], -1)
    out = functools.reduce(joined, [out for out, _ in parts])
    return out, functools.reduce(jnp.add, [lse for _, lse in parts])
