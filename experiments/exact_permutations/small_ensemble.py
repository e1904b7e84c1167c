"""Moments of one ensemble of trained networks, beside the theory of infinite width."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.exact_permutations.config import Config, Ensemble
from experiments.harness import Claim, sheet
from jaxlib_methods.infinite_width import (
    ensemble_moments,
    permute_bits,
    trained_predictions,
)

if TYPE_CHECKING:
    from experiments.exact_permutations import Result


class Measured(NamedTuple):
    """At an input of two ones: means by target, variance between members; and the loss on the training inputs."""

    ones: float
    zeros: float
    variance: float
    loss: float


def train_ensemble(config: Ensemble, key) -> Measured:
    k, pi = len(config.permutation), jnp.array(config.permutation)
    x = jnp.eye(k + 1, k).at[k, :2].set(1)
    options: dict[str, Any] = dict(width=config.width, learning_rate=config.learning_rate, steps=config.steps)

    @jax.jit
    def moments(key):
        draw = lambda numbers: trained_predictions(key, numbers, pi, x, **options)
        return ensemble_moments(draw, config.members, chunk=config.chunk)

    found = moments(key)
    wanted = permute_bits(pi, x)
    squares = found.variance * (1 - 1 / config.members) + (found.mean - wanted) ** 2  # mean square over members
    mean, target = found.mean[k], wanted[k] > 0
    return Measured(
        float(mean[target].mean()),
        float(mean[~target].mean()),
        float(found.variance[k].mean()),
        float(squares[:k].mean()),
    )


def ensemble_claims(config: Config, result: "Result") -> list[Claim]:
    ensemble, measured = config.ensemble, result.ensemble
    outputs = ensemble.members * len(ensemble.permutation)
    claim = sheet("reproduction quick (b)")
    about = f"{ensemble.members} networks of width {ensemble.width}, k = {len(ensemble.permutation)}, m = 2"
    return [
        claim(
            Claim.close,
            "trained-means",
            f"Means over {about}, at true ones and true zeros, within three standard errors.",
            expected=[0.5591, -0.0162],
            measured=[measured.ones, measured.zeros],
            tolerance=3 * 0.0038,
        ),
        claim(
            Claim.close,
            "trained-variance",
            f"Variance between {about}, within three standard errors.",
            expected=0.01663,
            measured=measured.variance,
            tolerance=3 * 0.01663 * (2 / outputs) ** 0.5,
        ),
        claim(
            Claim.at_most,
            "training-loss",
            "After training the mean squared error on the basis vectors is rounding.",
            expected=1e-10,
            measured=measured.loss,
        ),
    ]
