"""Absent positions: pixels missing, or behind the end of a sequence, which layers must not mistake for zeros.

Each layer says by `Layer.presence`, for every position of its output, what share of what it sees is present, or just
whether the position is. Outputs are divided by this share and are 0 where it is 0, for the layers behind, too: of means
remain the means over present positions, while sums, filters and flattened vectors see zeros. Behind a filter a position
is present if the middle of what the filter sees is, behind a pool if anything is; so with padding "SAME" a sequence is
mapped as it would be without what comes behind its end. `serial` and `parallel` do this between their layers; without a
mask nothing is done.
"""

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.infinite_width.kernel_state import KernelState, Side, at_pairs

__all__ = ["present_inputs", "present_state", "present_values", "unchanged"]


def unchanged(side: Side) -> Array:
    """The presence of layers that act at each position alone."""
    assert side.mask is not None
    return side.mask


def present_inputs(x: Array, side: Side | None) -> Array:
    """Inputs with 0 where nothing is present, whatever stands there."""
    return x if side is None or side.mask is None else jnp.where(side.mask[..., None], x, 0)


def present_values(presence: Callable[[Side], Array], side: Side | None, y: Array) -> tuple[Array, Side | None]:
    """The outputs of a layer with `presence` and what belongs to them, from its outputs without a mask."""
    if side is None or side.mask is None:
        return y, side
    share = presence(side)
    return y * _inverse(share, y.dtype)[..., None], side._replace(mask=share > 0)


def present_state(presence: Callable[[Side], Array], side: tuple[Side, Side] | None, state: KernelState) -> KernelState:
    """The same for the covariances of outputs; `side` is that of the layer's inputs."""
    if side is None or side[0].mask is None:
        return state
    shares = [presence(one) for one in side]
    scales = [_inverse(share, state.nngp.dtype) for share in shares]
    if state.full:
        cross = at_pairs(scales[0])[0][:, None] * at_pairs(scales[1])[1][None]
    else:
        cross = scales[0][:, None] * scales[1][None]
    own = state.own
    if own is not None:
        within = [a * b for a, b in map(at_pairs, scales)] if state.own_full else [scale**2 for scale in scales]
        own = tuple(q * scale for q, scale in zip(own, within, strict=True))
    state = state.map(lambda k: k * cross, lambda q: q)
    sides = tuple(one._replace(mask=share > 0) for one, share in zip(side, shares, strict=True))
    return replace(state, own=own, side=sides)


def _inverse(share: Array, dtype) -> Array:
    """1 / share, and 0 where nothing is present."""
    return jnp.where(share > 0, 1 / jnp.where(share > 0, share, 1).astype(dtype), 0)
