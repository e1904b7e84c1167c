"""UniPC: a predictor and a corrector of any order that share each network evaluation.

Zhao et al., "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models", NeurIPS 2023.
"""

from math import factorial

import numpy as np

from jaxlib_methods.diffusion.plan import Grid, Levels, SamplerPlan, make_grid, make_plan, step_orders, units
from jaxlib_methods.numerics.checks import require_choice

__all__ = ["unipc_plan"]


def unipc_plan(
    sigmas: Levels,
    *,
    order: int,
    variant: str = "bh1",
    lower_order_final: bool = True,
    alphas: Levels | None = None,
    times: Levels | None = None,
) -> SamplerPlan:
    """Plan of UniPC of order p = 1, 2 or 3 with data prediction.

    With h the step in lambda = log(alpha / sigma), m_0 the newest denoised sample, m_j the one j steps back at r_j h
    from it, and m_new the one at the predicted point (r = 1):

        x' = (sigma' / sigma) x - alpha' expm1(-h) m_0 - alpha' B sum_j rho_j (m_j - m_0) / r_j

    The predictor sums over the p - 1 older samples, the corrector over them and m_new; rho matches the expansion of
    the exact integral in h, with B = -h ("bh1") or expm1(-h) ("bh2"). One evaluation per step: the sample denoised at
    the predicted point corrects that point and then serves the next step. The end point is not corrected, and a step
    to noise level 0 returns the denoised sample.

    Args:
      sigmas: N + 1 noise levels, strictly decreasing relative to alphas; the last may be 0.
      order: p = 1, 2 or 3; the error falls as h^(p+1) once the start no longer matters.
      variant: "bh1" or "bh2".
      lower_order_final: let the order be at most the number of steps left, for stability with few steps.
      alphas: signal scales, 1 by default.
      times: what the denoiser receives at each level, `sigmas` by default.

    Returns:
      The plan for `sample`.

    Raises:
      ValueError: if the levels, the order or the variant are not as above.

    Source: Zhao et al. 2023, section 3, in its data-prediction form.

    >>> unipc_plan([3.0, 2.0, 1.0, 0.0], order=3, variant="bh2").evaluations
    3
    """
    require_choice("variant", variant, ("bh1", "bh2"))
    grid = make_grid(sigmas, alphas, times)
    orders = step_orders(grid, order, lower_order_final)
    y, denoised, _, *older = units(order)
    rows = []
    for i in range(grid.steps):
        x = y
        if i > 0:
            increment = lambda new, i=i: _step(grid, i - 1, orders[i - 1], variant, 0 * y, older, new)
            x = y + increment([denoised]) - increment([])
        rows.append((_step(grid, i, orders[i], variant, x, [denoised, *older], []), denoised))
    return make_plan(grid, range(grid.steps), rows)


def _step(
    grid: Grid, i: int, order: int, variant: str, x: np.ndarray, memory: list[np.ndarray], new: list[np.ndarray]
) -> np.ndarray:
    """Step from grid point i; corrects where `new` holds the sample denoised at the next point."""
    h = grid.lambdas[i + 1] - grid.lambdas[i]
    first = grid.sigmas[i + 1] / grid.sigmas[i] * x - np.expm1(-h) * memory[0]
    ratios = [(grid.lambdas[i - j] - grid.lambdas[i]) / h for j in range(1, order)] + [1.0] * len(new)
    if not ratios:
        return first
    scale = -h if variant == "bh1" else np.expm1(-h)
    differences = [(m - memory[0]) / r for m, r in zip(memory[1:order] + new, ratios, strict=True)]
    weights = _weights(-h, scale, np.array(ratios))
    return first - scale * sum(w * difference for w, difference in zip(weights, differences, strict=True))


def _weights(hh: float, scale: float, ratios: np.ndarray) -> np.ndarray:
    """Solves sum_k rho_k r_k^(j-1) = j! psi_j / B; one unknown is set to 1/2, its limit for small steps."""
    count = len(ratios)
    if count == 1:
        return np.array([0.5])
    psi, right = np.expm1(hh) / hh - 1, []
    for j in range(1, count + 1):
        right.append(psi * factorial(j) / scale)
        psi = psi / hh - 1 / factorial(j + 1)
    return np.linalg.solve(ratios[None] ** np.arange(count)[:, None], right)
