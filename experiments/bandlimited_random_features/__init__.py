"""Li et al. 2023: random hidden weights from a bounded band leave an error that no number of units removes.

    python -m experiments run bandlimited_random_features --preset quick    # 2 cores, about 40 s

The paper's own figures and constants are not public in a form that could be checked; its claims are reproduced through
bounds derived here. Six parts: the low-pass theory against quadrature and stated values; random nets with ridgelet
coefficients, whose error is a predicted floor plus C/n; trained nets on the three-bump function; the bandwidth that a
frequency needs; trained nets in several dimensions beside the theory; and one-vs-rest read-outs of real images.
"""

from typing import NamedTuple

import jax

from experiments.bandlimited_random_features.bumps import Bumps, bump_claims, bumps_figure, norm_figure, trained_bumps
from experiments.bandlimited_random_features.config import PRESETS, Config
from experiments.bandlimited_random_features.dimensions import (
    Dimensions,
    dimension_claims,
    dimensions_figure,
    in_dimensions,
)
from experiments.bandlimited_random_features.floor import Floor, floor_claims, floor_figure, ridgelet_floor
from experiments.bandlimited_random_features.frequency_law import Law, frequency_law, law_claims, law_figure
from experiments.bandlimited_random_features.images import Images, image_readouts, images_figure
from experiments.bandlimited_random_features.theory import Theory, check_theory, theory_claims
from experiments.harness import Claim, Context

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Li, Sonoda, Cao, Wang and Liang, How Powerful are Shallow Neural Networks with Bandlimited Random Weights?"


class Result(NamedTuple):
    """What the six parts measured."""

    theory: Theory
    floor: Floor
    bumps: Bumps
    law: Law
    dimensions: Dimensions
    images: Images


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 5)
    with jax.enable_x64(True):
        with context.section("theory"):
            theory = check_theory()
        with context.section("floor"):
            floor = ridgelet_floor(config, context, keys[0])
        with context.section("three bumps"):
            bumps = trained_bumps(config, context, keys[1])
        with context.section("frequency law"):
            law = frequency_law(config, keys[2])
    with context.section("dimensions"):
        dimensions = in_dimensions(config, context, keys[3])
    with context.section("images"):
        images = image_readouts(config, context, keys[4])
    return Result(theory, floor, bumps, law, dimensions, images)


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *theory_claims(result.theory),
        *floor_claims(config, result.floor),
        *bump_claims(config, result.bumps),
        *law_claims(config, result.law),
        *dimension_claims(config, result.dimensions),
    ]


def figures(config: Config, result: Result):
    yield "floor", floor_figure(config, result.floor)
    yield "three_bumps", bumps_figure(config, result.bumps)
    yield "coefficient_norm", norm_figure(config, result.bumps)
    yield "frequency_law", law_figure(config, result.law)
    yield "dimensions", dimensions_figure(config, result.dimensions)
    yield "images", images_figure(config, result.images)
