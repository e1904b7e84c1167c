"""Simon, Karkada, Ghosh and Belkin 2023: train and test errors of random features and kernels, known before training.

    python -m experiments run random_feature_eigenframework --preset quick    # 2 cores, about 40 s; real data: MNIST
    python -m experiments run random_feature_eigenframework --preset cifar10  # and the paper's CIFAR-10 panel
    python -m experiments run random_feature_eigenframework --preset myrtle   # and its convolutional kernel

Six parts: the authors' stored theory values; more samples and more features, each at its best ridge; simulations
of the theory's own assumption; on real images, learning curves and exponents, ridge paths and random features against
the theory of the same pool's eigenstructure; test error against the fitting ratio; and both again for the tangent
kernel of a convolutional network. Errors are sums over outputs.
"""

from typing import NamedTuple

import jax
import numpy as np

from experiments.harness import Claim, Context
from experiments.random_feature_eigenframework.cifar import Cifar, cifar_claims, cifar_panel
from experiments.random_feature_eigenframework.config import PAPERS, PRESETS, Config
from experiments.random_feature_eigenframework.images import (
    Images,
    image_claims,
    learning_figure,
    ratio_figure,
    real_images,
    ridge_figure,
)
from experiments.random_feature_eigenframework.myrtle import Panel, myrtle_claims, myrtle_figures, myrtle_panels
from experiments.random_feature_eigenframework.simulation import (
    Curves,
    Lines,
    curves_figure,
    simulate,
    simulation_claims,
)
from experiments.random_feature_eigenframework.theory import more_is_better, power_law, stored_table, theory_claims
from jaxlib_methods.runtime import DataError

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Simon, Karkada, Ghosh and Belkin, More is Better: when Infinite Overparameterization is Optimal, 2023"


class Result(NamedTuple):
    """All parts; images, CIFAR-10 and convolutional kernels are the reason in words where they could not be run."""

    stored: np.ndarray
    stored_optimum: np.ndarray
    more: np.ndarray
    more_optimum: np.ndarray
    over_k: Curves
    over_n: Curves
    lines_over_k: Lines
    lines_over_n: Lines
    images: Images | str
    cifar: Cifar | str
    myrtle: list[Panel | str]


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 6)
    with jax.enable_x64(True):
        with context.section("theory"):
            stored, stored_optimum = stored_table()
            more, more_optimum = more_is_better()
        with context.section("simulation"):
            eigen = power_law(config.simulation.modes, config.simulation.alpha, config.simulation.beta)
            simulated = simulate(config.simulation, context, keys[0], eigen)
        try:
            images = real_images(config, context, keys[1])
        except DataError as error:
            images = str(error)
        panels = myrtle_panels(config.myrtle, context, keys[3]) if config.myrtle else []
        cifar = "needs the preset cifar10 or full"
        if config.cifar_pool:
            try:
                cifar = cifar_panel(config, context, keys[2])
            except DataError as error:
                cifar = str(error)
    return Result(stored, stored_optimum, more, more_optimum, *simulated, images, cifar, panels)


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *theory_claims(result),
        *simulation_claims(config, result),
        *image_claims(config, result.images),
        *cifar_claims(result.cifar),
        *myrtle_claims(config.myrtle, result.myrtle),
    ]


def figures(config: Config, result: Result):
    simulation = config.simulation
    panels = {
        f"features k, at n = {simulation.n}": (simulation.ks, result.over_k, result.lines_over_k),
        f"samples n, at k = {simulation.k}": (simulation.ns, result.over_n, result.lines_over_n),
    }
    yield "simulation", curves_figure(panels, simulation.ridges)
    if isinstance(result.cifar, Cifar):
        panels = {"features k, at n = 256, CIFAR-10": (PAPERS.ks, result.cifar.curves, result.cifar.lines)}
        yield "cifar10", curves_figure(panels, PAPERS.ridges)
    if isinstance(result.images, Images):
        curves = {config.dataset: result.images.curve, config.second_dataset: result.images.second_curve}
        yield "learning_curves", learning_figure(config.sizes, curves)
        yield "ridge_paths", ridge_figure(config, result.images.kernel)
        measured = result.images.curve, result.images.ratios
        yield "fitting_ratio", ratio_figure(config.dataset, config.ratio_samples, *measured)
    if config.myrtle:
        yield from myrtle_figures(config.myrtle, result.myrtle)
