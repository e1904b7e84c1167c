"""The error of the polynomial method against its certificate."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, new_figure, sheet
from experiments.kronecker_attention.config import Config
from jaxlib_methods.attention import (
    kron_attention,
    kron_attention_poly,
    poly_error_bound,
    poly_plan,
)

BASES = ("taylor", "chebyshev")


class Polynomial(NamedTuple):
    """Largest error and certificate (basis, degree, draw); columns a degree."""

    errors: np.ndarray
    bounds: np.ndarray
    ranks: np.ndarray

    @property
    def typical(self) -> np.ndarray:
        """Geometric mean of the errors over the draws (basis, degree)."""
        return np.exp(np.log(self.errors).mean(-1))


def polynomial_errors(config: Config, key) -> Polynomial:
    """All draws share one radius, the largest logit of any."""
    draw = lambda key: jax.random.uniform(key, (config.draws, 20, 1, 4), jnp.float64, -1, 1)
    q, k, l, v, w = map(draw, jax.random.split(key, 5))
    args, scale = (q, (k, l), (v, w)), 0.25
    radius = float(jax.jit(lambda q, k, l: scale * jnp.abs(jnp.einsum("bihc,bjhc,blhc->bijl", q, k, l)).max())(q, k, l))
    plans = [[poly_plan(radius, 4, 0.99, n=20, basis=basis, degree=g) for g in config.degrees] for basis in BASES]

    @jax.jit
    def measure(q, ks, vs):
        exact = kron_attention(q, ks, vs, scale=scale, impl="reference")
        error = lambda plan: jnp.abs(kron_attention_poly(q, ks, vs, plan, scale=scale) - exact).max((1, 2, 3))
        bound = lambda plan: jax.vmap(functools.partial(poly_error_bound, plan))(vs)
        return [[[f(plan) for plan in row] for row in plans] for f in (error, bound)]

    errors, bounds = map(np.array, measure(*args))
    return Polynomial(errors, bounds, np.array([plan.rank for plan in plans[0]]))


def polynomial_claims(config: Config, polynomial: Polynomial) -> list[Claim]:
    bounded = "The error of the polynomial method is below its certificate, for every basis, degree and draw."
    falls = "Each degree more divides the error of Taylor's polynomial by 8 or more (geometric mean over the draws)."
    claim, columns = (
        sheet("reproduction (a)3"),
        "Degrees 1, 2, 3, 4, 6 in 4 dimensions take 5, 15, 35, 70, 210 columns.",
    )
    factors = np.exp(-np.diff(np.log(polynomial.typical[BASES.index("taylor")])) / np.diff(config.degrees))
    share = (polynomial.errors / polynomial.bounds).max()
    return [
        claim(Claim.at_most, "polynomial-certificate", bounded, expected=1.0, measured=share),
        claim(Claim.at_least, "polynomial-decay", falls, expected=8.0, measured=factors),
        claim(Claim.close, "polynomial-columns", columns, expected=[5, 15, 35, 70, 210], measured=polynomial.ranks),
    ]


def polynomial_figure(config: Config, polynomial: Polynomial):
    figure, axes = new_figure("degree of the polynomial", "largest error of the output", log="y")
    for basis, errors, typical, bounds, color in zip(
        BASES, polynomial.errors, polynomial.typical, polynomial.bounds, ("C1", "C0"), strict=True
    ):
        axes.plot(config.degrees, bounds.max(1), "s--", color=color, label=f"{basis.title()}, certificate")
        axes.fill_between(config.degrees, errors.min(1), errors.max(1), color=color, alpha=0.15, lw=0)
        axes.plot(config.degrees, typical, "o-", color=color, label=f"{basis.title()}, measured")
    lowest = polynomial.errors.min((0, 2))
    for degree, rank, error in zip(config.degrees, polynomial.ranks, lowest, strict=True):
        axes.annotate(f"r = {rank}", (degree, error / 3), ha="center", va="top", fontsize=7)
    axes.set_ylim(bottom=lowest.min() / 30)
    axes.set_xticks(config.degrees)
    axes.set_title(f"Polynomial method, n = 20, d = 4: mean and range of {config.draws} draws")
    axes.legend()
    return figure
