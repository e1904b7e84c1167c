"""Ensembles drawn from the limit: how many of them are right on every input, and on one."""

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.exact_permutations.closed_forms import COLORS, KERNELS
from experiments.exact_permutations.config import Config, Votes
from experiments.harness import Claim, name_ticks, new_figure, sheet
from jaxlib_methods.infinite_width import (
    binary_inputs,
    ensemble_size,
    limit_predictions,
    permutation_prediction,
    permutation_statistics,
    permute_bits,
    vote,
    vote_probability,
)

if TYPE_CHECKING:
    from experiments.exact_permutations import Result


class Drawn(NamedTuple):
    """Of one kernel: numbers of members, shares of ensembles right on all inputs, accuracy on those of two ones."""

    members: np.ndarray
    exact: np.ndarray
    pairs: np.ndarray


def draw_votes(config: Votes, kernel: str, key) -> Drawn:
    """The last number of members is that of the tight bound for all inputs together."""
    k = config.k
    x = binary_inputs(jnp.arange(1, 2**k), k)
    pi = jax.random.permutation(jax.random.fold_in(key, 0), k)
    wanted, pairs = permute_bits(pi, x) > 0, np.flatnonzero(x.sum(1) == 2)
    size = jax.jit(lambda: ensemble_size(k, config.failure, rule="tight", kernel=kernel))
    members = np.array([*config.members, float(size())])

    @jax.jit
    def right(key, members):
        """The average of Gaussian members is one member with a smaller deviation: one draw serves all numbers."""
        each = limit_predictions(key, jnp.arange(config.repetitions), pi, x, kernel=kernel)
        mean = permutation_prediction(pi, x, kernel=kernel).mean[None]
        shares = lambda bits: jnp.stack([bits.all(1).mean(), bits[:, pairs].mean()])
        votes = lambda count: vote(mean + (each - mean) / jnp.sqrt(count)) == wanted[None]
        return jax.lax.map(lambda count: shares(votes(count).all(-1)), members)

    return Drawn(members, *np.asarray(right(jax.random.fold_in(key, 1), jnp.asarray(members, jnp.float32))).T)


@functools.partial(jax.jit, static_argnames="kernel")
def success(k, members, kernel: str):
    return jnp.exp(vote_probability(permutation_statistics(k, 2, kernel=kernel), k, 2, members).log_success)


def predicted(config: Votes, kernel: str, members) -> np.ndarray:
    """Accuracy on inputs of two ones."""
    return np.asarray(success(config.k, members, kernel))


def vote_claims(config: Config, result: "Result") -> list[Claim]:
    votes, claim = config.votes, sheet("reproduction quick (c)")
    few = np.array(votes.members, float)
    return [
        claim(
            Claim.at_least,
            "all-inputs",
            f"With the tight bound's number of members (failure {votes.failure}) the vote is right on all "
            f"{2**votes.k - 1} inputs at once: share of ensembles, NTK and NNGP.",
            expected=0.95,
            measured=[result.votes[kernel].exact[-1] for kernel in KERNELS],
        ),
        claim(
            Claim.close,
            "one-input",
            "Accuracy on inputs of two ones is the product of normal distribution functions, NTK and NNGP: "
            f"{', '.join(map(str, votes.members))} members.",
            expected=[predicted(votes, kernel, few) for kernel in KERNELS],
            measured=[result.votes[kernel].pairs[:-1] for kernel in KERNELS],
            tolerance=0.03,
        ),
    ]


def votes_figure(config: Config, result: "Result"):
    figure, axes = new_figure("members of the ensemble", "share right", log="x")
    many = np.geomspace(1, 3000, 200)
    for kernel, color in COLORS.items():
        drawn = result.votes[kernel]
        axes.plot(
            many, predicted(config.votes, kernel, many), color=color, label=f"{kernel.upper()}, one input: theory"
        )
        axes.plot(drawn.members, drawn.pairs, "o", color=color)
        axes.plot(drawn.members, drawn.exact, "s", color=color, markerfacecolor="white")
        axes.axvline(drawn.members[-1], color=color, linestyle=":")
    grey = "#555555"
    axes.plot([], [], "o", color=grey, label="one input: drawn")
    axes.plot([], [], "s", color=grey, markerfacecolor="white", label="all inputs: drawn")
    axes.plot([], [], ":", color=grey, label="all inputs: tight bound")
    name_ticks(axes, (1, 10, 100, 1000))
    axes.set_title(f"k = {config.votes.k}, two ones, and all {2**config.votes.k - 1} inputs at once")
    axes.legend(loc="upper left", fontsize="small")
    return figure
