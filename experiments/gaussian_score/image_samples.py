"""Samples of a U-Net: real images to compare them with, solvers in chunks over the mesh, multistep plans."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxlib_methods.diffusion import (
    dpm_solver_v3_plan,
    dpm_solver_v3_statistics,
    log_snr_sigmas,
    sample,
    teleport,
    unipc_plan,
)
from jaxlib_methods.runtime.mesh import shard_rows, to_host

if TYPE_CHECKING:
    from experiments.gaussian_score.images import ImageStudy


def real_samples(key, x: np.ndarray, size: int, batches: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Real images to compare samples with, and up to `batches` other sets of as many, all drawn without repetition."""
    sets = min(1 + batches, len(x) // size)
    if sets < 2:
        raise ValueError(f"images.sample_size must be at most half of the {len(x)} training images, got {size}")
    rows = np.asarray(jax.random.permutation(key, len(x)))[: sets * size]
    first, *others = x[rows].reshape(sets, size, *x.shape[1:])
    return first, others


def chunked_solver(
    study: "ImageStudy", mesh: Mesh | None, denoise: Callable, params
) -> Callable[[Any, Any], np.ndarray]:
    """`solve(z, plan)` for any number of samples, some at a time, split over the mesh."""
    solve = jax.jit(lambda params, z, plan: sample(lambda y, sigma: denoise(params, y, sigma), z, plan))

    spread = (lambda part: part) if mesh is None else lambda part: shard_rows(part, mesh)

    def chunks(z, plan):
        parts = [z[i : i + study.sample_chunk] for i in range(0, len(z), study.sample_chunk)]
        return np.concatenate([to_host(solve(params, spread(part), plan)) for part in parts])

    return chunks


def teleport_to(gaussian, start, sigma: float):
    """Moves samples of the first noise level to `sigma`."""
    first = 80.0
    return start if sigma == first else teleport(gaussian, start, np.array([first, sigma, 0.0]), 1)[0]


def multistep_plans(study: "ImageStudy", key, denoise: Callable, params, x: np.ndarray) -> list[Callable]:
    """For each solver a function of the number of evaluations and the first noise level that makes its plan."""
    plans = {"unipc": lambda n, sigma: unipc_plan(log_snr_sigmas(n, maximum=sigma), order=3)}
    if "dpm-v3" in study.solvers:
        lambdas = np.linspace(-np.log(80.0), -np.log(0.002), study.statistics_levels)
        probes = dict(num_probes=study.statistics_probes)
        measure = lambda params, images: dpm_solver_v3_statistics(
            key, lambda y, sigma: denoise(params, y, sigma), images, lambdas, **probes
        )
        statistics = to_host(jax.jit(measure)(params, x[: study.statistics_images]))
        plans["dpm-v3"] = lambda n, sigma: dpm_solver_v3_plan(
            statistics, log_snr_sigmas(n, maximum=sigma), order=3, corrector=n <= 6, pseudo=n <= 5
        )
    return [plans[name] for name in study.solvers]
