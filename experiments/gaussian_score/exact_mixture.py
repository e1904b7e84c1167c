"""What a teleported sampler loses on an exact mixture, and the orders of the solvers there."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gaussian_score.quality import start_points
from experiments.harness import Claim, Context, name_ticks, new_figure, sheet
from jaxlib_methods.diffusion import (
    dpm_solver_plan,
    edm_sigmas,
    heun_plan,
    log_snr_sigmas,
    mixture_denoise,
    sample,
    teleport,
    unipc_plan,
)
from jaxlib_methods.numerics import fit_gaussian

if TYPE_CHECKING:
    from experiments.gaussian_score import Config

SOLVERS = {
    "dpm-1": lambda sigmas: dpm_solver_plan(sigmas, order=1),
    "heun": heun_plan,
    "dpm-2m": lambda sigmas: dpm_solver_plan(sigmas, order=2),
    "dpm-3m": lambda sigmas: dpm_solver_plan(sigmas, order=3),
    "unipc-1": lambda sigmas: unipc_plan(sigmas, order=1),
    "unipc-2-bh1": lambda sigmas: unipc_plan(sigmas, order=2),
    "unipc-2-bh2": lambda sigmas: unipc_plan(sigmas, order=2, variant="bh2"),
    "unipc-3": lambda sigmas: unipc_plan(sigmas, order=3),
}
SOLVER_NAMES = {
    "dpm-1": "DPM-Solver++(1)",
    "heun": "Heun",
    "dpm-2m": "DPM-Solver++(2M)",
    "dpm-3m": "DPM-Solver++(3M)",
    "unipc-1": "UniPC-1",
    "unipc-2-bh1": "UniPC-2 (bh1)",
    "unipc-2-bh2": "UniPC-2 (bh2)",
    "unipc-3": "UniPC-3",
}


class Teleported(NamedTuple):
    """Mean squares a dimension: of the error (skip,), and of the shift from no skip (skip, batch of points)."""

    error: np.ndarray
    shift: np.ndarray


class Orders(NamedTuple):
    """Root-mean-square errors (solver, steps), geometric mean over seeds, and mean slopes with standard errors."""

    errors: np.ndarray
    slopes: np.ndarray
    slope_errors: np.ndarray
    pooled_slopes: np.ndarray


def teleportation(config: "Config", context: Context, key, x, mixture) -> Teleported:
    gaussian = fit_gaussian(x, mesh=context.mesh)
    gaussian = gaussian._replace(variances=gaussian.variances + config.ridge)
    denoise = lambda z, sigma: mixture_denoise(mixture, z, sigma, block=1)
    solve = jax.jit(lambda z, plan: sample(denoise, z, plan))

    start = start_points(key, (config.points, x.shape[1]), x.dtype)
    ends = []
    for skip in context.progress(config.skips, "skips"):
        moved, tail = teleport(gaussian, start, edm_sigmas(config.steps), skip)
        ends.append(solve(moved, heun_plan(tail)))
    reference = solve(start, unipc_plan(log_snr_sigmas(config.reference_steps), order=3))
    shifts = np.array([jnp.mean((end - ends[0]) ** 2, axis=1) for end in ends])
    return Teleported(
        error=np.array([jnp.mean((end - reference) ** 2) for end in ends]),
        shift=shifts.reshape(len(ends), -1, config.points_per_batch).mean(2),
    )


def solver_orders(config: "Config", context: Context, key, mixture) -> Orders:
    denoise = lambda z, sigma: mixture_denoise(mixture, z, sigma, block=1)
    solve = jax.jit(lambda z, plan: sample(denoise, z, plan))
    start = start_points(key, (config.solver_seeds, mixture.components.mean.shape[1]), mixture.weights.dtype)
    reference = solve(start, unipc_plan(log_snr_sigmas(config.solver_reference_steps), order=3))
    square = lambda plan: np.mean((np.asarray(solve(start, plan)) - np.asarray(reference)) ** 2, axis=1)
    squares = np.array(
        [
            [square(make_plan(log_snr_sigmas(steps))) for steps in config.solver_steps]
            for make_plan in context.progress(SOLVERS.values(), "solvers")
        ]
    )
    slope = lambda errors: np.polyfit(np.log(config.solver_steps), errors, 1)[0]
    slopes = np.stack([slope(0.5 * np.log(s)) for s in squares])
    return Orders(
        errors=np.exp(0.5 * np.log(squares).mean(2)),
        slopes=slopes.mean(1),
        slope_errors=slopes.std(1, ddof=1) / np.sqrt(config.solver_seeds),
        pooled_slopes=np.array([slope(0.5 * np.log(s.mean(1))) for s in squares]),
    )


def teleportation_claims(config: "Config", teleported: Teleported) -> list[Claim]:
    claim = sheet("reproduction (a)2")
    ratio = dict(zip(config.skips, teleported.error / teleported.error[0], strict=True))
    shift = dict(zip(config.skips, teleported.shift, strict=True))
    harmless = "On an exact mixture, skipping up to 6 of 18 Heun steps raises the squared error by at most 5 %."
    least = "On the mixture the error is least at 5 to 7 skipped steps."
    knee = "On the mixture the error at {} skipped steps is at least {} times that of no skip."
    moved = (
        "Skipping {} steps moves end points by a mean square of {:g}: within a factor 2 of the range over 20 batches."
    )
    return [
        claim(
            Claim.at_most, "teleport-harmless", harmless, expected=1.05, measured=max(ratio[skip] for skip in range(7))
        ),
        claim(Claim.between, "teleport-best-skip", least, low=5, high=7, measured=min(ratio, key=ratio.__getitem__)),
        claim(Claim.at_least, "teleport-knee", knee.format(8, 1.5), expected=1.5, measured=ratio[8]),
        claim(Claim.at_least, "teleport-too-far", knee.format(12, 30), expected=30, measured=ratio[12]),
        *[
            claim(
                Claim.ordering,
                f"teleport-shift-{skip}",
                moved.format(skip, value),
                expected=["half the least", "stated", "twice the largest"],
                measured={
                    "half the least": shift[skip].min() / 2,
                    "stated": value,
                    "twice the largest": shift[skip].max() * 2,
                },
            )
            for skip, value in {2: 3.7e-10, 4: 2.3e-8, 6: 2.2e-6, 8: 1.2e-3}.items()
        ],
    ]


def order_claims(config: "Config", orders: Orders) -> list[Claim]:
    claim = sheet("reproduction (a)3")
    order = dict(zip(SOLVERS, -orders.slopes, strict=True))
    statement = "On the mixture, {} converges with order {}."
    stated = {"dpm-1": (1.0, 0.15), "heun": (2.0, 0.15), "dpm-2m": (1.9, 0.15), "unipc-1": (1.9, 0.15)}
    stated |= {"unipc-2-bh1": (2.9, 0.3), "unipc-2-bh2": (2.9, 0.3)}
    floors = {"dpm-3m": 2.1, "unipc-3": 3.5}
    error = orders.errors[list(SOLVERS).index("unipc-3"), config.solver_steps.index(160)]
    return [
        *[
            claim(
                Claim.close,
                f"order-{name}",
                statement.format(SOLVER_NAMES[name], value),
                expected=value,
                measured=order[name],
                tolerance=tolerance,
            )
            for name, (value, tolerance) in stated.items()
        ],
        *[
            claim(
                Claim.at_least,
                f"order-{name}",
                statement.format(SOLVER_NAMES[name], f"{value} or more"),
                expected=value,
                measured=order[name],
            )
            for name, value in floors.items()
        ],
        claim(
            Claim.at_most,
            "unipc-3-error",
            "The error of UniPC-3 with 160 steps is below 1e-5.",
            expected=1e-5,
            measured=error,
        ),
    ]


def order_figure(config: "Config", orders: Orders):
    figure, axes = new_figure("steps", "rms error (geometric mean over seeds)", log=True)
    for name, errors, slope in zip(SOLVER_NAMES.values(), orders.errors, orders.slopes, strict=True):
        style = "s--" if name.startswith("UniPC") else "o-"
        axes.plot(config.solver_steps, errors, style, label=f"{name}: {-slope:.2f}")
    axes.set_title("Solver orders on the exact mixture")
    name_ticks(axes, config.solver_steps)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="order")
    return figure


def error_panel(config: "Config", axes, teleported: Teleported):
    axes.plot(config.skips, teleported.error / teleported.error[0], "o-")
    axes.set_title("exact mixture: squared error to a fine solution")
