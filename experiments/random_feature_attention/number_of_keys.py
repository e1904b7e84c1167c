"""Errors against the number of keys, on which attention does not depend."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, name_ticks, new_figure, sheet
from experiments.random_feature_attention.config import Config
from experiments.random_feature_attention.regression import exact_kernel, points, relative_errors, samples
from experiments.random_feature_attention.sample_complexity import SMALL
from jaxlib_methods.numerics import gram

if TYPE_CHECKING:
    from experiments.random_feature_attention import Result


SCALING = {
    ("RFA", 2, 128): 0.133,
    ("RFA", 8, 128): 0.206,
    ("RFA", 2, 512): 0.002,
    ("RFA", 8, 512): 0.003,
    ("RFMLP", 2, 128): 0.50,
    ("RFMLP", 8, 128): 1.08,
    ("RFMLP", 2, 1024): 0.002,
    ("RFMLP", 8, 1024): 0.516,
}


SCALING_DIM = 6


def keys_scaling(config: Config, context: Context, key) -> np.ndarray:
    """Errors of f1,2 in six dimensions for sets of few and of many keys."""
    ridges, rows = jnp.array(config.ridges), []
    split = {"subsets": config.subsets, "validation": 0, "tests": config.tests}
    matrices = [jax.jit(functools.partial(gram, exact_kernel(name), block=64)) for name in ("RFA", "RFMLP")]
    for count in context.progress(config.scaling_keys, "keys"):
        for seed in range(config.scaling_seeds):
            x, y, _ = samples(key, seed, max(config.scaling_sizes) + config.tests, count, SCALING_DIM)
            for matrix in [matrix(x) for matrix in matrices]:
                errors = [relative_errors(matrix, y, ridges, n=n, **split) for n in config.scaling_sizes]
                rows.append(jnp.stack(errors)[:, 0])
    shape = len(config.scaling_keys), config.scaling_seeds, 2, len(config.scaling_sizes)
    return np.stack(rows).reshape(shape).transpose(2, 0, 3, 1)


def scaling_claims(config: Config, result: "Result") -> list[Claim]:
    claim = sheet("headline results, N-scaling")
    known = all(count in config.scaling_keys and n in config.scaling_sizes for _, count, n in SCALING)

    def measured(small):
        if not known:
            return "needs the preset quick"
        places = [
            (("RFA", "RFMLP").index(kernel), config.scaling_keys.index(count), config.scaling_sizes.index(n))
            for (kernel, count, n), value in SCALING.items()
            if (value < SMALL) == small
        ]
        return [result.scaling[place].mean() for place in places]

    return [
        claim(
            Claim.close,
            "keys-table",
            "The error of RFA on ⟨β, x⟩² does not grow with the number of keys, 2 or 8; that of RFMLP does: both at "
            "n = 128, RFMLP of 8 keys at n = 1024.",
            expected=[value for value in SCALING.values() if value >= SMALL],
            measured=measured(False),
            tolerance=0.12,
        ),
        claim(
            Claim.within_factor,
            "keys-small",
            "The same where it is learned: RFA of 2 and 8 keys at n = 512, RFMLP of 2 keys at n = 1024.",
            expected=[value for value in SCALING.values() if value < SMALL],
            measured=measured(True),
            factor=3.0,
        ),
    ]


def keys_figure(config: Config, result: "Result"):
    figure, ax = new_figure("samples n", "relative test error of the mean of ⟨β, x⟩²", log=True)
    for i, kernel in enumerate(("RFA", "RFMLP")):
        for j, count in enumerate(config.scaling_keys):
            style = dict(color=f"C{3 * i}", ls=("-", "--", ":", "-.")[j % 4], label=f"{kernel}, {count} keys")
            points(ax, config.scaling_sizes, result.scaling[i, j], **style)
    name_ticks(ax, config.scaling_sizes)
    ax.legend()
    return figure
