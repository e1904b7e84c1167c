"""What exact attention costs, and how operations, time and memory of each path grow with the length."""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, new_figure, sheet
from experiments.harness.operations import count_operations
from experiments.kronecker_attention.config import Config
from jaxlib_methods.attention import (
    kron_attention,
    kron_attention_poly,
    poly_plan,
)

PATHS = ("whole tensor", "blockwise", "windowed", "polynomial")


class Cost(NamedTuple):
    """Processor seconds of blockwise attention, its bytes, and those of one tensor of logits."""

    forward: float
    backward: float
    memory: float
    tensor: float


class Scaling(NamedTuple):
    """Lengths, operations, seconds and bytes (path, length)."""

    lengths: np.ndarray
    operations: np.ndarray
    seconds: np.ndarray
    memory: np.ndarray

    def exponents(self, values: np.ndarray) -> np.ndarray:
        """Slope of log values over log length, of each path."""
        return np.array([np.polyfit(np.log(n), np.log(y), 1)[0] for n, y in zip(self.lengths, values, strict=True)])


def heads(n: int, width: int, dtype=jnp.float32):
    """Queries, keys and values of one head."""
    draws = np.random.default_rng(n).uniform(-1, 1, (5, n, 1, width)).astype(dtype)
    q, k, l, v, w = map(jnp.asarray, draws)
    return q, (k, l), (v, w)


def timed(function, args, repeats: int, clock=time.perf_counter) -> tuple[float, float]:
    """Least seconds of a compiled call after a first one, and the bytes it needs beside inputs and outputs."""
    compiled = jax.jit(function).lower(*args).compile()
    jax.block_until_ready(compiled(*args))
    analysis: Any = compiled.memory_analysis()
    seconds = []
    for _ in range(repeats):
        start = clock()
        jax.block_until_ready(compiled(*args))
        seconds.append(clock() - start)
    return min(seconds), float(analysis.temp_size_in_bytes)


def blockwise_cost(config: Config) -> Cost:
    """Processor time, which other programs on the machine do not change."""
    n = config.block_length
    args = heads(n, 16)
    gradient = jax.grad(lambda *args: jnp.sum(kron_attention(*args) ** 2), argnums=(0, 1, 2))
    forward, forward_memory = timed(kron_attention, args, 1, time.process_time)
    both, memory = timed(gradient, args, 1, time.process_time)
    return Cost(forward, both - forward, max(memory, forward_memory), 4.0 * n**3)


def scaling_curves(config: Config, context: Context) -> Scaling:
    plan = poly_plan(0.5, 4, 1e-2)
    calls = {
        "whole tensor": (functools.partial(kron_attention, impl="reference"), config.tensor_lengths),
        "blockwise": (kron_attention, config.block_lengths),
        "windowed": (functools.partial(kron_attention, windows=config.windows), config.window_lengths),
        "polynomial": (lambda q, ks, vs: kron_attention_poly(q, ks, vs, plan, scale=0.125), config.poly_lengths),
    }
    measured = []
    for path in context.progress(PATHS, "paths"):
        function, lengths = calls[path]
        inputs = [heads(n, 4 if path == "polynomial" else 16) for n in lengths]
        measured.append(
            [(count_operations(function, *args), *timed(function, args, config.repeats)) for args in inputs]
        )
    lengths = np.array([calls[path][1] for path in PATHS])
    return Scaling(lengths, *np.moveaxis(np.array(measured), -1, 0))


def cost_claims(cost: Cost) -> list[Claim]:
    forward = "Blockwise attention at n = 512, d = 16 takes less than 5 s on two cores: less than that on all together."
    backward = "Its gradient takes less than 20 s more."
    claim, memory = sheet("reproduction (a)4"), "It needs less than 200 MB, where one tensor of logits takes 537 MB."
    return [
        claim(Claim.at_most, "blockwise-forward", forward, expected=5.0, measured=cost.forward),
        claim(Claim.at_most, "blockwise-backward", backward, expected=20.0, measured=cost.backward),
        claim(Claim.at_most, "blockwise-memory", memory, expected=200e6, measured=cost.memory),
    ]


def scaling_claims(scaling: Scaling) -> list[Claim]:
    work = dict(zip(PATHS, scaling.exponents(scaling.operations), strict=True))
    memory = dict(zip(PATHS, scaling.exponents(scaling.memory), strict=True))
    source: Any = dict(source="theorems 1.3 and 1.4; sheet, items 9 and 10", origin="paper")
    rows = [
        ("work-exact", "Exact attention takes n^3 operations.", 3.0, work["blockwise"]),
        ("work-windowed", "Windowed attention takes n operations.", 1.0, work["windowed"]),
        ("work-polynomial", "For small entries the polynomial method takes n operations.", 1.0, work["polynomial"]),
        ("memory-tensor", "The whole tensor of logits takes memory n^3.", 3.0, memory["whole tensor"]),
    ]
    return [
        *[Claim.close(id, text, expected=x, measured=y, tolerance=0.25, **source) for id, text, x, y in rows],
        Claim.at_most(
            "memory-blockwise",
            "Blockwise, windowed and polynomial attention take memory n or less.",
            expected=1.05,
            measured=[memory[path] for path in PATHS[1:]],
            **source,
        ),
    ]


def scaling_figure(scaling: Scaling):
    figure, panels = new_figure("length n", "", log=True, panels=3)
    quantities = (
        ("arithmetic operations", scaling.operations),
        ("seconds", scaling.seconds),
        ("MB beside inputs and outputs", scaling.memory / 1e6),
    )
    for axes, (label, values) in zip(panels, quantities, strict=True):
        for path, lengths, curve, exponent in zip(
            PATHS, scaling.lengths, values, scaling.exponents(values), strict=True
        ):
            axes.plot(lengths, curve, "o-", label=f"{path}: {exponent:.2f}")
        axes.set_title(label)
        axes.legend(title="exponent")
    return figure
