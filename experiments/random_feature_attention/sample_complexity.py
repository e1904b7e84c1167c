"""Errors of every kernel on every target against the number of samples, beside the table."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, name_ticks, new_figure, sheet
from experiments.random_feature_attention.config import Config
from experiments.random_feature_attention.regression import (
    KERNELS,
    TARGETS,
    curve,
    kernel_matrix,
    lower_end,
    relative_errors,
    samples,
)

if TYPE_CHECKING:
    from experiments.random_feature_attention import Result


SIZES = (64, 128, 256, 512)


TABLE = {
    ("f1,2", "RFA"): (0.758, 0.452, 0.136, 0.017),
    ("f1,2", "BRFA 4"): (0.978, 0.818, 0.613, 0.398),
    ("f1,2", "RFMLP"): (1.06, 1.04, 0.90, 0.587),
    ("f1,3", "RFA"): (0.342, 0.321, 0.300, 0.280),
    ("f1,3", "RFMLP"): (0.494, 0.400, 0.334, 0.307),
    ("f2,1", "RFA"): (0.778, 0.433, 0.111, 0.016),
    ("f2,1", "RFMLP"): (1.07, 1.07, 0.836, 0.520),
    ("f2,2", "RFA"): (1.07, 1.08, 1.07, 1.05),
    ("f2,2", "BRFA 2"): (0.994, 0.920, 0.726, 0.561),
    ("f2,2", "BRFA 4"): (0.774, 0.612, 0.514, 0.471),
    ("f2,2", "RFMLP"): (1.08, 1.11, 1.11, 1.06),
    ("f2,4", "RFA"): (1.07, 1.11, 1.08, 1.05),
    ("f2,4", "BRFA 4"): (0.932, 0.794, 0.684, 0.621),
    ("f3", "RFA"): (0.768, 0.696, 0.563, 0.232),
    ("f3", "BRFA 4"): (0.454, 0.447, 0.422, 0.391),
    ("f3", "RFMLP"): (0.881, 0.798, 0.712, 0.686),
}


SMALL = 0.05


def sample_complexity(config: Config, context: Context, key) -> np.ndarray:
    ridges = jnp.array(config.ridges)
    options = {"heads": config.heads, "mesh": context.mesh}
    matrices = {name: jax.jit(functools.partial(kernel_matrix, name, **options)) for name in KERNELS}
    split = {"subsets": config.subsets, "validation": config.validation, "tests": config.tests}
    rows = []
    for seed in context.progress(range(config.seeds), "seeds"):
        count = max(config.sizes) + config.validation + config.tests
        x, y, head_key = samples(key, seed, count, config.keys, config.dim)
        for name in KERNELS:
            matrix = matrices[name](head_key, x)
            rows += [relative_errors(matrix, y, ridges, n=n, **split) for n in config.sizes]
    shape = config.seeds, len(KERNELS), len(config.sizes), len(TARGETS)
    return np.stack(rows).reshape(shape).transpose(1, 2, 0, 3)


def mean_error(config: Config, result: "Result", target: str, kernel: str, n: int | None = None) -> np.ndarray:
    """Errors by seed, at the largest size if none is given."""
    size = -1 if n is None else config.sizes.index(n)
    return result.errors[KERNELS.index(kernel), size, :, list(TARGETS).index(target)]


def as_tabulated(config: Config) -> bool:
    """Whether the setting is that of the table."""
    setting = config.dim, config.keys, config.heads, config.validation
    return setting == (8, 4, None, 0) and set(SIZES) <= {*config.sizes}


def table_claims(config: Config, result: "Result") -> list[Claim]:
    claim = sheet("reproduction quick 1")
    same, reason = as_tabulated(config), "needs the preset quick"
    made = []
    for target in dict.fromkeys(target for target, _ in TABLE):
        rows = {kernel: values for (name, kernel), values in TABLE.items() if name == target}
        large = [
            (kernel, n) for kernel, values in rows.items() for n, v in zip(SIZES, values, strict=True) if v >= SMALL
        ]
        made.append(
            claim(
                Claim.close,
                f"table-{target.replace(',', '-')}",
                f"Test errors of the mean of {TARGETS[target]} at n = 64 to 512: {', '.join(rows)}.",
                expected=[rows[kernel][SIZES.index(n)] for kernel, n in large],
                measured=[mean_error(config, result, target, *at).mean() for at in large] if same else reason,
                tolerance=0.12,
            )
        )
    small = [(*pair, n) for pair, values in TABLE.items() for n, v in zip(SIZES, values, strict=True) if v < SMALL]
    made.append(
        claim(
            Claim.within_factor,
            "table-small",
            "Test errors below 0.05, of RFA at n = 512 on f1,2 and f2,1.",
            expected=[TABLE[target, kernel][SIZES.index(n)] for target, kernel, n in small],
            measured=[mean_error(config, result, *at).mean() for at in small] if same else reason,
            factor=3.0,
        )
    )
    return made


def ordering_claims(config: Config, result: "Result") -> list[Claim]:
    claim, paper = sheet("reproduction quick 1"), sheet("claims to show", "paper")
    same, reason = as_tabulated(config), "needs the preset quick"
    n = 256 if 256 in config.sizes else None
    mean = lambda target, kernel: float(mean_error(config, result, target, kernel, n).mean())
    gap = lambda target, less, more: lower_end(
        mean_error(config, result, target, more, n) - mean_error(config, result, target, less, n)
    )
    last = lambda target, kernel: float(mean_error(config, result, target, kernel).mean())
    squares = ("f2,2", "f2,4")
    return [
        claim(
            Claim.ordering,
            "order-f1-2",
            "On ⟨β, x⟩² zero-mean heads beat biased heads, which beat the baseline.",
            expected=["RFA", "BRFA 4", "RFMLP"],
            measured={kernel: mean("f1,2", kernel) for kernel in ("RFA", "BRFA 4", "RFMLP")},
        ),
        claim(
            Claim.ordering,
            "order-f1-3",
            "On ⟨β, x⟩³ zero-mean heads beat the baseline.",
            expected=["RFA", "RFMLP"],
            measured={kernel: mean("f1,3", kernel) for kernel in ("RFA", "RFMLP")},
        ),
        claim(
            Claim.at_most,
            "biased-learns",
            "Biased heads learn ⟨q, x⟩² and ⟨q, x⟩⁴: error below 0.8.",
            expected=0.8,
            measured=[mean(target, "BRFA 4") for target in squares] if same else reason,
        ),
        claim(
            Claim.at_least,
            "others-do-not",
            "Zero-mean heads and the baseline learn nothing of them: error above 0.95.",
            expected=0.95,
            measured=[mean(target, k) for target in squares for k in ("RFA", "RFMLP")] if same else reason,
        ),
        paper(
            Claim.at_least,
            "intervals",
            "The gaps to the second best have 95 % intervals above 0: RFA to RFMLP on ⟨β, x⟩² and ⟨β, x⟩³, biased to "
            "zero-mean heads on ⟨q, x⟩² and ⟨q, x⟩⁴.",
            expected=0.0,
            measured=[gap(t, "RFA", "RFMLP") for t in ("f1,2", "f1,3")] + [gap(t, "BRFA 4", "RFA") for t in squares],
        ),
        paper(
            Claim.ordering,
            "degree-keys",
            "Higher degrees need more samples: zero-mean heads at the largest n on ⟨β, x⟩² and ⟨β, x⟩³.",
            expected=["f1,2", "f1,3"],
            measured={target: last(target, "RFA") for target in ("f1,2", "f1,3")},
        ),
        paper(
            Claim.ordering,
            "degree-inner",
            "So do biased heads on ⟨q, x⟩² and ⟨q, x⟩⁴.",
            expected=["f2,2", "f2,4"],
            measured={target: last(target, "BRFA 4") for target in squares},
        ),
    ]


def complexity_figure(config: Config, result: "Result", shown: tuple[str, ...]):
    figure, axes = new_figure("samples n", "relative test error", log="x", panels=len(shown))
    for ax, target in zip(axes, shown, strict=True):
        for i, kernel in enumerate(KERNELS):
            curve(ax, config.sizes, result.errors[i, ..., list(TARGETS).index(target)], color=f"C{i}", label=kernel)
        ax.set_title(f"mean of {TARGETS[target]}")
        ax.set_ylim(0, 1.2)
        name_ticks(ax, config.sizes)
    axes[0].legend()
    return figure
