"""Giapitzakis, Back de Luca and Fountoulakis 2025: permutations learned exactly from k examples, by a vote of networks.

    python -m experiments run exact_permutations --preset quick    # 2 cores, under 45 s
    python -m experiments run exact_permutations --preset full     # the paper's sizes: for an accelerator

Closed forms against linear algebra; trained ensembles against the closed forms; votes on all inputs; and how the
ensemble must grow with the length of the input, by theory, by training, and in the authors' stored runs.
"""

from typing import NamedTuple

import jax
import numpy as np

from experiments.exact_permutations.all_inputs import Drawn, draw_votes, vote_claims, votes_figure
from experiments.exact_permutations.closed_forms import KERNELS, closed_form_claims, deviation, early_stop_figure
from experiments.exact_permutations.config import PRESETS, Config
from experiments.exact_permutations.growth import growth_claims, growth_figure, run_races
from experiments.exact_permutations.small_ensemble import Measured, ensemble_claims, train_ensemble
from experiments.harness import Claim, Context

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = (
    "Giapitzakis, Back de Luca and Fountoulakis, Exact Learning of Permutations for Nonzero Binary Inputs with "
    "Logarithmic Training Size and Quadratic Ensemble Complexity, 2025"
)


class Result(NamedTuple):
    """What the parts measured."""

    deviation: float
    ensemble: Measured
    votes: dict[str, Drawn]
    races: dict[str, np.ndarray]


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 3)
    with context.section("closed forms"), jax.enable_x64(True):
        largest = deviation(config.longest)
    with context.section("one ensemble"):
        ensemble = train_ensemble(config.ensemble, keys[0])
    with context.section("all inputs"):
        votes = {kernel: draw_votes(config.votes, kernel, keys[1]) for kernel in KERNELS}
    with context.section("races"):
        races = run_races(config.races, context, keys[2])
    return Result(largest, ensemble, votes, races)


def claims(config: Config, result: Result) -> list[Claim]:
    with jax.enable_x64(True):
        return [
            *closed_form_claims(config, result),
            *ensemble_claims(config, result),
            *vote_claims(config, result),
            *growth_claims(config, result),
        ]


def figures(config: Config, result: Result):
    with jax.enable_x64(True):
        yield "members", growth_figure(config, result)
        yield "votes", votes_figure(config, result)
        yield "early_stop", early_stop_figure()
