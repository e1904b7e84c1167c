"""Roberts, Yaida and Hanin 2021: deep networks at large but finite width, before and during training.

    python -m experiments run effective_theory --preset quick    # 2 cores, about 45 s; digits
    python -m experiments run effective_theory --preset full     # ten thousand networks; grids on MNIST and CIFAR-10

Critical points and the powers of depth at them; the tensors of order 1 / width beside stored values and ensembles of
random networks; shares of layers in the NTK; deep networks on digits; and, in full, the best ratio of depth to width.
"""

from typing import NamedTuple

import jax
import numpy as np

from experiments.effective_theory.aspect_ratio import ratio_claims, ratio_figure, ratio_sweep
from experiments.effective_theory.config import PRESETS, Config
from experiments.effective_theory.critical_points import (
    critical_claims,
    critical_table,
    phase_figure,
    phases,
    power_figure,
    powers,
)
from experiments.effective_theory.deep_digits import digits_claims, digits_figure, train_digits
from experiments.effective_theory.ensembles import (
    ensemble_claims,
    error_bar_figure,
    relu_ensemble,
    tanh_ensemble,
    tensor_figure,
)
from experiments.effective_theory.recursions import layer_shares, recursion_claims, stored_recursion, two_inputs
from experiments.harness import Claim, Context

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Roberts, Yaida and Hanin, The Principles of Deep Learning Theory, 2021"


class Result(NamedTuple):
    """What the parts measured; `ratios` has for each data set its losses, or in words why there are none."""

    table: np.ndarray
    reasons: list[str]
    powers: dict[str, np.ndarray]
    phases: dict[str, np.ndarray]
    recursion: np.ndarray
    two_inputs: np.ndarray
    posterior: np.ndarray
    shares: tuple[np.ndarray, np.ndarray]
    tanh: dict[str, np.ndarray]
    relu: np.ndarray
    digits: dict[str, np.ndarray]
    ratios: dict[str, dict[str, np.ndarray] | str]


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 4)
    with context.section("theory"), jax.enable_x64(True):
        table, reasons = critical_table()
        theory = (table, reasons, powers(config.depth), phases(), stored_recursion(), *two_inputs(), layer_shares())
    with context.section("ensembles"):
        tanh = tanh_ensemble(config, context, keys[0])
        relu = relu_ensemble(config, context, keys[1])
    with context.section("digits"):
        digits = train_digits(config, context, keys[2])
    ratios = {}
    for i, name in enumerate(config.aspect_ratio.datasets):
        with context.section(f"aspect ratio, {name}"):
            ratios[name] = ratio_sweep(config.aspect_ratio, name, context, jax.random.fold_in(keys[3], i))
    return Result(*theory, tanh, relu, digits, ratios)


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *critical_claims(result),
        *recursion_claims(result),
        *ensemble_claims(config, result),
        *digits_claims(config, result),
        *ratio_claims(config, result),
    ]


def figures(config: Config, result: Result):
    yield "phases", phase_figure(result)
    yield "powers_of_depth", power_figure(result)
    yield "error_bars", error_bar_figure(config, result)
    yield "tensors", tensor_figure(result)
    yield "deep_digits", digits_figure(config, result)
    for name, found in result.ratios.items():
        if isinstance(found, dict):
            yield f"aspect_ratio_{name}", ratio_figure(config.aspect_ratio, name, found)
