"""Layers as triples of pure functions, and how they are composed: the finite network and its kernel from one line.

    params, shape = layer.init(key, shape)        y = layer.apply(params, x)        state = layer.kernel(state, needs)

A fourth function, `needs`, says what a layer asks of the covariances of its input when later layers ask something of
its output. It runs backward through the network before any kernel is computed, so that covariances between different
positions of an image are computed where a pool will mix them and nowhere else. A fifth, `presence`, serves inputs with
absent positions: see the module of this name.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.infinite_width.kernel_state import Extent, KernelState, Needs, Side, diagonal_part
from jaxlib_methods.infinite_width.presence import present_inputs, present_state, present_values, unchanged
from jaxlib_methods.infinite_width.taps import PLAIN
from jaxlib_methods.numerics.checks import require, require_choice

__all__ = ["Layer", "identity", "linear_layer", "parallel", "residual", "serial"]


class Layer(NamedTuple):
    """A layer or network.

    Attributes:
      init: (key, shape of one input without the batch axis, dtype=float32) to (parameters, shape of one output).
      apply: (parameters, inputs (n, ...), *, key=None, taps=PLAIN, side=None) to outputs; the key is for layers that
        draw, the side is a `Side`.
      kernel: (state of the input, needs of the output) to the state of the output.
      needs: what is needed of the output, to what is needed of the input.
      presence: the input's `Side` to the share that is present of what each position of the output sees, (n, ...).
      reads: `own_read` where it is not what `needs` says, as of layers that are made of others.
    """

    init: Callable[..., tuple[Any, tuple[int, ...]]]
    apply: Callable[..., Array]
    kernel: Callable[[KernelState, Needs], KernelState]
    needs: Callable[[Needs], Needs]
    presence: Callable[[Side], Array] = unchanged
    reads: Callable[[Needs], Extent] | None = None

    def own_read(self, wanted: Needs) -> Extent:
        """What the layer reads of the inputs' own covariances, whatever later layers need of them."""
        if self.reads is not None:
            return self.reads(wanted)
        return self.needs(Needs(wanted.cross, Extent.NOTHING)).own


def serial(*layers: Layer) -> Layer:
    """One layer after the other; the parameters are a tuple with one entry for each.

    >>> from jaxlib_methods.infinite_width import activation, dense, network_kernel
    >>> network = serial(dense(64), activation("relu"), dense(1))
    >>> network_kernel(network, jnp.ones((2, 3))).shape
    (2, 2)
    """

    def init(key, shape, dtype=jnp.float32):
        params = []
        for layer, own in zip(layers, jax.random.split(key, max(len(layers), 1)), strict=False):
            drawn, shape = layer.init(own, shape, dtype)
            params.append(drawn)
        return tuple(params), tuple(shape)

    def apply(params, x, *, key=None, taps=PLAIN, side=None):
        x = present_inputs(x, side)
        for layer, own, drawn in zip(layers, params, _split(key, len(layers)), strict=True):
            y = layer.apply(own, x, key=drawn, taps=taps, side=side)
            x, side = present_values(layer.presence, side, y)
        return x

    def kernel(state, wanted):
        after = [wanted]
        for layer in reversed(layers[1:]):
            after.append(layer.needs(after[-1]))
        for layer, now in zip(layers, reversed(after), strict=False):
            if state.record is not None:
                state, now = state.record.meet(state, now, layer.own_read(now))
            state = present_state(layer.presence, state.side, layer.kernel(state, now))
        return state

    def needs(wanted):
        for layer in reversed(layers):
            wanted = layer.needs(wanted)
        return wanted

    def presence(side):
        for layer in layers:
            side = side._replace(mask=layer.presence(side) > 0)
        return side.mask

    return Layer(init, apply, kernel, needs, presence, lambda wanted: Extent.NOTHING)  # its layers read for themselves


def parallel(*branches: Layer, combine: str = "sum") -> Layer:
    """Branches with independent weights on one input, whose outputs are added, joined along channels or multiplied.

        sum      K = sum K_a              T = sum T_a
        concat   K = sum w_a K_a          T = sum w_a T_a,      w_a the shares of the channels
        product  K = prod K_a             T = sum_a T_a prod_(b != a) K_b

    Args:
      *branches: at least one.
      combine: "sum", "concat" or "product".

    Raises:
      ValueError: if there is no branch, `combine` is unknown, and, when the kernel is computed, if a sum has more than
        one branch that does not end in a layer of weights: their means would be correlated.

    >>> from jaxlib_methods.infinite_width import dense, network_kernel
    >>> network_kernel(parallel(dense(1), dense(1)), jnp.ones((1, 3)), get="nngp").item()
    2.0
    """
    require(len(branches) > 0, "branches", "none", "at least one layer")
    require_choice("combine", combine, ("sum", "concat", "product"))

    def init(key, shape, dtype=jnp.float32):
        drawn = [layer.init(own, shape, dtype) for layer, own in zip(branches, _split(key, len(branches)), strict=True)]
        shapes = [shape for _, shape in drawn]
        same = {shape[:-1] if combine == "concat" else shape for shape in shapes}
        require(len(same) == 1, "branches", f"outputs of shapes {shapes}", "branches whose outputs fit")
        channels = sum(shape[-1] for shape in shapes) if combine == "concat" else shapes[0][-1]
        return tuple(params for params, _ in drawn), (*shapes[0][:-1], channels)

    def apply(params, x, *, key=None, taps=PLAIN, side=None):
        outputs = []
        for layer, own, drawn in zip(branches, params, _split(key, len(branches)), strict=True):
            y = layer.apply(own, x, key=drawn, taps=taps, side=side)
            outputs.append(present_values(layer.presence, side, y)[0])
        if combine == "concat":
            return jnp.concatenate(outputs, -1)
        total = outputs[0]
        for y in outputs[1:]:
            total = total + y if combine == "sum" else total * y
        return total

    def kernel(state, wanted):
        states = [present_state(layer.presence, state.side, layer.kernel(state, wanted)) for layer in branches]
        if not wanted.own:
            states = [replace(state, own=None) for state in states]
        states = _alike(states)
        return {"sum": _sum, "concat": _concatenation, "product": product_state}[combine](states)

    def needs(wanted):
        asked = [layer.needs(wanted) for layer in branches]
        return Needs(max(need.cross for need in asked), max(need.own for need in asked))

    def presence(side):
        return functools.reduce(jnp.logical_or, [layer.presence(side) > 0 for layer in branches])

    def reads(wanted):
        return max(layer.own_read(wanted) for layer in branches)

    return Layer(init, apply, kernel, needs, presence, reads)


def residual(*layers: Layer) -> Layer:
    """The input plus the layers, one after the other: y = x + f(x).

    >>> from jaxlib_methods.infinite_width import dense, network_kernel
    >>> network_kernel(residual(dense(3)), jnp.ones((1, 3)), get="nngp").item()
    2.0
    """
    return parallel(identity(), serial(*layers))


def identity() -> Layer:
    """The layer that does nothing, for the other branch of a sum.

    >>> identity().apply((), jnp.ones(2)).tolist()
    [1.0, 1.0]
    """
    return linear_layer(lambda x: x, lambda shape: shape, lambda state, _: state, lambda wanted: wanted)


def linear_layer(
    function: Callable,
    shape: Callable,
    kernel: Callable[[KernelState, Needs], KernelState],
    needs: Callable,
    presence: Callable = unchanged,
) -> Layer:
    """A layer without parameters: `function` of the inputs, and what it does to shapes, states and needs."""
    return Layer(
        lambda key, given, dtype=jnp.float32: ((), shape(tuple(given))),
        lambda params, x, *, key=None, taps=None, side=None: function(x),
        kernel,
        needs,
        presence,
    )


def _split(key: Array | None, count: int) -> list[Array | None]:
    return [None] * count if key is None else list(jax.random.split(key, count))


def _sum(states: list[KernelState]) -> KernelState:
    loose = sum(not state.gaussian for state in states)
    require(loose <= 1, "branches", f"{loose} that do not end in a layer of weights", "at most one of these in a sum")
    same_width = {state.channels for state in states}
    require(len(same_width) == 1, "branches", f"widths {sorted(same_width)}", "of one width in a sum")
    add = lambda *terms: sum(terms[1:], start=terms[0])
    return replace(_combine(states, add, add), gaussian=not loose)


def _concatenation(states: list[KernelState]) -> KernelState:
    total = sum(state.channels for state in states)
    mean = lambda *terms: sum(term * (state.channels / total) for term, state in zip(terms, states, strict=True))
    gaussian = all(state.gaussian for state in states)
    return replace(_combine(states, mean, mean), channels=total, gaussian=gaussian)


def product_state(states: list[KernelState]) -> KernelState:
    """The state of the product of independent channels."""

    def tangent(*ntks):
        total, before = ntks[0], states[0].nngp
        for ntk, state in zip(ntks[1:], states[1:], strict=True):
            total = total * state.nngp + before * ntk
            before = before * state.nngp
        return total

    def times(*terms):
        result = terms[0]
        for term in terms[1:]:
            result = result * term
        return result

    return replace(_combine(states, times, tangent), gaussian=False)


def _combine(states: list[KernelState], covariance: Callable, tangent: Callable) -> KernelState:
    """One state from the branches': `covariance` joins nngp and own, `tangent` the ntk."""
    first = states[0]
    owns = [state.own for state in states if state.own is not None]
    return replace(
        first,
        nngp=covariance(*(state.nngp for state in states)),
        ntk=None if first.ntk is None else tangent(*(state.ntk for state in states)),
        own=tuple(map(covariance, *owns)) if owns else None,
    )


def _alike(states: list[KernelState]) -> list[KernelState]:
    """Drops different positions where not every branch holds them."""
    spatial = states[0].spatial
    full, own_full = all(state.full for state in states), all(state.own_full for state in states)
    result = []
    for state in states:
        cross = (lambda k: diagonal_part(k, 2, spatial)) if state.full and not full else (lambda k: k)
        own = (lambda q: diagonal_part(q, 1, spatial)) if state.own_full and not own_full else (lambda q: q)
        result.append(state.map(cross, own))
    return result
