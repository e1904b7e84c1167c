"""The definition as it stands: all logits at once, memory n m_1 ... m_(K-1); for tests and very short sequences."""

import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.attention.kronecker.logits import FAMILIES, VALUES
from jaxlib_methods.attention.kronecker.problem import Problem, visible

__all__ = ["attend_reference"]


def attend_reference(problem: Problem, q, ks, vs, masks, offsets) -> tuple[Array, Array]:
    """As `blockwise.attend`, with every logit held at once and plain automatic differentiation."""
    n, group, _ = q.shape
    rows = q.reshape(n * group, -1)
    logits = FAMILIES[problem.logits].tile(rows, ks, problem.scale, problem.precision)
    windows = problem.windows or (None,) * len(ks)
    seen = jnp.ones((n, 1, *[1] * len(ks)), bool)
    for t, (k, window) in enumerate(zip(ks, windows, strict=True)):
        axis = visible(jnp.arange(n), jnp.arange(k.shape[0]), offsets[t], window, masks[t])
        shape = [1] * len(ks)
        shape[t] = k.shape[0]
        seen = seen & axis.reshape(n, 1, *shape)
    seen = jnp.broadcast_to(seen, (n, group, *logits.shape[1:])).reshape(logits.shape)
    axes = tuple(range(1, logits.ndim))
    lowest = jnp.finfo(logits.dtype).min / 2
    maximum = jnp.max(logits, axes, where=seen, initial=lowest, keepdims=True)
    weights = jnp.where(seen, jnp.exp(jnp.where(seen, logits - maximum, 0)), 0)
    total = weights.sum(axes)
    some = total > 0
    safe = jnp.where(some, total, 1)
    out = VALUES[problem.values](weights, vs, problem.precision) / safe[:, None]
    lse = jnp.where(some, maximum.reshape(-1) + jnp.log(safe), -jnp.inf)
    return out.reshape(n, group, -1), lse.reshape(n, group)
