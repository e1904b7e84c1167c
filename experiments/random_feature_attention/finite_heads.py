"""Finitely many heads against the kernel of infinitely many."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, name_ticks, new_figure, sheet
from experiments.random_feature_attention.config import PRESETS, Config
from experiments.random_feature_attention.regression import (
    TARGETS,
    alpha_of,
    curve,
    mlp_matrix,
    points,
    relative_errors,
    samples,
)
from experiments.random_feature_attention.sample_complexity import mean_error
from jaxlib_methods.attention import (
    RandomHeads,
    rfa_gram,
    rfa_init,
    rfa_kernel,
    rfmlp_init,
    sample_sphere_tokens,
)

if TYPE_CHECKING:
    from experiments.random_feature_attention import Result


def finite_heads(config: Config, context: Context, key) -> np.ndarray:
    """Errors of layers of M heads and of baselines with as many parameters; each adds heads to the one before."""
    dim, keys = PRESETS["quick"].dim, PRESETS["quick"].keys
    more = np.diff(config.finite_heads, prepend=0).tolist()
    relu, softmax = (jax.jit(functools.partial(rfa_gram, readout=readout, block=16)) for readout in ("relu", "softmax"))
    baseline = jax.jit(lambda weights, x: mlp_matrix(weights, x) / len(weights))
    plans = ("RFA", "f1,2", relu), ("RFA", "f1,2", softmax), ("RFMLP", "f1,2", baseline), ("BRFA 4", "f2,2", relu)
    split = {"n": config.finite_samples, "subsets": config.subsets, "validation": 0, "tests": config.tests}
    errors = []
    for seed in context.progress(range(config.finite_seeds), "finite heads"):
        x, y, head_key = samples(key, seed, config.finite_samples + config.tests, keys, dim)
        for name, target, matrix in plans:
            total = jnp.zeros((len(x), len(x)))
            for part_key, heads in zip(jax.random.split(head_key, len(more)), more, strict=True):
                if name == "RFMLP":
                    drawn = rfmlp_init(part_key, keys, dim, heads * (dim + 1), dtype=x.dtype)
                else:
                    drawn = rfa_init(part_key, dim, heads, alpha=alpha_of(name), dtype=x.dtype)
                total = total + heads * matrix(drawn, x)
                error = relative_errors(total, y, jnp.array(config.ridges), **split)
                errors.append(error[list(TARGETS).index(target)])
    shape = config.finite_seeds, len(plans), len(more)
    return np.array(errors).reshape(shape).transpose(1, 2, 0)


def monte_carlo(config: Config, key) -> tuple[np.ndarray, np.ndarray]:
    """One kernel entry from very many heads, and the error of the matrix of 40 sets against the number of heads."""
    sample_key, *head_keys = jax.random.split(key, 3)
    x = sample_sphere_tokens(sample_key, 40, 3, 4, dtype=jnp.float64)
    entry = jax.jit(lambda heads: rfa_gram(heads, x[:1], x[1:2], block=4096)[0, 0])
    step, counts = min(config.slope_heads), np.array(config.slope_heads)
    entries, deviations = [], []

    @jax.jit
    def deviations_of(weights, truth):
        """Of the first heads, for each count."""
        parts = weights.reshape(-1, step, *weights.shape[1:])
        sums = jnp.cumsum(jax.lax.map(lambda w: rfa_gram(RandomHeads(w), x, block=step), parts), 0)
        means = sums[counts // step - 1] / (counts // step)[:, None, None]
        return jnp.linalg.norm(means - truth[None], axis=(1, 2)) / jnp.linalg.norm(truth)

    for alpha, head_key in zip((0.0, 2.0), head_keys, strict=True):
        truth = jax.jit(functools.partial(rfa_kernel, alpha=alpha))(x, x)
        draw = lambda key, heads, alpha=alpha: rfa_init(key, 4, int(heads), alpha=alpha, dtype=x.dtype)
        entries.append((truth[0, 1], entry(draw(head_key, config.monte_carlo_heads))))
        draws = jax.random.split(head_key, config.slope_draws)
        deviations.append(np.stack([deviations_of(draw(key, counts.max()).key, truth) for key in draws], 1))
    return np.array(entries), np.array(deviations)


def kernel_claims(result: "Result") -> list[Claim]:
    claim = sheet("reproduction quick 2")
    exact, drawn = result.entries.T
    return [
        claim(
            Claim.at_most,
            "monte-carlo-entry",
            "A kernel entry from 400,000 heads is within 1 % of the closed form, for alpha 0 and 2.",
            expected=0.01,
            measured=np.abs(drawn / exact - 1),
        ),
        claim(
            Claim.close,
            "monte-carlo-slope",
            "The error of the matrix of M heads falls as M^(-1/2), M = 64 to 4096, for alpha 0 and 2.",
            expected=-0.5,
            measured=result.slopes,
            tolerance=0.08,
        ),
    ]


def heads_figure(config: Config, result: "Result"):
    figure, axes = new_figure("heads M", f"relative test error, n = {config.finite_samples}", log="x", panels=2)
    plans = [
        (0, 0, "RFA", "RFA", 0),
        (0, 1, "softmax heads", None, 5),
        (0, 2, "RFMLP, M (d + 1) units", "RFMLP", 3),
        (1, 3, "BRFA 4", "BRFA 4", 2),
    ]
    for panel, row, label, kernel, color in plans:
        points(axes[panel], config.finite_heads, result.finite[row], color=f"C{color}", label=label)
        if kernel and config.heads is None and config.finite_samples in config.sizes:
            exact = mean_error(config, result, ("f1,2", "f2,2")[panel], kernel, config.finite_samples).mean()
            axes[panel].axhline(exact, color=f"C{color}", ls="--")
    for ax, target in zip(axes, ("f1,2", "f2,2"), strict=True):
        ax.set_title(f"mean of {TARGETS[target]}; dashed: infinitely many")
        ax.set_ylim(0, 1.2)
        name_ticks(ax, config.finite_heads)
    axes[0].legend(loc=(0.4, 0.52))
    axes[1].legend()
    return figure


def kernel_figure(config: Config, result: "Result"):
    figure, ax = new_figure("heads M", "relative error of the kernel matrix", log=True)
    heads = np.array(config.slope_heads)
    for i, alpha in enumerate((0, 2)):
        curve(ax, heads, result.deviations[i], color=f"C{i}", label=f"alpha = {alpha}: slope {result.slopes[i]:.3f}")
    middle = np.exp(np.log(result.deviations.mean(-1)).mean() + 0.5 * np.log(heads).mean())
    ax.plot(heads, middle / np.sqrt(heads), "k--", label="slope -1/2")
    name_ticks(ax, config.slope_heads)
    ax.legend()
    return figure
