"""The empirical NTK from what each weight met: inputs x, and backward signals delta = df/dy at its product y = x w.

    Theta = sum over weights of sum_pq <x_a[p], x_b[q]> <delta_ai[p], delta_bj[q]>,    p, q positions,

where filters without sharing meet p = q alone, and a bias has x = 1. With many positions the derivatives by the weight,
sum_p x[p] delta[p]^T, may be smaller than the products of all pairs of positions; the cheaper of the two is taken. All
signals come from one backward pass an output: zeros are added to every y, and differentiated by.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxlib_methods.infinite_width.taps import Recorder, Site

__all__ = ["structured_cost", "structured_ntk", "takes_taps"]


class Plan(NamedTuple):
    """Uses of weights, shapes of their results, and which leaves have no other use than one of these."""

    sites: list[Site]
    results: list[jax.ShapeDtypeStruct]
    clean: set[int]


class Records(NamedTuple):
    """Of each site what the weight met, (n, positions, f), and the signals, (n, output, positions, width)."""

    inputs: list[Array | None]
    signals: list[Array]


def takes_taps(apply: Callable) -> bool:
    """Whether a function shows where its weights are used.

    >>> from jaxlib_methods.infinite_width import dense
    >>> takes_taps(dense(1).apply), takes_taps(lambda w, x: x @ w)
    (True, False)
    """
    try:
        return "taps" in inspect.signature(apply).parameters
    except (TypeError, ValueError):
        return False


def structured_ntk(
    apply: Callable, params: PyTree, x1: Array, x2: Array | None, outputs: str
) -> tuple[Array | None, list[int]]:
    """The part of the NTK of weights that are used once, at a tap, and the places of the other floating leaves."""
    plan = _plan(apply, params, x1)
    left = _record(apply, params, x1, plan)
    right = left if x2 is None else _record(apply, params, x2, _plan(apply, params, x2))
    parts = [
        _contract(site, left.inputs[i], left.signals[i], right.inputs[i], right.signals[i], outputs)
        for i, site in enumerate(plan.sites)
        if site.leaf in plan.clean
    ]
    rest = _others(params, plan)
    if not parts:
        return None, rest
    total = sum(parts[1:], start=parts[0])
    if outputs == "full":
        return total.swapaxes(1, 2), rest
    return (total / left.signals[0].shape[1] if outputs == "trace" else total), rest


def structured_cost(apply: Callable, params: PyTree, x1: Any, x2: Any, outputs: str) -> float:
    """Operations of `structured_ntk` beside the backward passes, from shapes alone."""
    n, m = x1.shape[0], (x1 if x2 is None else x2).shape[0]
    plan = _plan(apply, params, x1)
    records = jax.eval_shape(lambda params, x: _record(apply, params, x, plan), params, x1)
    cost, pairs = 0.0, n * m
    for site, met, signal in zip(plan.sites, records.inputs, records.signals, strict=True):
        pairs = n * m * (signal.shape[1] ** 2 if outputs == "full" else signal.shape[1])
        if site.leaf in plan.clean:
            cost += 2 * min(_costs(site, met, signal, n, m, pairs, n if x2 is None else n + m))
    leaves = jax.tree.leaves(params)
    return cost + 2 * pairs * sum(leaves[i].size for i in _others(params, plan))


def _contract(site: Site, met1: Array | None, left: Array, met2: Array | None, right: Array, outputs: str) -> Array:
    """One weight's share, not divided by the number of outputs; a full one as (a, i, b, j)."""
    product = lambda *operands: jnp.einsum(*operands, precision="highest")
    i, j, result = {"trace": ("i", "i", "ab"), "diagonal": ("i", "i", "abi"), "full": ("i", "j", "aibj")}[outputs]
    if met1 is None or met2 is None:
        summed = lambda signals: signals[:, :, 0] if signals.shape[2] == 1 else signals.sum(2)
        # written as the weights' product below, which the compiler then computes once for both
        return site.scale**2 * product(f"a{i}w,b{j}w->{result}", summed(left), summed(right))
    if site.kind == "local":
        met = product("apf,bpf->abp", met1, met2)
        if outputs == "trace":
            return jnp.sum(met * product("aipw,bipw->abp", left, right), 2)
        return product(f"abp,a{i}pw,b{j}pw->{result}", met, left, right)
    if left.shape[2] == 1:
        met = product("af,bf->ab", met1[:, 0], met2[:, 0])
        met = met[:, None, :, None] if outputs == "full" else met.reshape(met.shape + (1,) * (len(result) - 2))
        return met * product(f"a{i}w,b{j}w->{result}", left[:, :, 0], right[:, :, 0])
    (n, width), m = left.shape[:2], len(right)
    pairs = n * m * (width**2 if outputs == "full" else width)
    by_weight, by_positions = _costs(site, met1, left, n, m, pairs, n if left is right else n + m)
    if by_weight <= by_positions:
        derivative = lambda met, signal: product("apf,aipw->aifw", met, signal)
        return product(f"a{i}fw,b{j}fw->{result}", derivative(met1, left), derivative(met2, right))
    met = product("apf,bqf->abpq", met1, met2)
    if outputs == "trace":
        return product("abpq,abpq->ab", met, product("aipw,biqw->abpq", left, right))
    return product(f"abpq,a{i}pw,b{j}qw->{result}", met, left, right)


def _costs(site: Site, met: Any, signal: Any, n: int, m: int, pairs: int, rows: int) -> tuple[float, float]:
    """Multiplications by way of derivatives by the weight, at `rows` inputs, and of pairs of positions."""
    _, outputs, positions, width = signal.shape
    if met is None:
        return pairs * width, math.inf
    fan_in = met.shape[-1]
    if positions == 1 or site.kind == "local":
        return n * m * positions * fan_in + pairs * positions * width, math.inf
    by_weight = rows * outputs * positions * fan_in * width + pairs * fan_in * width
    return by_weight, positions**2 * (n * m * fan_in + pairs * width)


def _record(apply: Callable, params: PyTree, x: Array, plan: Plan) -> Records:
    leaves, structure = jax.tree.flatten(params)

    def run(zeros):
        recorder = Recorder(leaves, zeros)
        y = apply(structure.unflatten(leaves), x, taps=recorder)
        return y.reshape(len(x), -1), recorder.inputs

    y, pull, inputs = jax.vjp(run, [jnp.zeros(shape.shape, shape.dtype) for shape in plan.results], has_aux=True)
    basis = jnp.broadcast_to(jnp.eye(y.shape[1], dtype=y.dtype)[:, None], (y.shape[1], *y.shape))
    signals = jax.vmap(pull, out_axes=1)(basis)[0]
    return Records(inputs, [signal.reshape(*signal.shape[:2], -1, signal.shape[-1]) for signal in signals])


def _plan(apply: Callable, params: PyTree, x: Any) -> Plan:
    """Traces the function once; a leaf is clean if the traced program reads it once, and that at a tap."""
    leaves, structure = jax.tree.flatten(params)
    recorders = []

    def run(leaves, x):
        recorders.append(Recorder(leaves))
        return apply(structure.unflatten(leaves), x, taps=recorders[0])

    program = jax.make_jaxpr(run)(leaves, x).jaxpr
    read = [variable for equation in program.eqns for variable in equation.invars] + list(program.outvars)
    uses = [sum(variable is other for other in read) for variable in program.invars[: len(leaves)]]
    taps = [site.leaf for site in recorders[0].sites]
    clean = {i for i, leaf in enumerate(leaves) if _floating(leaf) and taps.count(i) == uses[i] == 1}
    return Plan(recorders[0].sites, recorders[0].outputs, clean)


def _others(params: PyTree, plan: Plan) -> list[int]:
    return [i for i, leaf in enumerate(jax.tree.leaves(params)) if i not in plan.clean and _floating(leaf)]


def _floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
