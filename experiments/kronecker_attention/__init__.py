"""Alman and Song 2024: attention to pairs of keys, exactly in n^3, or to a certified error in n^1.

    python -m experiments run kronecker_attention --preset quick    # 2 cores, about 45 s
    python -m experiments run kronecker_attention --preset books    # adds small language models, about 15 min

Five parts: one head of order 2 or 3 learns Match3; weights that solve it by construction; the error of the polynomial
method against its certificate; what exact attention costs; how time and memory grow with the length. The presets
`books` and `full` also train two language models on as many tokens, one with order-3 attention in every fourth layer.
"""

from typing import NamedTuple

import jax

from experiments.harness import Claim, Context
from experiments.kronecker_attention.config import PRESETS, Config
from experiments.kronecker_attention.cost import (
    Cost,
    Scaling,
    blockwise_cost,
    cost_claims,
    scaling_claims,
    scaling_curves,
    scaling_figure,
)
from experiments.kronecker_attention.language import Language, language_claims, language_figure, language_models
from experiments.kronecker_attention.match3 import (
    Match3,
    constructed_match3,
    match3_claims,
    match3_figure,
    trained_match3,
)
from experiments.kronecker_attention.polynomial import (
    Polynomial,
    polynomial_claims,
    polynomial_errors,
    polynomial_figure,
)

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Alman and Song, How to Capture Higher-order Correlations? Kronecker Computation in Attention, ICLR 2024"


class Result(NamedTuple):
    """What the parts measured."""

    match3: Match3
    constructed_error: float
    polynomial: Polynomial
    cost: Cost
    scaling: Scaling
    language: Language | None


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 4)
    with context.section("match3"):
        match3 = trained_match3(config, context, keys[0])
    with jax.enable_x64(True), context.section("constructed weights"):
        constructed = constructed_match3(config, keys[1])
    with jax.enable_x64(True), context.section("polynomial"):
        polynomial = polynomial_errors(config, keys[2])
    with context.section("cost"):
        cost = blockwise_cost(config)
    with context.section("scaling"):
        scaling = scaling_curves(config, context)
    language = language_models(config, context, keys[3]) if config.language_steps else None
    return Result(match3, constructed, polynomial, cost, scaling, language)


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *match3_claims(result),
        *polynomial_claims(config, result.polynomial),
        *cost_claims(result.cost),
        *scaling_claims(result.scaling),
        *language_claims(result.language),
    ]


def figures(config: Config, result: Result):
    yield "match3", match3_figure(config, result.match3)
    yield "polynomial", polynomial_figure(config, result.polynomial)
    yield "scaling", scaling_figure(result.scaling)
    if result.language is not None and not result.language.missing:
        yield "language", language_figure(result.language)
