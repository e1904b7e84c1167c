"""The variance of features of a cosine layer, predicted and measured."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, new_figure, sheet
from experiments.scalable_neural_network_kernels.config import Config
from jaxlib_methods.random_features import (
    FourierKernel,
    ReluKernel,
    cosine_spectrum,
    rescale_rows,
    snnk_constants,
    snnk_features,
    snnk_moments,
    snnk_weight_features,
)

DAMPINGS = (0.0, 0.01, 0.05)


SPLITS = ("input", "sym")


STATED_VARIANCE = {0.0: 3.14, 0.01: 2.97, 0.05: 3.97, 1.0: 2.3e7}


class Variance(NamedTuple):
    """Cosine features: variances (split, damping, predicted and measured), errors (m,), and stated single cases."""

    variances: np.ndarray
    rmse: np.ndarray
    slope: float
    fixed_cosine: np.ndarray
    fixed_relu: np.ndarray
    pitfall: np.ndarray


def unit_rows(key, count: int, dim: int):
    return rescale_rows(jax.random.normal(key, (count, dim)), 1.0)


def estimate(kernel, key, x, w, b, m: int):
    """Values m Phi_l Psi_l (pair, feature): each alone estimates f(w.x + b)."""
    constants = snnk_constants(key, x.shape[1], m, kernel=kernel, dtype=x.dtype)
    phi = snnk_features(constants, x, kernel=kernel)
    psi = snnk_weight_features(constants, w.T, b, kernel=kernel).T
    return m * (phi * psi).reshape(len(x), m, -1).sum(2)


def cosine_variance(config: Config, context: Context, key) -> Variance:
    kernel = lambda split, damping: FourierKernel(cosine_spectrum(), split, damping)
    pair_key, measure_key, slope_key, pitfall_key = jax.random.split(key, 4)
    x, w = unit_rows(pair_key, 2, 8)[:, None]
    b = jnp.array([0.4])
    rows = []
    for split in SPLITS:
        for damping in DAMPINGS:
            values = estimate(kernel(split, damping), measure_key, x, w, b, config.variance_features)
            rows.append((snnk_moments(x, w, b, kernel=kernel(split, damping))[1][0], values.var()))

    errors = []
    for m in context.progress(config.slope_features, "features"):
        error = lambda k, m=m: estimate(kernel("input", 0.0), k, x, w, b, m).mean() - jnp.cos((x * w).sum() + b[0])
        values = jax.jit(lambda keys, e=error: jax.lax.map(e, keys, batch_size=20))
        errors.append(jnp.sqrt(jnp.mean(values(jax.random.split(slope_key, config.slope_draws)) ** 2)))
    rmse = np.array(errors)

    case = jnp.array([0.5, -0.25, 0.1, 0.0]), jnp.array([0.2, 0.4, -0.6, 0.3])
    bias = jnp.array(0.3)
    fixed = [snnk_moments(*case, bias, kernel=kernel("input", damping)) for damping in (0.0, 0.05)]
    many_x, many_w = (unit_rows(k, config.pitfall_pairs, 32) for k in jax.random.split(pitfall_key))
    biases = jnp.full(config.pitfall_pairs, 0.4)
    pitfall = [snnk_moments(many_x, many_w, biases, kernel=kernel("input", m))[1].mean() for m in STATED_VARIANCE]
    return Variance(
        variances=np.array(rows).reshape(len(SPLITS), len(DAMPINGS), 2),
        rmse=rmse,
        slope=float(np.polyfit(np.log(config.slope_features), np.log(rmse), 1)[0]),
        fixed_cosine=np.array([fixed[0][0], fixed[0][1], fixed[1][1]]),
        fixed_relu=np.array(snnk_moments(*case, kernel=ReluKernel())),
        pitfall=np.array(pitfall),
    )


def variance_claims(variance: Variance) -> list[Claim]:
    claim, pitfall = sheet("reproduction (a)1"), sheet("reproduction (a)2")
    predicted, measured = variance.variances[..., 0], variance.variances[..., 1]
    splits = "(alpha, beta) = (i, 1) and (e^(i pi/4), e^(i pi/4)), M = 0, 0.01, 0.05"
    return [
        claim(
            Claim.close,
            "variance-predicted",
            f"The variance of a cosine feature is the predicted one to 5 %, for {splits}.",
            expected=predicted.ravel(),
            measured=measured.ravel(),
            relative=0.05,
        ),
        claim(
            Claim.close,
            "error-slope",
            "The error falls as the inverse root of the number of features.",
            expected=-0.5,
            measured=variance.slope,
            tolerance=0.05,
        ),
        claim(
            Claim.close,
            "fixed-cosine",
            "For the stated pair the cosine is .971338 and a feature's variance 1.028052 at M = 0, .835423 at M = .05.",
            expected=[0.971338, 1.028052, 0.835423],
            measured=variance.fixed_cosine,
            tolerance=5e-7,
        ),
        claim(
            Claim.close,
            "fixed-relu",
            "For the stated pair the rectified kernel is .0584954 and a feature's variance .0332459.",
            expected=[0.0584954, 0.0332459],
            measured=variance.fixed_relu,
            tolerance=5e-8,
        ),
        pitfall(
            Claim.close,
            "damping-pitfall",
            "At d = 32 the variance is 3.14, 2.97, 3.97 and 2.3e7 at M = 0, .01, .05 and 1: mean over pairs, b = .4.",
            expected=list(STATED_VARIANCE.values()),
            measured=variance.pitfall,
            relative=0.02,
        ),
    ]


def variance_figure(config: Config, variance: Variance):
    figure, (left, right) = new_figure("", "measured variance of a feature", panels=2)
    names = ("α = i, β = 1", "α = β = exp(iπ/4)")
    for values, name in zip(variance.variances, names, strict=True):
        left.plot(values[:, 0], values[:, 1], "o", label=name)
    ends = np.array([variance.variances.min(), variance.variances.max()]) * [0.95, 1.05]
    left.plot(ends, ends, "--", color="C6", label="equal")
    left.set_xlabel("predicted variance of a feature")
    left.set_title("cos(w·x + b), d = 8, M = 0, 0.01, 0.05")
    left.legend()
    m = np.array(config.slope_features)
    right.loglog(m, variance.rmse, "o", label=f"measured, slope {variance.slope:.2f}")
    right.loglog(m, np.sqrt(variance.variances[0, 0, 0] / m), "--", color="C6", label="predicted")
    right.set_xlabel("number of features m")
    right.set_ylabel("rms error")
    right.set_title("α = i, β = 1, M = 0")
    right.legend()
    return figure
