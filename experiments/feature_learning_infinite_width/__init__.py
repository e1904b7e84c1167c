"""Yang and Hu 2020: muP in practice: coordinate checks, and learning rates that stay as the width grows.

python -m experiments run feature_learning_infinite_width --preset quick
"""

from typing import NamedTuple

import jax

from experiments.feature_learning_infinite_width.config import PRESETS, Config
from experiments.feature_learning_infinite_width.coordinates import (
    coordinate_claims,
    coordinate_figures,
    coordinate_reports,
)
from experiments.feature_learning_infinite_width.transfer import (
    Transfers,
    transfer_claims,
    transfer_figures,
    transfer_losses,
)
from experiments.harness import Claim, Context
from jaxlib_methods.infinite_width import CoordinateReport

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Yang and Hu, Feature Learning in Infinite-Width Neural Networks, 2020"


class Result(NamedTuple):
    """What the parts measured."""

    coordinates: dict[str, dict[str, CoordinateReport]]
    transfer: Transfers


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 2)
    with context.section("coordinates"):
        checked = coordinate_reports(config, context, keys[0])
    with context.section("transfer"):
        return Result(checked, transfer_losses(config, context, keys[1]))


def claims(config: Config, result: Result) -> list[Claim]:
    return [*coordinate_claims(config, result), *transfer_claims(config, result)]


def figures(config: Config, result: Result):
    yield from coordinate_figures(config, result)
    yield from transfer_figures(config, result)
