"""Learnt vectors of positions: added to or joined with the channels, they tell positions apart.

    y(p) = std sum_q L_pq g_q,    g ~ N(0, 1),    L L^T = R,      K' = T' = std^2 R,

the same for all inputs.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.infinite_width.kernel_state import Extent, Needs, diagonal_part
from jaxlib_methods.infinite_width.layer import Layer
from jaxlib_methods.infinite_width.position_maps import from_matrices
from jaxlib_methods.numerics.checks import require, require_nonnegative, require_size

__all__ = ["positional_embedding"]


def positional_embedding(
    width: int | None = None, *, std: float = 1.0, covariance: Callable[[Array], Array] | None = None
) -> Layer:
    """Random vectors of the positions instead of the input.

    `parallel(identity(), positional_embedding())` adds them to the input, `combine="concat"` to its channels.

    Args:
      width: number of channels; that of the input if None.
      std: standard deviation.
      covariance: from squared distances between positions, in pixels, to R; None for independent vectors, R = 1.

    Raises:
      ValueError: if the width is below 1, `std` is negative, or the input has no positions.

    >>> params, shape = positional_embedding(4).init(jax.random.key(0), (5, 3))
    >>> positional_embedding(4).apply(params, jnp.ones((2, 5, 3))).shape
    (2, 5, 4)
    """
    if width is not None:
        require_size("width", width)
    require_nonnegative("std", std)

    def correlations(shape, dtype):
        require(len(shape) > 0, "the input", "no spatial axes", "one at least, for positional_embedding")
        if covariance is None:
            return jnp.eye(math.prod(shape), dtype=dtype)
        at = jnp.stack(jnp.meshgrid(*map(jnp.arange, shape), indexing="ij"), -1).reshape(-1, len(shape)).astype(dtype)
        return covariance(jnp.sum((at[:, None] - at[None]) ** 2, -1))

    def init(key, shape, dtype=jnp.float32):
        after = (*shape[:-1], shape[-1] if width is None else width)
        return jax.random.normal(key, after, dtype), after

    def apply(params, x, *, key=None, taps=None, side=None):
        vectors = params.reshape(-1, params.shape[-1])
        if covariance is not None:
            values, basis = jnp.linalg.eigh(correlations(x.shape[1:-1], params.dtype))
            root = jnp.sqrt(jnp.maximum(values, 0))
            vectors = jnp.einsum("pk,k,qk,qc->pc", basis, root, basis, vectors, precision="highest")
        y = std * vectors.reshape(params.shape)
        return jnp.broadcast_to(y, (len(x), *y.shape)).astype(x.dtype)

    def kernel(state, wanted):
        shape = state.nngp.shape[2 :: 2 if state.full else 1]
        pairs = std**2 * from_matrices(correlations(shape, state.nngp.dtype), shape)
        held = lambda extent: pairs if extent == Extent.FULL else diagonal_part(pairs, 0, len(shape))
        spread = lambda lead, extent: jnp.broadcast_to(held(extent), (*lead, *held(extent).shape))
        nngp = spread(state.nngp.shape[:2], wanted.cross)
        return replace(
            state,
            nngp=nngp,
            ntk=None if state.ntk is None else nngp,
            own=tuple(spread((rows,), wanted.own) for rows in nngp.shape[:2]) if wanted.own else None,
            channels=state.channels if width is None else width,
            gaussian=True,
        )

    return Layer(init, apply, kernel, lambda wanted: Needs(Extent.DIAGONAL, Extent.NOTHING))
