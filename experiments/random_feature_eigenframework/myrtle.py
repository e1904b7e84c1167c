"""The tangent kernel of a ten-layer convolutional network, infinitely wide, on real images: the paper's main figure.

Its power laws have beta > alpha on MNIST, so that interpolation is optimal there, even with noise; what the network
knows of images is taken away by shuffling their pixels. Kernels are computed in tiles, each saved when it is done: a
run that was killed goes on with the next.
"""

import functools
import io
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.harness import Claim, Context, sheet
from experiments.random_feature_eigenframework.config import RATIO_NOISES, Myrtle
from experiments.random_feature_eigenframework.images import (
    LearningCurve,
    Ratios,
    fitting_ratios,
    learning_curve,
    learning_figure,
    pool_of,
    ratio_figure,
)
from jaxlib_methods.generalization import optimal_fitting_ratio
from jaxlib_methods.infinite_width import Layer, activation, avg_pool, conv, dense, flatten, network_gram, serial
from jaxlib_methods.runtime import DataError, to_host
from jaxlib_methods.runtime.files import write_atomic

RIDGES = (0.0, *np.geomspace(1e-4, 1e4, 49).tolist())

STORED = {
    "mnist": ((1.12, 1.36), (0.001, 0.0015, 0.159, 0.796)),
    "svhn": ((1.22, 1.20), (0.053, 0.230, 0.652, 0.954)),
    "cifar10": ((1.17, 1.14), (0.030, 0.176, 0.718, 0.968)),
}
"""alpha and beta, and best fitting ratios as measured, with noise 0, 1, 5 and 50 times the noiseless error."""


class Panel(NamedTuple):
    """One set of images: its learning curve, its fitting ratios, and the learning curves of its shuffled images."""

    curve: LearningCurve
    ratios: Ratios
    shuffled: list[LearningCurve]


def network(side: int) -> Layer:
    """Nine convolutions in three blocks, pools between them and behind them down to few pixels, and a dense layer.

    On images of 32 x 32 and 28 x 28 a single pixel is left at the end.
    """
    block = [layer for _ in range(3) for layer in (conv(1, (3, 3), padding="SAME"), activation("relu"))]
    pool = avg_pool((2, 2))
    last = [pool] * (side.bit_length() - 3)
    return serial(*block, pool, *block, pool, *block, *last, flatten(), dense(10))


def myrtle_panels(config: Myrtle, context: Context, key) -> list[Panel | str]:
    """What was measured on each set of images, or why nothing was."""
    panels = []
    for i, name in enumerate(config.datasets):
        try:
            panels.append(panel(name, config, context, jax.random.fold_in(key, i)))
        except DataError as error:
            panels.append(str(error))
    return panels


def panel(name: str, config: Myrtle, context: Context, key) -> Panel:
    images, targets = pool_of(context, name, config.pool, config.coarser)
    images = images.astype(np.float32)
    keys = jax.random.split(key, 3)

    def kernel_and_curve(label: str, images: np.ndarray) -> tuple[jax.Array, LearningCurve]:
        with context.section(f"kernel, {label}"):
            kernel = jnp.asarray(tangent_kernel(label, config.tile, context, images))
        sizes = {"sizes": config.sizes, "tests": config.tests, "draws": config.draws}
        with context.section(f"learning curve, {label}"):
            return kernel, learning_curve(context, keys[0], kernel, targets, **sizes)

    kernel, curve = kernel_and_curve(name, images)
    with context.section(f"fitting ratios, {name}"):
        sizes = {"samples": config.ratio_samples, "tests": config.ratio_tests, "trials": config.ratio_trials}
        ratios = fitting_ratios(keys[1], kernel, targets, RIDGES, **sizes)
    others = [
        kernel_and_curve(f"{name}, {label}", shuffled(keys[2], images, square, share))[1]
        for label, square, share in shuffles(config)
    ]
    return Panel(curve, ratios, others)


def shuffles(config: Myrtle) -> list[tuple[str, int, float]]:
    """Name, size of the squares and share of them that change places."""
    squares = [(f"squares of {square}", square, 1.0) for square in config.squares]
    return squares + [(f"{share:.0%} shuffled", 1, share) for share in config.shares]


def shuffled(key, images: np.ndarray, square: int, share: float) -> np.ndarray:
    """All images after the same random permutation of a share of their squares; an incomplete border stays."""
    count = images.shape[1] // square
    if count < 2:
        raise ValueError(f"squares must have at most half of the images' side, {images.shape[1] // 2}, got {square}")
    moved = np.asarray(jax.random.permutation(key, count**2))[: round(share * count**2)]
    order = np.arange(count**2)
    order[np.sort(moved)] = moved
    inside = np.s_[:, : count * square, : count * square]
    cut = lambda a: a.reshape(len(images), count, square, count, square, -1).swapaxes(2, 3)
    squares = cut(images[inside]).reshape(len(images), count**2, square, square, -1)[:, order]
    result = images.copy()
    squares = squares.reshape(len(images), count, count, square, square, -1).swapaxes(2, 3)
    result[inside] = squares.reshape(result[inside].shape)
    return result


def tangent_kernel(label: str, tile: int, context: Context, images: np.ndarray) -> np.ndarray:
    """The kernel of all images over its mean diagonal, in double precision from tiles in single precision."""
    folder = context.directory / "checkpoints" / f"kernel of {label}"
    if context.job.first:
        folder.mkdir(parents=True, exist_ok=True)
    kernel_of = compiled_kernel(images.shape[1], context.mesh)
    parts = [slice(start, start + tile) for start in range(0, len(images), tile)]
    pairs = [*itertools.combinations_with_replacement(range(len(parts)), 2)]
    kernel = np.empty((len(images), len(images)))
    for i, j in context.progress(pairs, f"tiles of {label}"):
        file = folder / f"{i}-{j}.npy"
        if context.job.share(file.exists):
            values = np.load(file)
        else:
            rows, columns = images[parts[i]], images[parts[j]]
            values = to_host(kernel_of(rows) if i == j else kernel_of(rows, columns))
            if context.job.first:
                buffer = io.BytesIO()
                np.save(buffer, values)
                write_atomic(file, buffer.getvalue())
        kernel[parts[i], parts[j]], kernel[parts[j], parts[i]] = values, values.T
    return kernel / np.mean(np.diag(kernel))


@functools.cache
def compiled_kernel(side: int, mesh: Mesh | None) -> Callable:
    """The tangent kernel of one tile or of two, compiled once for all sets of images of this side."""
    return jax.jit(functools.partial(network_gram, network(side), mesh=mesh))


def best_ratios(ratios: Ratios) -> np.ndarray:
    """The fitting ratio at the ridge of least error, for each noise."""
    return np.take_along_axis(ratios.ratio, ratios.error.argmin(1)[:, None], 1)[:, 0]


def myrtle_claims(config: Myrtle | None, panels: list[Panel | str]) -> list[Claim]:
    if config is None:
        return set_claims("mnist", "needs the preset myrtle or full", 0)
    return [
        claim
        for name, panel in zip(config.datasets, panels, strict=True)
        for claim in set_claims(name, panel, len(config.squares))
    ]


def set_claims(name: str, panel: Panel | str, squares: int) -> list[Claim]:
    """Claims on one set of images; of its shuffled curves the first are of `squares`, the others of single pixels."""
    claim = sheet("headline results, figure fitting ratio", "authors' code")
    held = lambda get: panel if isinstance(panel, str) else get(panel)
    noises = np.array(RATIO_NOISES)
    theorem = lambda panel: optimal_fitting_ratio(panel.curve.exponents[0], panel.curve.exponents[1], noises)
    curves = lambda panel: [panel.curve, *panel.shuffled[squares:]]
    claims = [
        claim(
            Claim.close,
            f"myrtle-theorem-{name}",
            "The best fitting ratios with noise 0, 1, 5 and 50 times the noiseless error are those of theorem 2 at the "
            "measured exponents: their differences.",
            expected=[0.0] * len(RATIO_NOISES),
            measured=held(lambda panel: best_ratios(panel.ratios) - theorem(panel)),
            tolerance=0.1,
        ),
        claim(
            Claim.ordering,
            f"myrtle-shuffled-{name}",
            "With more and more of the pixels shuffled, the ridgeless error at the most samples grows.",
            expected="increasing",
            measured=held(lambda panel: [curve.errors[:, -1].mean() for curve in curves(panel)]),
        ),
    ]
    if name not in STORED:
        return claims
    exponents, ratios = STORED[name]
    return [
        *claims,
        claim(
            Claim.close,
            f"myrtle-exponents-{name}",
            "The convolutional tangent kernel has the paper's exponents alpha and beta.",
            expected=[*exponents],
            measured=held(lambda panel: panel.curve.exponents),
            tolerance=0.1,
        ),
        claim(
            Claim.close,
            f"myrtle-ratios-{name}",
            "Its best fitting ratios are the paper's.",
            expected=[*ratios],
            measured=held(lambda panel: best_ratios(panel.ratios)),
            tolerance=0.1,
        ),
    ]


def myrtle_figures(config: Myrtle, panels: list[Panel | str]):
    for name, panel in zip(config.datasets, panels, strict=True):
        if not isinstance(panel, str):
            labels = [name, *(label for label, _, _ in shuffles(config))]
            curves = dict(zip(labels, (panel.curve, *panel.shuffled), strict=True))
            yield f"myrtle_learning_curves_{name}", learning_figure(config.sizes, curves)
            figure = ratio_figure(name, config.ratio_samples, panel.curve, panel.ratios)
            yield f"myrtle_fitting_ratio_{name}", figure
