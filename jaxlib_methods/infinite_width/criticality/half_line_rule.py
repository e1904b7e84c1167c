"""Gaussian expectations of functions of one number that may have a kink at 0.

    E f(z) = sum_i w_i f(K^(1/2) u_i),    z ~ N(0, K).

Gauss-Legendre rules on panels that double in width away from 0, on both sides. A kink at 0 stays on the border of
panels at every K, so that derivatives in K are exact too, and poles near 0, as those of tanh, find short panels there.
Gauss-Hermite rules lose their digits on the first and, at large K, on the second.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

EDGES = (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 7, 12)


def half_line_rule(dtype: jnp.dtype) -> tuple[Float[Array, " q"], Float[Array, " q"]]:
    """Nodes u and weights w, 360 of them, for N(0, 1)."""
    nodes, weights = _rule()
    return jnp.asarray(nodes, dtype), jnp.asarray(weights, dtype)


@functools.cache
def _rule() -> tuple[np.ndarray, np.ndarray]:
    x, w = np.polynomial.legendre.leggauss(20)
    low, high = (np.array(edges)[:, None] for edges in (EDGES[:-1], EDGES[1:]))
    nodes = ((high + low + (high - low) * x) / 2).ravel()
    weights = ((high - low) / 2 * w).ravel() * np.exp(-(nodes**2) / 2)
    nodes, weights = np.concatenate([-nodes[::-1], nodes]), np.concatenate([weights[::-1], weights])
    return nodes, weights / weights.sum()
