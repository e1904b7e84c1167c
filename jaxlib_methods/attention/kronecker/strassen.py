"""Strassen logits by matrix products: three n x n factors instead of the cube, then one matrix product a channel.

    S[i, j, l] = scale (q_i.k_j + k_j.k'_l + k'_l.q_i),   E_1 = e^(scale q k^T),  E_2 = e^(scale k k'^T),  E_3 = ...
    out[i, c] = sum_jl E_1[i, j] v[j, c] E_2[j, l] v'[l, c] E_3[i, l] / sum_jl E_1[i, j] E_2[j, l] E_3[i, l]

The factors are formed relative to their largest entries (by row, by row, and overall), whose sum bounds a row's
logits. Where the bound is so far above the row's log-sum-exp that the sums would underflow, all is computed blockwise.
Kozachinskiy et al. 2025, "Strassen attention", section 3.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.attention.kronecker.logits import dot
from jaxlib_methods.attention.kronecker.problem import Problem, visible

__all__ = ["LARGEST_SPREAD", "attend_strassen"]

LARGEST_SPREAD = 60.0


def attend_strassen(problem: Problem, q, ks, vs, masks, offsets) -> tuple[Array, Array, Array]:
    """As `blockwise.attend`, for Strassen logits; and whether every row's sums stayed in range."""
    n, group, _ = q.shape
    rows = q.reshape(n * group, -1)
    windows = problem.windows or (None, None)
    precision = problem.precision

    def side(t):
        logits = problem.scale * dot(rows, ks[t], precision)
        seen = visible(jnp.arange(n), jnp.arange(ks[t].shape[0]), offsets[t], windows[t], masks[t])
        return _exponential(logits, jnp.repeat(seen, group, 0), 1)

    (first, first_max), (last, last_max) = side(0), side(1)
    between = problem.scale * dot(ks[0], ks[1], precision)
    middle, middle_max = _exponential(between, masks[0][:, None] & masks[1][None], (0, 1))
    bound = first_max[:, 0] + last_max[:, 0] + middle_max[0]
    product = lambda a, b: jnp.matmul(a, b, precision=precision)

    total = jnp.sum(product(first, middle) * last, 1)
    dtype = total.dtype

    @jax.checkpoint
    def channel(values):
        v, w = (x.astype(dtype)[None] for x in values)
        return jnp.sum(product(first * v, middle) * (last * w), 1)

    weighted = jax.lax.map(channel, (vs[0].T, vs[1].T)).T
    blind = ~((first.max(1) > 0) & (last.max(1) > 0))
    fine = jnp.all(blind | (total > jnp.exp(-LARGEST_SPREAD)))
    some = total > 0
    safe = jnp.where(some, total, 1)
    lse = jnp.where(some, bound + jnp.log(safe), -jnp.inf)
    return (weighted / safe[:, None]).reshape(n, group, -1), lse.reshape(n, group), fine


def _exponential(logits, seen, axes):
    """e^(logits - max) where seen, else 0; and the maximum, 0 where nothing is seen."""
    maximum = jnp.max(logits, axes, where=seen, initial=jnp.finfo(logits.dtype).min / 2, keepdims=True)
    maximum = jax.lax.stop_gradient(jnp.where(maximum > jnp.finfo(logits.dtype).min / 4, maximum, 0))
    return jnp.where(seen, jnp.exp(jnp.where(seen, logits - maximum, 0)), 0), maximum
