"""The figures about a U-Net trained on an image set."""

from typing import TYPE_CHECKING

import numpy as np

from experiments.gaussian_score.images import MODELS, TABLE_SIGMAS, Images, ImageStudy
from experiments.gaussian_score.quality import frechet_panel
from experiments.harness import new_figure, new_image_grid

if TYPE_CHECKING:
    from experiments.gaussian_score import Config


def image_figures(config: "Config", network: Images):
    yield "explained", explained_figure(network)
    yield "quality", quality_figure(config, network)
    if config.images is not None and config.images.solvers:
        yield "multistep", multistep_figure(config, config.images, network)
    shown = {skip: i for i, skip in enumerate(config.sample_skips) if skip in (0, 5, 8, 10, 12)}
    rows = {f"{skip} of {config.steps} steps skipped": network.images[i] for skip, i in shown.items()}
    yield "samples", new_image_grid({"training images": network.real, **rows})


def explained_figure(network: Images):
    figure, axes = new_figure("noise level σ", "1 - explained variance", log=True)
    for name, values in zip(MODELS, network.unexplained, strict=True):
        axes.plot(TABLE_SIGMAS, values, "o-", label=f"by the {name}")
    axes.set_title("What explains the trained network's score")
    axes.legend()
    return figure


def quality_figure(config: "Config", network: Images):
    figure, (left, right) = new_figure("Heun steps skipped, of 18", "relative to no skip", log="y", panels=2)
    frechet_panel(config, left, network.frechet, network.frechet_floor, "FD-cnn")
    kernel = network.kernel / network.kernel[0].mean()
    right.errorbar(config.sample_skips, kernel.mean(1), kernel.std(1, ddof=1), fmt="o-", color="C1")
    right.set_title("trained network: kernel distance")
    for axes, distances in ((left, network.frechet), (right, network.kernel)):
        axes.set_yticks([0.25, 0.5, 1, 2, 4, 8, 16, 32], ["¼", "½", "1", "2", "4", "8", "16", "32"])
        axes.set_yticks([], minor=True)
        axes.set_ylim(0.2, 1.4 * distances.max() / distances[0].mean())
    return figure


def multistep_figure(config: "Config", study: ImageStudy, network: Images):
    figure, panels = new_figure("network evaluations", "FD-cnn", panels=len(study.solvers))
    for axes, name, distances in zip(np.atleast_1d(panels), study.solvers, network.multistep, strict=True):
        for sigma, values in zip(study.sigma_skips, np.moveaxis(distances, 1, 0), strict=True):
            spread = values.std(1, ddof=1)
            axes.errorbar(study.evaluations, values.mean(1), spread, fmt="o-", label=f"from σ = {sigma:g}")
        axes.axhline(network.frechet[0].mean(), ls=":", color="C6", label=f"Heun, {2 * config.steps - 1} evaluations")
        axes.set_title({"unipc": "UniPC-3", "dpm-v3": "DPM-Solver-v3"}[name])
        axes.set_xticks(study.evaluations)
        axes.legend()
    return figure
