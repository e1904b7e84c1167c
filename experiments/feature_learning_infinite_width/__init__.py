"""Yang and Hu 2020: networks of infinite width that learn features.

    python -m experiments run feature_learning_infinite_width --preset quick

Powers of the width in four parametrizations; and the limits of deep networks beside stored values and wide networks.
"""

from typing import NamedTuple

import jax

from experiments.feature_learning_infinite_width.config import PRESETS, Config
from experiments.feature_learning_infinite_width.deep_limits import (
    DeepLimitPaths,
    deep_limit_claims,
    deep_limits,
    paths_figure,
    widths_figure,
)
from experiments.feature_learning_infinite_width.exponents import (
    ExponentTables,
    exponent_claims,
    exponent_figure,
    exponents,
)
from experiments.harness import Claim, Context

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Yang and Hu, Feature Learning in Infinite-Width Neural Networks, 2020"


class Result(NamedTuple):
    """What the parts measured."""

    exponents: ExponentTables
    deep_limits: DeepLimitPaths


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 2)
    with context.section("exponents"):
        tables = exponents(config.exponents, context, keys[0])
    with context.section("deep limits"):
        paths = deep_limits(config.deep_limits, context, keys[1])
    return Result(tables, paths)


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *exponent_claims(config.exponents, result.exponents),
        *deep_limit_claims(config.deep_limits, result.deep_limits),
    ]


def figures(config: Config, result: Result):
    yield "exponents", exponent_figure(config.exponents, result.exponents)
    yield "deep_limits", paths_figure(config.deep_limits, result.deep_limits)
    yield "convergence_in_width", widths_figure(config.deep_limits, result.deep_limits)
