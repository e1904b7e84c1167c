"""The quality of a teleported network's samples: distances of classifier features, and the evaluations saved."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context
from jaxlib_methods.diffusion import edm_sigmas, heun_plan, teleport
from jaxlib_methods.numerics import Gaussian, kernel_distance, sample_frechet_distance

if TYPE_CHECKING:
    from experiments.gaussian_score import Config


def start_points(key, shape, dtype):
    return edm_sigmas(1)[0] * jax.random.normal(key, shape, dtype)


def teleported_samples(
    config: "Config", context: Context, solve: Callable, gaussian: Gaussian, starts, real, features: Callable
):
    """Distances (skip, batch) between real and sampled features, batch by batch, and some samples."""
    measured, shown = [], []
    for skip in context.progress(config.sample_skips, "samples"):
        jumps = [teleport(gaussian, start, edm_sigmas(config.steps), skip) for start in starts]
        ends = [solve(moved, heun_plan(tail)) for moved, tail in jumps]
        measured.append([feature_distances(real, features(end)) for end in ends])
        shown.append(ends[0][:16])
    values = np.array(measured)
    return values[..., 0], values[..., 1], np.array(shown)


def feature_distances(real, sampled) -> tuple[float, float]:
    """Fréchet and kernel distance in double precision, because the traces of the first nearly cancel."""
    with jax.enable_x64(True):
        pair = jnp.asarray(real, jnp.float64), jnp.asarray(sampled, jnp.float64)
        return float(sample_frechet_distance(*pair)), float(kernel_distance(*pair))


def quality_loss(frechet: np.ndarray) -> np.ndarray:
    """Rise of the mean distance at each skip, in standard deviations of the distance over batches without a skip."""
    return (frechet.mean(1) - frechet[0].mean()) / frechet[0].std(ddof=1)


def saved_share(config: "Config", frechet: np.ndarray) -> float:
    """Share of network evaluations saved by the largest skip up to which the loss stays within one deviation."""
    good = np.logical_and.accumulate(quality_loss(frechet) <= 1)
    return 2 * config.sample_skips[good.sum() - 1] / (2 * config.steps - 1)


def network_claims(config: "Config", frechet: np.ndarray) -> list[Claim]:
    quality = "its feature Fréchet distance rises by less than its standard deviation over batches of samples"
    return [
        Claim.at_least(
            "network-evaluations-saved",
            f"Teleportation saves 15 to 30 % of a trained network's evaluations at equal quality: {quality}.",
            source="abstract",
            origin="paper",
            expected=0.15,
            measured=saved_share(config, frechet),
        ),
        Claim.at_most(
            "network-five-skips",
            f"Skipping 5 of 18 Heun steps (10 of 35 evaluations) keeps the quality: {quality}.",
            source="sheet, headline results: the shape of the CIFAR-10 table",
            origin="derived",
            expected=1.0,
            measured=quality_loss(frechet)[config.sample_skips.index(5)],
        ),
    ]


def frechet_panel(config: "Config", axes, frechet: np.ndarray, floor: float, name: str):
    """Draws the distance at each skip, in units of that of no skip, above its floor."""
    relative = frechet / frechet[0].mean()
    spread = relative.std(1, ddof=1)
    axes.errorbar(config.sample_skips, relative.mean(1), spread, fmt="o-", color="C1", label=f"{name}, teleported")
    axes.axhline(floor / frechet[0].mean(), ls="--", color="C6", label="real images to other real images")
    axes.set_title("trained network: feature Fréchet distance")
    axes.legend()
