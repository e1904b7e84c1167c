"""Self-attention over all positions, where its kernel has a closed form.

    y = [a_1 v_1, ..., a_H v_H] W_out + b,    a_h = weights(scale q_h k_h^T / d^p),    q, k, v = x W_q, x W_k, x W_v,

d the width of a head. As heads and their width grow:

    scaling    W_q, W_k       p      a_h                          K' (T' is its derivative: products and sums)
    "linear"   the same       1      weights(scale Q), as q k^T   W_std^2 a_1 K a_2^T + b_std^2
                                     / d comes to the own
                                     covariance Q of the input
    "root"     independent    1/2    random; if the weights are   W_std^2 scale^2 K(p, p') sum_qr K(q, r)^2 + b_std^2
                                     the logits themselves

With "root" scaling and any other weights the kernel is an integral over Gaussian logits of all positions.

Hron, Bahri, Sohl-Dickstein and Novak, "Infinite attention: NNGP and NTK for deep attention networks", 2020.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.infinite_width.affine import Affine, dense
from jaxlib_methods.infinite_width.kernel_state import Extent, KernelState, Needs, Side
from jaxlib_methods.infinite_width.layer import Layer, product_state, serial
from jaxlib_methods.infinite_width.no_closed_form import refuse
from jaxlib_methods.infinite_width.pooling import all_pairs
from jaxlib_methods.infinite_width.position_maps import map_pairs, matrices
from jaxlib_methods.infinite_width.taps import PLAIN
from jaxlib_methods.numerics.checks import require, require_choice, require_finite, require_size

__all__ = ["Attention", "self_attention"]


class Attention(NamedTuple):
    """Parameters of self-attention: of the layer in front of the keys, and the weights; no queries where tied."""

    front: Any
    key: Affine
    query: Affine | None
    value: Affine
    out: Affine


def self_attention(
    width: int,
    heads: int,
    head_width: int,
    *,
    weights: Callable[[Array], Array] | None = jax.nn.softmax,
    scaling: str = "linear",
    logit_scale: float = 1.0,
    keys: Layer | None = None,
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    parametrization: str = "ntk",
) -> Layer:
    """Self-attention of all positions to all; images are attended to pixel by pixel.

    The kernel is exact as `heads` and `head_width` grow, and does not depend on them otherwise. For vectors of the
    positions see `positional_embedding`.

    Args:
      width: number of output channels.
      heads: H.
      head_width: d, channels of keys, queries and values of one head.
      weights: from logits (..., positions, positions) to what values are multiplied by; None for the logits.
      scaling: "linear" ties queries to keys and divides logits by d, "root" divides by its root.
      logit_scale: factor of the logits.
      keys: a layer that keeps positions, in front of keys and queries and not of values, for instance
        `residual(positional_embedding())`; None for none.
      weight_std: W_std, of the weights behind the heads; those of keys, queries and values have 1.
      bias_std: b_std; 0 for no bias.
      parametrization: "ntk" or "standard", see the module of `dense`.

    Raises:
      ValueError: if a size is below 1, a number or name is out of range, the input has no positions or `keys` changes
        them, and when a kernel is asked for with "root" scaling and weights that are not None.

    Cost: p^3 a pair of inputs of p positions with "linear" scaling, p^2 with "root".

    >>> layer = self_attention(4, heads=2, head_width=8)
    >>> params, shape = layer.init(jax.random.key(0), (5, 3))
    >>> layer.apply(params, jnp.ones((2, 5, 3))).shape
    (2, 5, 4)
    """
    require_size("heads", heads)
    require_size("head_width", head_width)
    require_choice("scaling", scaling, ("linear", "root"))
    require_finite("logit_scale", logit_scale)
    tied = scaling == "linear"
    front = serial() if keys is None else serial(keys)
    project = dense(heads * head_width, parametrization=parametrization)
    out = dense(width, weight_std=weight_std, bias_std=bias_std, parametrization=parametrization)

    def init(key, shape, dtype=jnp.float32):
        draws = jax.random.split(key, 5)
        before, seen = front.init(draws[0], shape, dtype)
        require(len(shape) > 1, "the input", "no spatial axes", "one at least, for self_attention")
        require(seen[:-1] == tuple(shape[:-1]), "keys", f"a layer from {tuple(shape)} to {seen}", "of equal positions")
        key, query, value = (
            project.init(draw, given, dtype)[0] for draw, given in zip(draws[1:4], (seen, seen, shape), strict=True)
        )
        params, after = out.init(draws[4], (*shape[:-1], heads * head_width), dtype)
        return Attention(before, key, None if tied else query, value, params), after

    def apply(params, x, *, key=None, taps=PLAIN, side=None):
        split = lambda y: y.reshape(len(x), -1, heads, head_width)
        seen = front.apply(params.front, x, key=key, taps=taps, side=side)
        k = split(project.apply(params.key, seen, taps=taps))
        q = k if tied else split(project.apply(params.query, seen, taps=taps))
        v = split(project.apply(params.value, x, taps=taps))
        logits = jnp.einsum("nphd,nqhd->nhpq", q, k) * (logit_scale * head_width ** (-1.0 if tied else -0.5))
        y = jnp.einsum("nhpq,nqhd->nphd", _attend(weights, logits, side), v)
        return out.apply(params.out, y.reshape(*x.shape[:-1], -1), taps=taps)

    def inner(wanted):
        return Needs(Extent.FULL, Extent.FULL if tied or wanted.own else Extent.NOTHING)

    def kernel(state, wanted):
        require(state.spatial > 0, "the input", "no spatial axes", "one at least, for self_attention")
        seen, values = front.kernel(state, inner(wanted)), project.kernel(state, inner(wanted))
        if tied:
            mixed = _by_covariance(weights, logit_scale, seen, values, wanted)
        else:
            logits = project.kernel(seen, inner(wanted))  # of queries and keys alike
            mixed = _by_logits(logit_scale, logits, values)
        return out.kernel(mixed, wanted)

    def needs(wanted):
        asked = front.needs(inner(wanted)), all_pairs(inner(wanted))
        return Needs(max(need.cross for need in asked), max(need.own for need in asked))

    if not tied and weights is not None:
        kernel = needs = refuse("self_attention of scaling 'root' whose weights are not the logits (None)")
    return Layer(init, apply, kernel, needs)


def _attend(weights: Callable | None, logits: Array, side: Side | None) -> Array:
    """The weights of values; absent positions have none."""
    weights = (lambda logits: logits) if weights is None else weights
    if side is None or side.mask is None:
        return weights(logits)
    present = side.mask.reshape(len(logits), *(1,) * (logits.ndim - 2), -1)
    return jnp.where(present, weights(jnp.where(present, logits, jnp.finfo(logits.dtype).min)), 0)


def _by_covariance(
    weights: Callable | None, scale: float, seen: KernelState, values: KernelState, wanted: Needs
) -> KernelState:
    """Values behind weights that are functions of the inputs' own covariances."""
    assert seen.own is not None
    sides = seen.side or (None, None)
    maps = [
        _attend(weights, scale * matrices(q, 1, seen.spatial), side) for q, side in zip(seen.own, sides, strict=True)
    ]
    values = values if wanted.own else replace(values, own=None)
    return map_pairs(values, (maps[0], maps[1]), values.nngp.shape[2::2], wanted)


def _by_logits(scale: float, logits: KernelState, values: KernelState) -> KernelState:
    """Values behind weights that are products of independent queries and keys."""
    total = lambda k, lead: jnp.sum(k, tuple(range(lead, k.ndim)), keepdims=True)
    met = product_state([logits, values]).map(lambda k: total(k, 2), lambda q: total(q, 1))
    grow = lambda k: scale**2 * k
    return product_state([logits, met]).map(grow, grow)
