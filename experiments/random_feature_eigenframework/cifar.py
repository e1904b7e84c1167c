"""Random features of CIFAR-10 against their number."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, sheet
from experiments.random_feature_eigenframework.config import PAPERS, Config
from experiments.random_feature_eigenframework.images import feature_trials
from experiments.random_feature_eigenframework.simulation import Curves, Lines, fine, predicted
from jaxlib_methods.generalization import (
    empirical_eigenstructure,
    pool_corrected,
    rf_errors,
)
from jaxlib_methods.numerics import arc_cosine_kernel, gram

STORED_CIFAR = {15: 0.8744, 10_000: 0.7249}


class Cifar(NamedTuple):
    """CIFAR-10 over k, and the theory at the three points with a stored value."""

    curves: Curves
    lines: Lines
    stored: np.ndarray


def cifar_panel(config: Config, context: Context, key) -> Cifar:
    """Random ReLU features on CIFAR-10, five classes against five: the paper's setting on a smaller pool."""
    data, n, pool, paper = context.data("cifar10"), 256, config.cifar_pool, PAPERS
    x = np.asarray(data.train_x[:pool], float).reshape(pool, -1)
    x = jnp.asarray((x - x.mean()) / x.std())
    y = jnp.asarray(np.where(np.isin(data.train_y[:pool], (0, 1, 7, 8, 9)), 1.0, -1.0))
    ridges = jnp.asarray(paper.ridges)
    with context.section("cifar10 eigenstructure"):
        kernel = jax.jit(lambda x: gram(arc_cosine_kernel, x, mesh=context.mesh))(x)
        eigen = jax.jit(empirical_eigenstructure)(kernel, y)

    ks = np.array(paper.ks)
    with context.section("cifar10 random features"):
        keys = context.progress(jax.random.split(key, config.cifar_trials), "cifar10 features")
        errors = feature_trials(x, y, keys, ridges, ks, n=n, tests=paper.tests)
    test, train = rf_errors(eigen, n, ks[None], ridges[:, None])
    curves = Curves(errors, np.stack([pool_corrected(test, train, n, pool), train]))
    lines = Lines(fine(paper.ks), *predicted(eigen, n, fine(paper.ks), ridges, 0.0))
    errors, _ = predicted(eigen, n, 255.0, ridges[:1], 0.0)
    _, best = predicted(eigen, n, np.array([*STORED_CIFAR], float), ridges, 0.0)
    return Cifar(curves, lines, np.append(errors, best))


def cifar_claims(cifar: Cifar | str) -> list[Claim]:
    claim = sheet("headline results, figure RF (b)", "authors' code")
    held = lambda get: cifar if isinstance(cifar, str) else get(cifar)
    near = int(np.abs(np.array(PAPERS.ks) - 251).argmin())
    return [
        claim(
            Claim.close,
            "cifar10-simulation",
            "On CIFAR-10 random ReLU features at k = 251 and the least ridge err by 2.659, to one deviation.",
            expected=2.659,
            measured=held(lambda cifar: cifar.curves.measured[0, 0, near].mean()),
            tolerance=0.287,
        ),
        claim(
            Claim.close,
            "cifar10-theory",
            "The theory's error at k = 255 and the least ridge is 2.5737; at best ridges it is 0.8744 at k = 15 and "
            "0.7249 at k = 10,000; within 5 %.",
            expected=[2.5737, *STORED_CIFAR.values()],
            measured=held(lambda cifar: cifar.stored),
            relative=0.05,
        ),
    ]
