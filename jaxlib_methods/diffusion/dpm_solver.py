"""DPM-Solver++ in its multistep forms: exponential integrators for a denoiser that is remembered.

Lu et al., "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models", 2022.
"""

import numpy as np

from jaxlib_methods.diffusion.plan import Grid, Levels, SamplerPlan, make_grid, make_plan, step_orders, units
from jaxlib_methods.numerics.checks import require_choice

__all__ = ["dpm_solver_plan"]


def dpm_solver_plan(
    sigmas: Levels,
    *,
    order: int,
    variant: str = "midpoint",
    lower_order_final: bool = True,
    alphas: Levels | None = None,
    times: Levels | None = None,
) -> SamplerPlan:
    """Plan of DPM-Solver++ of order 1 (DDIM, which is Euler's method), 2 (2M) or 3 (3M).

    With h the step in lambda = log(alpha / sigma), m the denoised samples (newest first), r0 and r1 the last two steps
    over h, phi1 = expm1(-h), phi2 = phi1 / h + 1, phi3 = phi2 / h - 1/2, a = (m0 - m1) / r0, b = (m1 - m2) / r1:

        order 1:  x' = (sigma' / sigma) x - alpha' phi1 m0
        order 2:  add - alpha' phi1 a / 2 ("midpoint") or alpha' phi2 a ("taylor")
        order 3:  add alpha' phi2 (a + r0 c) - alpha' phi3 c ("midpoint") or 2 alpha' phi3 c ("taylor"),
                  c = (a - b) / (r0 + r1)

    "taylor" expands the exact integral. At order 3 "midpoint" is the authors' form, which halves the last term: its
    errors are small but fall as h^2 in the limit, those of "taylor" as h^3.
    One evaluation per step. The order rises from 1; a step to noise level 0 returns the denoised sample.

    Args:
      sigmas: N + 1 noise levels, strictly decreasing relative to alphas; the last may be 0.
      order: 1, 2 or 3.
      variant: "midpoint" or "taylor".
      lower_order_final: let the order be at most the number of steps left, for stability with few steps.
      alphas: signal scales, 1 by default.
      times: what the denoiser receives at each level, `sigmas` by default.

    Returns:
      The plan for `sample`.

    Raises:
      ValueError: if the levels, the order or the variant are not as above.

    Source: Lu et al. 2022, algorithm 2 (2M); the third order as in the authors' code.

    >>> dpm_solver_plan([3.0, 2.0, 1.0, 0.0], order=2).evaluations
    3
    """
    require_choice("variant", variant, ("midpoint", "taylor"))
    grid = make_grid(sigmas, alphas, times)
    orders = step_orders(grid, order, lower_order_final)
    y, denoised, _, *older = units(order - 1)
    rows = [(_step(grid, i, orders[i], variant, y, [denoised, *older]), denoised) for i in range(grid.steps)]
    return make_plan(grid, range(grid.steps), rows)


def _step(grid: Grid, i: int, order: int, variant: str, x: np.ndarray, memory: list[np.ndarray]) -> np.ndarray:
    lambdas = grid.lambdas
    h = lambdas[i + 1] - lambdas[i]
    phi1 = np.expm1(-h)
    first = grid.sigmas[i + 1] / grid.sigmas[i] * x - phi1 * memory[0]
    if order == 1:
        return first
    phi2 = phi1 / h + 1
    r0 = (lambdas[i] - lambdas[i - 1]) / h
    a = (memory[0] - memory[1]) / r0
    if order == 2:
        return first - phi1 * a / 2 if variant == "midpoint" else first + phi2 * a
    phi3 = phi2 / h - 1 / 2
    r1 = (lambdas[i - 1] - lambdas[i - 2]) / h
    c = (a - (memory[1] - memory[2]) / r1) / (r0 + r1)
    return first + phi2 * (a + r0 * c) - (phi3 if variant == "midpoint" else 2 * phi3) * c
