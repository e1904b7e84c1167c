"""DPM-Solver-v3: an exponential integrator whose linear part is measured on the model.

With f = (sigma eps - l x) / alpha, which is (1 - l) x - D for alpha = 1, the probability flow in lambda is
dx/dlambda = -l x - f. Per pixel, l takes the linear part out of the network, and f' = s f + b + (rest) is expanded
around its best affine fit; what is left varies slowly, so few steps suffice.

Zheng et al., "DPM-Solver-v3: Improved Diffusion ODE Solver with Empirical Model Statistics", NeurIPS 2023.
"""

from collections.abc import Callable
from math import factorial, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxlib_methods.diffusion.plan import Levels, SamplerPlan, make_grid, make_plan, step_orders, units
from jaxlib_methods.numerics.checks import require, require_finite, require_positive, require_size

__all__ = ["ModelStatistics", "dpm_solver_v3_plan", "dpm_solver_v3_statistics"]


class ModelStatistics(NamedTuple):
    """Per-pixel statistics of a VE denoiser on a fine, increasing grid of lambda = -log(sigma)."""

    lambdas: Float[Array, " levels"]
    l: Float[Array, "levels *event"]
    s: Float[Array, "levels *event"]
    b: Float[Array, "levels *event"]


def dpm_solver_v3_statistics(
    key: Key[Array, ""],
    denoise: Callable[[Array, Array], Array],
    data: Float[Array, "n *event"],
    lambdas: Levels,
    *,
    num_probes: int | None = None,
) -> ModelStatistics:
    """Measures l, s, b of a denoiser at x = data + sigma eps, sigma = exp(-lambda).

        l = 1 - E diag(dD/dx),   s = cov(f, f') / var(f),   b = E f' - s E f,   f = (1 - l) x - D,
        f' = df/dlambda along the flow dx/dlambda = D - x, dsigma/dlambda = -sigma

    per pixel, over the data. Where f is constant to rounding, s = 0. The authors use 120 levels and 4096 images for
    ten evaluations or more, 1200 levels and 1024 images for fewer.

    Args:
      key: fresh noise for each level.
      denoise: VE denoiser D(x, sigma) of x (n, *event) and scalar sigma, differentiable in both.
      data: clean samples; may be sharded along its first axis.
      lambdas: increasing levels, at least 2; give several per sampler step, as l is differentiated over them.
      num_probes: Rademacher probes for the diagonal; None takes the exact diagonal, one derivative per pixel.

    Returns:
      The statistics in the dtype of `data`.

    Raises:
      ValueError: if lambdas are not finite and increasing, data have no sample, or num_probes is below 1.

    Cost: per level d (or num_probes) + 2 derivatives of the network on all data; levels are done one after another.

    Source: Zheng et al. 2023, section 3.

    >>> gaussian = lambda x, sigma: x / (1 + sigma**2)
    >>> dpm_solver_v3_statistics(jax.random.key(0), gaussian, jnp.ones((4, 3)), jnp.array([-1.0, 0.0, 1.0])).l.shape
    (3, 3)
    """
    lambdas = jnp.asarray(lambdas, data.dtype)
    _require_increasing(lambdas)
    require(data.ndim >= 1 and data.shape[0] >= 1, "data", f"shape {data.shape}", "at least one sample")
    if num_probes is not None:
        require_size("num_probes", num_probes)
    gain_key, flow_key = jax.random.split(key)
    measure = lambda level: _mean_diagonal(level[0], denoise, data, jnp.exp(-level[1]), num_probes)
    gain = jax.lax.map(measure, (jax.random.split(gain_key, len(lambdas)), lambdas))
    slope = jnp.gradient(gain, lambdas, axis=0)

    def affine(level):
        key, lambda_, gain, slope = level
        sigma = jnp.exp(-lambda_)
        x = data + sigma * jax.random.normal(key, data.shape, data.dtype)
        flow = denoise(x, sigma) - x
        denoised, change = jax.jvp(denoise, (x, sigma), (flow, -sigma))
        return _affine_fit(gain[None] * x, denoised, slope[None] * x + gain[None] * flow, change)

    s, b = jax.lax.map(affine, (jax.random.split(flow_key, len(lambdas)), lambdas, gain, slope))
    return ModelStatistics(lambdas, 1 - gain, s, b)


def dpm_solver_v3_plan(
    statistics: ModelStatistics,
    sigmas: Levels,
    *,
    order: int,
    corrector: bool = False,
    pseudo: bool = False,
    lower_order_final: bool = True,
    alphas: Levels | None = None,
    times: Levels | None = None,
) -> SamplerPlan:
    """Plan of DPM-Solver-v3 of order 1, 2 or 3 with per-pixel coefficients.

    With L and S the integrals of l and s from the step's start, T its end, delta = lambda - lambda_start,
    w = exp(L - L_T + S), beta = integral of exp(-S) b, and g = exp(-S) f - beta at the points evaluated so far:

        x' = (alpha' / alpha) exp(-L_T) x - alpha' (int w beta + sum_k g^(k) int w delta^k / k!),   k = 0..order-1.

    Integrals are trapezoidal over the levels of the statistics and the points of the sampler, statistics in between
    being interpolated. Derivatives g^(k) come from the interpolating polynomial of the last `order` points. The
    corrector redoes each step but the last with the new point added, one order higher, at no extra evaluation.
    A step to noise level 0 returns the denoised sample. With l = 1, s = b = 0 this is the "taylor" form of
    DPM-Solver++.

    Args:
      statistics: of the model, on levels that cover the positive noise levels of the sampler.
      sigmas: N + 1 noise levels, strictly decreasing relative to alphas; the last may be 0.
      order: 1, 2 or 3.
      corrector: helps with six evaluations or fewer.
      pseudo: take g^(k) = k! times the divided difference of the nearest k + 1 points; steadier with five steps or
        fewer.
      lower_order_final: let the order be at most the number of steps left. Unless l is close to 1 at the last levels,
        this keeps the error from falling faster than h^2.
      alphas: signal scales, 1 by default; statistics are those of the VE denoiser in either case.
      times: what the denoiser receives at each level, `sigmas` by default.

    Returns:
      The plan for `sample`; its table has 2 N (order + 2) numbers per pixel, with the corrector 2 N (order + 3).

    Raises:
      ValueError: if the levels, the order or the statistics are not as above.

    Source: Zheng et al. 2023, section 3.

    >>> trivial = ModelStatistics(jnp.array([-2.0, 2.0]), jnp.ones((2, 3)), jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    >>> dpm_solver_v3_plan(trivial, [3.0, 1.0, 0.5, 0.0], order=2).table.shape
    (3, 2, 4, 3)
    """
    grid = make_grid(sigmas, alphas, times)
    orders = step_orders(grid, order, lower_order_final)
    fine = _refine(statistics, grid.lambdas[np.isfinite(grid.lambdas)])
    y, denoised, one, *older = units(order - 1 + corrector, fine.l.shape[1:])
    rows = []
    for i in range(grid.steps):
        f = (1 - fine.l[fine.place(grid.lambdas[i])]) * y - denoised
        x = y
        if corrector and i > 0:
            known = i - 1 - np.arange(orders[i - 1])
            increment = lambda known, functions, i=i: _step(
                fine, grid.lambdas[known], grid.lambdas[i], 0 * y, functions, one, pseudo
            )
            corrected = increment([known[0], i, *known[1:]], [older[0], f, *older[1:]])
            x = y + corrected - increment(known, older)
        following = denoised
        if grid.sigmas[i + 1] > 0:
            here = i - np.arange(orders[i])
            following = _step(fine, grid.lambdas[here], grid.lambdas[i + 1], x, [f, *older], one, pseudo)
        rows.append((following, f))
    return make_plan(grid, range(grid.steps), rows)


def _mean_diagonal(key, denoise, data, sigma, num_probes):
    """Mean over the data of the diagonal of dD/dx: (*event,)."""
    noise_key, probe_key = jax.random.split(key)
    event = data.shape[1:]
    x = data + sigma * jax.random.normal(noise_key, data.shape, data.dtype)
    _, push = jax.linearize(lambda x: denoise(x, sigma), x)

    def accumulate(i, total):
        if num_probes is None:
            probe = jax.nn.one_hot(i, prod(event), dtype=data.dtype).reshape(1, *event)
        else:
            probe = jax.random.rademacher(jax.random.fold_in(probe_key, i), data.shape, data.dtype) / num_probes**0.5
        return total + jnp.mean(probe * push(jnp.broadcast_to(probe, data.shape)), 0)

    count = prod(event) if num_probes is None else num_probes
    return jax.lax.fori_loop(0, count, accumulate, jnp.zeros(event, data.dtype))


def _affine_fit(linear, denoised, linear_change, denoised_change):
    """Regresses f' on f = linear - denoised per pixel: slope and intercept."""
    f, change = linear - denoised, linear_change - denoised_change
    mean, mean_change = f.mean(0), change.mean(0)
    centred = f - mean[None]
    variance = jnp.mean(centred**2, 0)
    rounding = (32 * jnp.finfo(f.dtype).eps) ** 2 * jnp.mean(linear**2 + denoised**2, 0)
    varies = variance > rounding
    covariance = jnp.mean(centred * (change - mean_change[None]), 0)
    s = jnp.where(varies, covariance / jnp.where(varies, variance, 1), 0)
    return s, mean_change - s * mean


class _Levels(NamedTuple):
    """Statistics in float64 at the measured levels and the sampler's points."""

    lambdas: np.ndarray
    l: np.ndarray
    s: np.ndarray
    b: np.ndarray

    def place(self, lambda_: float) -> int:
        return int(np.searchsorted(self.lambdas, lambda_))


def _refine(statistics: ModelStatistics, points: np.ndarray) -> _Levels:
    lambdas, *values = (np.asarray(a, np.float64) for a in statistics)
    _require_increasing(lambdas)
    for name, value in zip("lsb", values, strict=True):
        fits = value.shape == (len(lambdas), *values[0].shape[1:])
        require(fits, f"statistics.{name}", f"shape {value.shape}", f"one value per pixel at {len(lambdas)} levels")
        require_finite(f"statistics.{name}", value)
    slack = 1e-5 * (1 + np.abs(lambdas).max())
    covered = lambdas[0] - slack <= points[0] and points[-1] <= lambdas[-1] + slack
    span = f"[{np.exp(-lambdas[-1]):.6g}, {np.exp(-lambdas[0]):.6g}]"
    require(
        covered, "sigmas", f"[{np.exp(-points[-1]):.6g}, {np.exp(-points[0]):.6g}]", f"within the statistics' {span}"
    )
    nodes = np.union1d(lambdas, points)
    left = np.clip(np.searchsorted(lambdas, nodes, side="right") - 1, 0, len(lambdas) - 2)
    share = np.clip((nodes - lambdas[left]) / np.diff(lambdas)[left], 0, 1)
    share = share.reshape(-1, *(1,) * (values[0].ndim - 1))
    return _Levels(nodes, *((1 - share) * value[left] + share * value[left + 1] for value in values))


def _step(fine, points, end, x, functions, one, pseudo):
    """Step from points[0] to `end` through the values f at all points; arrays are combinations of units."""
    first, start = fine.place(points.min()), fine.place(points[0])
    window, origin = slice(first, fine.place(end) + 1), start - first
    delta = fine.lambdas[window] - points[0]
    l, s, b = (a[window] for a in fine[1:])
    L, S = _integral(delta, l, origin), _integral(delta, s, origin)
    beta = _integral(delta, np.exp(-S) * b, origin)
    weight = np.exp(L - L[-1] + S)
    moment = lambda a: _integral(delta, weight * a, origin)[-1]

    places = [fine.place(point) - first for point in points]
    g = [np.exp(-S[j]) * f - beta[j] * one for j, f in zip(places, functions, strict=False)]
    powers = delta.reshape(-1, *(1,) * (l.ndim - 1))
    derivatives = _derivatives(g, points - points[0], pseudo)
    series = sum(moment(powers**k / factorial(k)) * derivative for k, derivative in enumerate(derivatives))
    return np.exp(-L[-1]) * x - moment(beta) * one - series


def _integral(nodes: np.ndarray, values: np.ndarray, origin: int) -> np.ndarray:
    """Trapezoidal integral from node `origin` to each node."""
    widths = np.diff(nodes).reshape(-1, *(1,) * (values.ndim - 1))
    total = np.concatenate([np.zeros_like(values[:1]), np.cumsum(widths * (values[1:] + values[:-1]) / 2, axis=0)])
    return total - total[origin]


def _derivatives(g: list[np.ndarray], delta: np.ndarray, pseudo: bool) -> list[np.ndarray]:
    """Value and derivatives at the first point, from values at all points."""
    if not pseudo:
        vandermonde = np.stack([delta**k / factorial(k) for k in range(len(g))], axis=1)
        return list(np.tensordot(np.linalg.inv(vandermonde), np.stack(g), axes=1))
    result, differences = [g[0]], g
    for k in range(1, len(g)):
        gaps = delta[k:] - delta[:-k]
        differences = [(b - a) / gap for a, b, gap in zip(differences, differences[1:], gaps, strict=False)]
        result.append(factorial(k) * differences[0])
    return result


def _require_increasing(lambdas: Array | np.ndarray) -> None:
    require(
        lambdas.ndim == 1 and lambdas.size >= 2, "lambdas", f"shape {lambdas.shape}", "one axis with 2 levels or more"
    )
    require_positive("steps of lambdas", lambdas[1:] - lambdas[:-1])
