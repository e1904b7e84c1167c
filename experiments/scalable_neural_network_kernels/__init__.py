"""Sehanobish et al. 2024: dense layers f(w.x + b) become dot products of random features, and whole networks bundle.

    python -m experiments run scalable_neural_network_kernels --preset quick      # 2 cores, about 30 s; digits
    python -m experiments run scalable_neural_network_kernels --preset cifar10    # 2 cores, about 8 minutes

Quick: exact variances against simulation, the damping and the harmonics that they call for, bundling as an identity,
and a fully bundled regression in closed form. `cifar10` adds a vision transformer trained from scratch for a few
epochs, the feed-forward parts of whose last k blocks are replaced and bundled, beside the same network with these parts
dense and so narrow that they have as many parameters. `full` does so at ViT-tiny's size, with the feature counts and
the threshold of the authors' fine-tuning scripts, whose pretrained weights and learning rate have no use here.
"""

from typing import NamedTuple

import jax

from experiments.harness import Claim, Context
from experiments.scalable_neural_network_kernels.bundling import Bundling, bundling_claims, bundling_identity
from experiments.scalable_neural_network_kernels.config import PRESETS, Config
from experiments.scalable_neural_network_kernels.digits import Digits, digits_claims, digits_figure, digits_regression
from experiments.scalable_neural_network_kernels.harmonics import Tanh, harmonics_figure, tanh_claims, tanh_layer
from experiments.scalable_neural_network_kernels.transformers import (
    Trained,
    train_transformers,
    transformer_claims,
    transformer_figure,
)
from experiments.scalable_neural_network_kernels.variance import (
    Variance,
    cosine_variance,
    variance_claims,
    variance_figure,
)
from jaxlib_methods.runtime.data import DataError

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Sehanobish, Choromanski, Zhao, Dubey and Likhosherstov, Scalable Neural Network Kernels, ICLR 2024"


class Result(NamedTuple):
    """What the parts measured; the transformers are missing where none was asked for or the data is."""

    variance: Variance
    tanh: Tanh
    digits: Digits
    bundling: Bundling
    transformers: list[Trained] | None
    reason: str


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 5)
    with jax.enable_x64(True):
        with context.section("variance"):
            variance = cosine_variance(config, context, keys[0])
        with context.section("tanh"):
            tanh = tanh_layer(config, keys[1])
    with context.section("digits"):
        digits = digits_regression(config, context)
    with context.section("bundling"):
        bundling = bundling_identity(keys[2])
    transformers, reason = None, "needs the preset cifar10 or full"
    if config.transformer is not None:
        try:
            transformers = train_transformers(config.transformer, context)
        except DataError as error:
            reason = str(error)
    return Result(variance, tanh, digits, bundling, transformers, reason)


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *variance_claims(result.variance),
        *tanh_claims(config, result.tanh),
        *digits_claims(config, result.digits),
        *bundling_claims(result.bundling),
        *transformer_claims(config, result),
    ]


def figures(config: Config, result: Result):
    yield "variance", variance_figure(config, result.variance)
    yield "harmonics", harmonics_figure(config, result.tanh)
    yield "digits", digits_figure(config, result.digits)
    if result.transformers is not None:
        yield "transformer", transformer_figure(result.transformers)
