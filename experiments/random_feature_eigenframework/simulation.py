"""Simulated regression on Gaussian features, beside the theory."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, name_ticks, new_figure, sheet
from experiments.random_feature_eigenframework.config import PAPERS, SMALL, Config, Simulation
from jaxlib_methods.generalization import (
    optimal_ridge,
    rf_curve_errors,
    rf_errors,
    sample_gaussian_task,
)

if TYPE_CHECKING:
    from experiments.random_feature_eigenframework import Result


STORED_SIMULATION = {  # theory's test and train error, by (n, k, ridge)
    (60, 100, 0.05): (1.2414, 0.01575),
    (100, 60, 0.05): (1.3205, 0.2620),
    (60, 60, 0.3): (1.1542, 0.1939),
    (60, 400, 0.01): (0.7725, 1.7e-4),
}


class Curves(NamedTuple):
    """Test and train errors (part, ridge, size, trial) beside the theory's (part, ridge, size)."""

    measured: np.ndarray
    theory: np.ndarray


class Lines(NamedTuple):
    """The theory's test error at many sizes: (ridge, size), and at the best ridge (size,)."""

    sizes: np.ndarray
    errors: np.ndarray
    best: np.ndarray


def simulate(config: Simulation, context: Context, key, eigen) -> tuple[Curves, Curves, Lines, Lines]:
    """One draw of points and features a trial; its first features, or first samples, make the curve."""
    ridges = jnp.asarray(config.ridges)

    def curves(key, ns, ks, over: str) -> Curves:
        n, k, sizes = max(ns), max(ks), jnp.asarray(ks if over == "features" else ns)

        @jax.jit
        def trial(key):
            features, y = sample_gaussian_task(key, eigen, n + config.tests, k, config.noise)
            return jnp.stack(rf_curve_errors(features[:n], features[n:], y[:n], y[n:], ridges, sizes, over=over))

        errors = [trial(k) for k in context.progress(jax.random.split(key, config.trials), f"over {over}")]
        theory = rf_errors(eigen, np.array(ns)[None], np.array(ks)[None], ridges[:, None], config.noise)
        return Curves(np.moveaxis(np.stack(errors), (0, 3), (3, 1)), np.stack(theory))

    keys = jax.random.split(key)
    over_k = curves(keys[0], (config.n,), config.ks, "features")
    over_n = curves(keys[1], config.ns, (config.k,), "samples")
    many_n, many_k = fine(config.ns), fine(config.ks)
    lines_over_k = Lines(many_k, *predicted(eigen, config.n, many_k, ridges, config.noise))
    lines_over_n = Lines(many_n, *predicted(eigen, many_n, config.k, ridges, config.noise))
    return over_k, over_n, lines_over_k, lines_over_n


def fine(sizes: tuple[int, ...]) -> np.ndarray:
    return np.geomspace(min(sizes), max(sizes), 60)


@jax.jit
def predicted(eigen, n, k, ridges, noise) -> tuple[jax.Array, jax.Array]:
    """Test error at every ridge and at the best, for arrays of sizes."""
    grid = lambda size: jnp.atleast_1d(jnp.asarray(size, ridges.dtype))
    errors, _ = rf_errors(eigen, grid(n)[None], grid(k)[None], ridges[:, None], noise)
    return errors, optimal_ridge(eigen, grid(n), grid(k), noise)[1]


def simulation_claims(config: Config, result: "Result") -> list[Claim]:
    claim, paper = sheet("reproduction quick 2"), sheet("headline results, figure RF (a)", "authors' code")
    simulation = config.simulation
    if simulation.modes != SMALL.modes:
        table = theory = other = "needs the preset quick or cifar10"
    else:
        points = [_point(config, result, *point) for point in STORED_SIMULATION]
        table = np.array([measured.mean(-1) / theory for measured, theory in points])
        theory, other = np.array([theory for _, theory in points]), "needs the preset full"
    if simulation.modes == PAPERS.modes:
        ks = np.array(simulation.ks)
        column = {k: int(np.abs(ks - k).argmin()) for k in (251, 1000, 10_000)}
        means = result.over_k.measured.mean(-1)
        other = [means[0, 0, column[251]], means[0, 0, column[1000]], means[0, 1, column[10_000]]]
    stored = np.array([*STORED_SIMULATION.values()])
    split = lambda values, part: values if isinstance(values, str) else values[:, part]
    return [
        claim(
            Claim.close,
            "simulation-theory",
            "Theory at the four simulated points is as stored, to the stored digits.",
            expected=stored,
            measured=theory,
            tolerance=np.array([[5e-5, 5e-6], [5e-5, 5e-5], [5e-5, 5e-5], [5e-5, 5e-6]]),
        ),
        claim(
            Claim.between,
            "simulation-test",
            "Simulated test errors are within 5 % of the theory's.",
            low=0.95,
            high=1.05,
            measured=split(table, 0),
        ),
        claim(
            Claim.between,
            "simulation-train",
            "Simulated train errors are within 10 % of the theory's.",
            low=0.9,
            high=1.1,
            measured=split(table, 1),
        ),
        paper(
            Claim.close,
            "paper-simulation",
            "Simulated errors at n = 256 are the paper's within its standard deviations: k = 251 and 1000 at the least "
            "ridge, k = 10,000 at 0.1.",
            expected=[2.892, 1.208, 0.896],
            measured=other,
            tolerance=np.array([0.386, 0.087, 0.046]),
        ),
    ]


def _point(config: Config, result: "Result", n: int, k: int, ridge: float):
    """Measured (part, trial) and theory (part,) of one point."""
    simulation = config.simulation
    curves, sizes, size = (result.over_k, simulation.ks, k) if n == simulation.n else (result.over_n, simulation.ns, n)
    where = simulation.ridges.index(ridge), sizes.index(size)
    return curves.measured[(slice(None), *where)], curves.theory[(slice(None), *where)]


def curves_figure(panels, ridges):
    """Test error against size with theory lines and error bars of one standard deviation over trials."""
    figure, axes = new_figure("", "test error", log=True, panels=len(panels))
    axes = np.atleast_1d(axes)
    for ax, (label, (sizes, curves, lines)) in zip(axes, panels.items(), strict=True):
        for i, ridge in enumerate(ridges):
            mean, spread = curves.measured[0, i].mean(-1), curves.measured[0, i].std(-1)
            ax.errorbar(sizes, mean, spread, fmt="o", color=f"C{i}", capsize=2, label=f"ridge {ridge:.3g}")
            ax.plot(lines.sizes, lines.errors[i], color=f"C{i}")
        ax.plot(lines.sizes, lines.best, "k--", label="best ridge, theory")
        ax.set_xlabel(label)
        if len(sizes) < 8:
            name_ticks(ax, sizes)
    axes[0].legend()
    return figure
