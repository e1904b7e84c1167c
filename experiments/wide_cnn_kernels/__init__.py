"""Cagnetta, Favero and Wyart 2023: what deep convolutional networks of infinite width can learn, and how fast.

    python -m experiments run wide_cnn_kernels --preset quick    # 2 cores, about 45 s; digits
    python -m experiments run wide_cnn_kernels --preset full     # the paper's sizes, CIFAR-10 and a ResNet: for a GPU

Kernels of hierarchical networks and their spectra; students that learn fields drawn from teachers of other depths,
beside the curve that the spectra predict; networks of finite width on their way to the kernel; the empirical NTK by
three methods; and images, by networks with and without filters.
"""

from typing import NamedTuple

import jax
import numpy as np

from experiments.harness import Claim, Context
from experiments.wide_cnn_kernels.config import PRESETS, Config
from experiments.wide_cnn_kernels.finite_width import compare_methods, finite_claims, finite_width, width_figure
from experiments.wide_cnn_kernels.images import (
    classify,
    digits_figure,
    image_claims,
    image_networks,
    networks,
    resnet_kernel,
)
from experiments.wide_cnn_kernels.spectra import decay, spectra_figure, spectrum_claims
from experiments.wide_cnn_kernels.stored_values import kernel_claims, stored_kernels, stored_network
from experiments.wide_cnn_kernels.teachers_and_students import (
    Curves,
    learn,
    learning_figure,
    predict,
    student_claims,
)
from jaxlib_methods.runtime import DataError

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Cagnetta, Favero and Wyart, What Can Be Learnt With Wide Convolutional Neural Networks?, ICML 2023"


class Result(NamedTuple):
    """What the parts measured; accuracies and the ResNet's kernel are reasons, in words, where they were not run."""

    hierarchical: np.ndarray
    pooled: np.ndarray
    degrees: np.ndarray
    decays: np.ndarray
    slopes: np.ndarray
    curves: list[Curves]
    local_slopes: np.ndarray
    width_errors: np.ndarray
    method_error: float
    digits: dict[str, np.ndarray]
    images: dict[str, np.ndarray] | str
    resnet: float | str


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 3)
    with jax.enable_x64(True):
        with context.section("kernels"):
            hierarchical = stored_kernels()
            pooled = stored_network()
        with context.section("spectra"):
            degrees, decays, slopes = decay(config.spectrum_nodes)
        with context.section("curves"):
            curves = []
            for i, race in enumerate(context.progress(config.races, "students")):
                curves.append(Curves(learn(race, jax.random.fold_in(keys[0], i)), predict(race, race.sizes)))
            local_slopes = np.diff(np.log2(predict(config.races[0], (512, 1024))))[:, 0]
        with context.section("digits"):
            digits = classify(context.data("digits"), config.digits, config.digits, networks(), context.mesh)
    with context.section("methods"):
        method_error = compare_methods(keys[2])
    with context.section("width"):
        width_errors = finite_width(config, context, keys[1])
    images: dict[str, np.ndarray] | str = "needs the preset full"
    eigenvalue: float | str = "needs the preset full"
    if config.dataset:
        try:
            data = context.data(config.dataset)
            images = classify(data, config.images, config.images, image_networks(), context.mesh)
            if config.resnet_images:
                eigenvalue = resnet_kernel(keys[2], data.train_x[: config.resnet_images], context.mesh)
        except DataError as error:
            images = eigenvalue = str(error)
    return Result(
        hierarchical,
        pooled,
        degrees,
        decays,
        slopes,
        curves,
        local_slopes,
        width_errors,
        method_error,
        digits,
        images,
        eigenvalue,
    )


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *kernel_claims(result),
        *student_claims(config, result),
        *spectrum_claims(result),
        *finite_claims(config, result),
        *image_claims(result),
    ]


def figures(config: Config, result: Result):
    yield "spectra", spectra_figure(result)
    yield "learning_curves", learning_figure(config, result)
    yield "finite_width", width_figure(config, result)
    yield "digits", digits_figure(config, result)
