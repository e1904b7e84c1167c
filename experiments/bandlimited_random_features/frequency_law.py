"""The bandwidth needed for a target of a given frequency."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bandlimited_random_features.config import Config
from experiments.harness import Claim, name_ticks, new_figure, sheet
from jaxlib_methods.random_features import (
    sweep_bandwidth,
)

FREQUENCY_TABLE = {
    2.0: (0.636, 0.183, 0.051, 0.013),
    5.0: (0.994, 0.633, 0.230, 0.064),
    10.0: (1.000, 0.979, 0.632, 0.223),
}


ACTIVATIONS = {"cos": jnp.cos, "tanh": jnp.tanh}


class Law(NamedTuple):
    """Relative errors (activation, lambda, frequency), mean over seeds, and the first good lambda."""

    errors: np.ndarray
    thresholds: np.ndarray
    slopes: np.ndarray


def frequency_law(config: Config, key) -> Law:
    x = jnp.linspace(-1, 1, config.law_points)[:, None]
    x_test = (x[1:] + x[:-1]) / 2
    targets = lambda x: jnp.sin(x * jnp.asarray(config.law_frequencies)[None])
    scale = jnp.sqrt(jnp.mean(targets(x_test) ** 2, 0))
    errors = []
    for name, activation in ACTIVATIONS.items():
        sweep = jax.jit(
            lambda lams, activation=activation, beta=np.pi if name == "cos" else None: sweep_bandwidth(
                key,
                x,
                targets(x),
                x_test,
                targets(x_test),
                lams,
                activation,
                widths=(config.law_units,),
                seeds=config.law_seeds,
                beta=beta,
                reg=1e-6 * config.law_points,
                relative=False,
            )[0]
        )
        errors.append(np.mean(np.asarray(sweep(jnp.asarray(config.law_lams))), (1, 2)) / np.asarray(scale))
    errors = np.array(errors)
    good = errors < 0.1
    lams = np.array(config.law_lams)
    thresholds = np.where(good.any(1), lams[good.argmax(1)], np.inf)
    high = np.array(config.law_frequencies) >= 8
    with np.errstate(invalid="ignore"):
        slopes = np.polyfit(np.log(np.array(config.law_frequencies)[high]), np.log(thresholds[:, high]).T, 1)[0]
    return Law(errors, thresholds, slopes)


def law_claims(config: Config, law: Law) -> list[Claim]:
    claim = sheet("reproduction (a)4")
    stated = {"cos": (1, 2, 6, 16, 32), "tanh": (1, 1, 2, 4, 12)}
    values = "For sin(w x), w = 2 to 32, {} features need the stated bandwidths, to one step of the grid."
    slope = "The bandwidth that {} features need grows as the frequency to the power 0.8 to 1.4 from w = 8 on."
    return [
        *[
            claim(
                Claim.within_factor,
                f"law-{name}",
                values.format(name),
                expected=stated[name],
                measured=law.thresholds[i],
                factor=1.501,
            )
            for i, name in enumerate(ACTIVATIONS)
        ],
        *[
            claim(Claim.between, f"law-{name}-slope", slope.format(name), low=0.8, high=1.4, measured=law.slopes[i])
            for i, name in enumerate(ACTIVATIONS)
        ],
    ]


def law_figure(config: Config, law: Law):
    figure, axes = new_figure("frequency w of the target", "least λ with relative error below 0.1", log=True)
    for i, name in enumerate(ACTIVATIONS):
        axes.plot(config.law_frequencies, law.thresholds[i], "o-", label=f"{name}: slope {law.slopes[i]:.2f}")
    axes.plot(config.law_frequencies, config.law_frequencies, "k--", lw=1, label="λ = w")
    name_ticks(axes, x=config.law_frequencies, y=config.law_frequencies)
    axes.legend()
    axes.set_title("The bandwidth needed grows with the frequency")
    return figure
