"""The closed forms against linear algebra, and what an early stop would give."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from experiments.exact_permutations.config import Config
from experiments.harness import Claim, new_figure, sheet
from jaxlib_methods.infinite_width import permutation_statistics

if TYPE_CHECKING:
    from experiments.exact_permutations import Result

KERNELS = ("ntk", "nngp")
COLORS = {"ntk": "C1", "nngp": "C0"}  # in all figures


def angular(cosine: np.ndarray, kernel: str) -> np.ndarray:
    """The kernel of unit vectors for inputs of length 1."""
    angle = np.arccos(cosine)
    hidden = (np.pi - angle) * cosine if kernel == "ntk" else 0
    return (np.sin(angle) + (np.pi - angle) * cosine + hidden) / (2 * np.pi)


def by_linear_algebra(k: int, kernel: str) -> np.ndarray:
    """Means at a true one and a true zero and the variance, for m = 1, ..., k ones, from matrices of all inputs."""
    ones = np.tril(np.ones((k, k)))
    cosines = ones / np.sqrt(ones.sum(1, keepdims=True))
    between, across = angular(np.eye(k), kernel), angular(cosines, kernel)
    weights = np.linalg.solve(between, across.T).T
    prior, prior_across = angular(np.eye(k), "nngp"), angular(cosines, "nngp")
    variance = 0.5 + np.sum(weights @ prior * weights, 1) - 2 * np.sum(weights * prior_across, 1)
    return np.stack([weights[:, 0], weights[:, -1], variance / k], 1)


def deviation(longest: int) -> float:
    """Largest difference over all lengths, numbers of ones and kernels; zeros count only where there are any."""
    statistics = jax.jit(permutation_statistics, static_argnames="kernel")
    k, m = (
        np.concatenate(a) for a in zip(*[(np.full(k, k), np.arange(k) + 1) for k in range(1, longest + 1)], strict=True)
    )
    worst = 0.0
    for kernel in KERNELS:
        truth = np.concatenate([by_linear_algebra(n, kernel) for n in range(1, longest + 1)])
        ours = np.stack(statistics(k, m, kernel=kernel), 1)
        gap = np.abs(ours - truth)
        gap[m == k, 1] = 0
        worst = max(worst, float(gap.max()))
    return worst


@jax.jit
def six(times):
    return permutation_statistics(6, 2, t=times)


def early_stops(times: np.ndarray) -> np.ndarray:
    """Means at a true one and a true zero, and standard deviation, by time, for two ones among six."""
    ones, zeros, variance = six(times)
    return np.stack([ones, zeros, np.sqrt(variance)])


def closed_form_claims(config: Config, result: "Result") -> list[Claim]:
    return [
        sheet("reproduction quick (a)")(
            Claim.at_most,
            "closed-forms",
            "Closed forms of both means and the variance are those of direct linear algebra for all k <= "
            f"{config.longest} and all numbers of ones, NTK and NNGP: largest deviation.",
            expected=1e-10,
            measured=result.deviation,
        ),
        sheet("oracle 4b")(
            Claim.close,
            "early-stop",
            "Training that is stopped early is not exact: the mean at a true zero (k = 6, m = 2, t = 1, 5, 20, 100) is "
            "positive at first.",
            expected=[0.021074, 0.041864, -0.002163, -0.013342],
            measured=early_stops(np.array([1.0, 5.0, 20.0, 100.0]))[1],
            tolerance=1e-6,
        ),
    ]


def early_stop_figure():
    figure, axes = new_figure("learning rate × training time", "output", log="x")
    times = np.geomspace(0.3, 300, 200)
    ones, zeros, spread = early_stops(times)
    for mean, color, label in ((ones, "C0", "true one"), (zeros, "C1", "true zero")):
        axes.plot(times, mean, color=color, label=label)
        axes.fill_between(times, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.annotate(
        "true zeros vote right\nfrom here on",
        (times[np.argmax((zeros < 0) & (times > 5))], 0),
        xytext=(30, -0.2),
        arrowprops={"arrowstyle": "-", "color": "#555555"},
    )
    axes.set_title("mean and standard deviation of one network, k = 6, m = 2")
    axes.legend(loc="upper left")
    return figure
