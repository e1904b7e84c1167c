"""Layers that act at each position alone: activations, normalisation over channels, dropout."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.infinite_width.dual import DualActivation
from jaxlib_methods.infinite_width.dual_activations import dual_activation
from jaxlib_methods.infinite_width.kernel_state import (
    Extent,
    KernelState,
    Needs,
    at_pairs,
    diagonal_part,
    equal_positions,
    same_entries,
    variances,
)
from jaxlib_methods.infinite_width.layer import Layer, linear_layer
from jaxlib_methods.numerics.checks import require, require_positive

__all__ = ["activation", "dropout", "layer_norm"]


def activation(function: str | Callable[[Array], Array] | DualActivation) -> Layer:
    """An entrywise nonlinearity: K' = V(q1, K, q2), T' = V'(q1, K, q2) T.

    Args:
      function: anything that `dual_activation` takes: a name, a function or a dual.

    Raises:
      ValueError: if the name is unknown, and, when the kernel is computed, if the layer before does not make centred
        Gaussian channels (put a layer of weights in front).

    >>> activation("relu").apply((), jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    dual = dual_activation(function)

    def kernel(state, wanted):
        _require_gaussian(state, f"activation {dual.name}")
        q1, q2 = variances(state)
        result = dual.both(q1, q2, state.nngp)
        if state.same is not None:  # from the variance, where rounding in 1 - c would cost half of the digits
            same = same_entries(state)
            exact = dual.both(q1, q1, q1)
            result = [jnp.where(same, one, other) for one, other in zip(exact, result, strict=True)]
        value, slope = result
        return replace(
            state,
            nngp=value,
            ntk=None if state.ntk is None else slope * state.ntk,
            own=tuple(_own(q, dual, state) for q in state.own) if wanted.own else None,
            gaussian=False,
        )

    return linear_layer(dual.activation, lambda shape: shape, kernel, _with_variances)


def layer_norm(*, eps: float = 1e-12) -> Layer:
    """Normalisation over channels to mean 0 and variance 1, without parameters.

        K' = K / ((q1 + eps)(q2 + eps))^(1/2),    T' the same multiple of T.

    Args:
      eps: added to variances.

    Raises:
      ValueError: if `eps` is not positive, and, when the kernel is computed, if the layer before does not make centred
        channels: behind a nonlinearity the mean over channels has no share in the kernel that is tracked.

    >>> layer_norm().apply((), jnp.array([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """
    require_positive("eps", eps)

    def apply(x):
        centred = x - jnp.mean(x, -1, keepdims=True)
        return centred * jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + eps)

    def kernel(state, wanted):
        _require_gaussian(state, "layer_norm")
        q1, q2 = (jax.lax.rsqrt(q + eps) for q in variances(state))
        normalise = lambda k: k * q1 * q2
        own = None
        if wanted.own:
            own = tuple(_normalised(q, eps, state) for q in state.own)
        ntk = None if state.ntk is None else normalise(state.ntk)
        return replace(state, nngp=normalise(state.nngp), ntk=ntk, own=own)

    return linear_layer(apply, lambda shape: shape, kernel, _with_variances)


def dropout(rate: float) -> Layer:
    """Sets channels to zero with a probability and divides by that of the others.

    Two different inputs, or positions, see independent masks: only the covariance of an entry with itself grows, by
    1 / (1 - rate). Without a key, `apply` drops nothing.

    Args:
      rate: probability, at least 0 and below 1.

    Raises:
      ValueError: if the rate is out of range.

    >>> dropout(0.5).apply((), jnp.ones(2)).tolist()
    [1.0, 1.0]
    """
    require(0 <= rate < 1, "rate", rate, "at least 0 and below 1")
    keep = 1 - rate

    def apply(params, x, *, key=None, taps=None, side=None):
        if key is None:
            return x
        return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0)

    def kernel(state, wanted):
        grow = lambda k, where: jnp.where(where, k / keep, k)
        cross = lambda k: k
        if state.same is not None:
            same = same_entries(state)
            cross = lambda k: grow(k, same)
        positions = state.spatial if state.own_full else 0
        return state.map(cross, lambda q: grow(q, equal_positions(q, 1, positions)), gaussian=False)

    return Layer(lambda key, shape, dtype=jnp.float32: ((), tuple(shape)), apply, kernel, lambda wanted: wanted)


def _with_variances(wanted: Needs) -> Needs:
    return Needs(wanted.cross, max(wanted.own, Extent.DIAGONAL))


def _require_gaussian(state: KernelState, name: str) -> None:
    given = "a layer whose outputs are not centred Gaussian (the input, or another nonlinearity)"
    require(state.gaussian, f"the layer before {name}", given, "a layer of weights")


def _own(q: Array, dual: DualActivation, state: KernelState) -> Array:
    if not state.own_full:
        return dual.diagonal(q)
    return dual.value(*_ends(q, state.spatial), q)


def _normalised(q: Array, eps: float, state: KernelState) -> Array:
    if not state.own_full:
        return q / (q + eps)
    first, second = _ends(q, state.spatial)
    return q * jax.lax.rsqrt(first + eps) * jax.lax.rsqrt(second + eps)


def _ends(q: Array, spatial: int) -> tuple[Array, Array]:
    """Variances at both positions of the pairs in (n, h, h', ...)."""
    return at_pairs(diagonal_part(q, 1, spatial))
