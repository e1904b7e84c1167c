"""Fu et al. 2023: random-feature attention learns functions of sets with fewer samples than random features of all.

    python -m experiments run random_feature_attention --preset quick    # 2 cores, about 40 s
    python -m experiments run random_feature_attention --preset full --mesh data=8    # an accelerator; not run here

Quick: sample complexity of exact infinite-head kernels (zero-mean heads, biased heads, the two-layer baseline) on six
targets, its dependence on the number of keys, finite heads, the closed form against Monte Carlo, and norms between
their bounds. `full` has the paper's scale: 16 dimensions, 16 keys, 1000 heads against 17,000 units, 10 seeds and the
ridge chosen on held-out samples.
"""

from typing import NamedTuple

import jax
import numpy as np

from experiments.harness import Claim, Context
from experiments.random_feature_attention.config import PRESETS, Config
from experiments.random_feature_attention.finite_heads import (
    finite_heads,
    heads_figure,
    kernel_claims,
    kernel_figure,
    monte_carlo,
)
from experiments.random_feature_attention.norms import norm_certificates, norm_claims, norm_figure
from experiments.random_feature_attention.number_of_keys import keys_figure, keys_scaling, scaling_claims
from experiments.random_feature_attention.sample_complexity import (
    complexity_figure,
    ordering_claims,
    sample_complexity,
    table_claims,
)

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Fu, Guo, Bai and Mei, What can a Single Attention Layer Learn?, NeurIPS 2023, arXiv 2307.11353"


class Result(NamedTuple):
    """What the parts measured.

    Attributes:
      errors: relative test error (kernel, size, seed, target), means over disjoint training sets.
      scaling: the same (RFA and RFMLP, keys, size, seed) of f1,2 against the number of keys.
      finite: the same (RFA f1,2, softmax f1,2, RFMLP f1,2, BRFA 4 f2,2; heads, seed) at 256 samples.
      entries: one kernel entry at alpha 0 and 2 (alpha, closed form and Monte Carlo).
      deviations: relative Frobenius error of the matrix of finitely many heads (alpha, heads, draw).
      slopes: of its logarithm in that of the heads, for each alpha.
      norms: y^T K^-1 y (keys, RFA and RFMLP, samples, target).
      bounds: of the norms, by all terms and by one (keys, RFA and RFMLP, terms, target).
    """

    errors: np.ndarray
    scaling: np.ndarray
    finite: np.ndarray
    entries: np.ndarray
    deviations: np.ndarray
    slopes: np.ndarray
    norms: np.ndarray
    bounds: np.ndarray


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 4)
    with jax.enable_x64(True):
        with context.section("sample complexity"):
            errors = sample_complexity(config, context, keys[0])
        with context.section("number of keys"):
            scaling = keys_scaling(config, context, keys[1])
        with context.section("finite heads"):
            finite = finite_heads(config, context, keys[0])
        with context.section("monte carlo"):
            entries, deviations = monte_carlo(config, keys[2])
        with context.section("norms"):
            norms, bounds = norm_certificates(config, keys[3])
    logs = np.log(deviations.mean(-1))
    slopes = np.polyfit(np.log(config.slope_heads), logs.T, 1)[0]
    return Result(errors, scaling, finite, entries, deviations, slopes, norms, bounds)


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *table_claims(config, result),
        *ordering_claims(config, result),
        *scaling_claims(config, result),
        *kernel_claims(result),
        *norm_claims(result),
    ]


def figures(config: Config, result: Result):
    yield "functions_of_keys", complexity_figure(config, result, ("f1,2", "f1,3", "f1,4"))
    yield "functions_of_products", complexity_figure(config, result, ("f2,1", "f2,2", "f2,4", "f3"))
    yield "keys", keys_figure(config, result)
    yield "heads", heads_figure(config, result)
    yield "kernel", kernel_figure(config, result)
    yield "norms", norm_figure(config, result)
