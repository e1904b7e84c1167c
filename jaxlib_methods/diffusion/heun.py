"""Heun's second-order sampler of EDM, with its optional noise injection ("churn").

Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", NeurIPS 2022, algorithms 1 and 2.
Euler's method is `dpm_solver_plan(sigmas, order=1)`: the two are the same formula.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from jaxlib_methods.diffusion.plan import Levels, SamplerPlan, make_grid, make_plan, units
from jaxlib_methods.numerics.checks import require, require_nonnegative

__all__ = ["Churn", "heun_plan"]


class Churn(NamedTuple):
    """Noise injection: S_churn, the range [S_min, S_max] of noise levels in which it acts, and S_noise."""

    amount: float
    minimum: float = 0.0
    maximum: float = np.inf
    noise: float = 1.0


def heun_plan(
    sigmas: Levels,
    *,
    churn: Churn | None = None,
    alphas: Levels | None = None,
    times: Levels | None = None,
) -> SamplerPlan:
    """Plan of Heun's method for dx/dsigma = (x - D) / sigma.

        d = (x - D(x, s)) / s,   x' = x + (s' - s) d,   d' = (x' - D(x', s')) / s',   x'' = x + (s' - s) (d + d') / 2

    A step to noise level 0 is the Euler step x' = D, so N steps that end there cost 2N - 1 evaluations, otherwise 2N.
    With churn, each step first raises its level to (1 + gamma) s by fresh noise of standard deviation
    S_noise sqrt((1 + gamma)^2 - 1) s, gamma = min(S_churn / N, sqrt(2) - 1) inside [S_min, S_max].

    Args:
      sigmas: N + 1 strictly decreasing noise levels; the last may be 0.
      churn: noise injection, for alphas = times = None only; the plan is then stochastic.
      alphas: signal scales, 1 by default; the step is then taken for x / alpha at sigma / alpha.
      times: what the denoiser receives at each level, `sigmas` by default.

    Returns:
      The plan for `sample`.

    Raises:
      ValueError: if the levels are not as above, or the churn is negative or combined with alphas or times.

    >>> heun_plan([3.0, 2.0, 1.0, 0.0]).evaluations
    5
    """
    grid = make_grid(sigmas, alphas, times)
    gamma = np.zeros(grid.steps)
    if churn is not None:
        require(alphas is None and times is None, "churn", churn, "None where alphas or times are given")
        gamma = _churn_gamma(churn, grid.sigmas)

    y, denoised, _, previous = units(1)
    points, rows = [], []
    for i, (level, following) in enumerate(zip(grid.sigmas[:-1] * (1 + gamma), grid.sigmas[1:], strict=True)):
        points.append(i)
        rows.append((y + (following - level) * (y - denoised) / level, y))
        if following > 0:
            second = previous + (following - level) * (y - denoised) / following
            points.append(i + 1)
            rows.append(((y + second) / 2, y))

    plan = make_plan(grid, points, rows)
    if churn is None:
        return plan
    times, noise = plan.times.copy(), np.zeros(len(points))
    times[::2] *= 1 + gamma
    noise[::2] = churn.noise * grid.sigmas[:-1] * np.sqrt(gamma * (2 + gamma))
    return replace(plan, times=times, noise=noise, stochastic=True)


def _churn_gamma(churn: Churn, sigmas: np.ndarray) -> np.ndarray:
    require_nonnegative("churn.amount", churn.amount)
    require_nonnegative("churn.noise", churn.noise)
    require(0 <= churn.minimum <= churn.maximum, "churn.minimum", churn.minimum, "in [0, churn.maximum]")
    inside = (churn.minimum <= sigmas[:-1]) & (sigmas[:-1] <= churn.maximum)
    return inside * min(churn.amount / (len(sigmas) - 1), np.sqrt(2) - 1)
