"""A tanh layer in harmonics: bias against variance."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, new_figure, sheet
from experiments.scalable_neural_network_kernels.config import Config
from experiments.scalable_neural_network_kernels.variance import unit_rows
from jaxlib_methods.random_features import (
    FourierKernel,
    snnk_constants,
    snnk_features,
    snnk_moments,
    snnk_weight_features,
    tanh_spectrum,
)

STATED_HARMONICS = {3: (0.70, 9.7e-2), 4: (0.83, 4.4e-2), 5: (1.07, 1.9e-2), 6: (1.77, 8.6e-3), 8: (38.0, None)}


class Tanh(NamedTuple):
    """tanh in harmonics: predicted and measured mean square error, and for each count variance and series error."""

    predicted: float
    measured: float
    variances: np.ndarray
    series_errors: np.ndarray


def tanh_layer(config: Config, key) -> Tanh:
    """Inputs (64, 16) and weights (16, 32) of norm 1; every harmonic has `tanh_features` features of its own."""
    x_key, w_key, draw_key = jax.random.split(key, 3)
    x, w = unit_rows(x_key, 64, 16), unit_rows(w_key, 32, 16)
    pairs = jnp.repeat(x, 32, axis=0), jnp.tile(w, (64, 1))
    z = jnp.linspace(-1, 1, 4001)
    kernels = [FourierKernel(tanh_spectrum(num_harmonics=count), "input") for count in config.harmonics]
    # The variance of K m features in equal shares, times K m, is K times that of one feature for each harmonic.
    variances = [
        float(snnk_moments(*pairs, kernel=kernel)[1].mean()) / count
        for kernel, count in zip(kernels, config.harmonics, strict=True)
    ]
    errors = [float(jnp.abs(kernel.spectrum.function(z) - jnp.tanh(z)).max()) for kernel in kernels]
    kernel, m = FourierKernel(tanh_spectrum(), "input"), config.tanh_features

    def square(key):
        constants = snnk_constants(key, 16, 4 * m, kernel=kernel, dtype=x.dtype)
        psi = snnk_weight_features(constants, w.T, kernel=kernel)
        return jnp.mean((snnk_features(constants, x, kernel=kernel) @ psi - kernel.spectrum.function(x @ w.T)) ** 2)

    squares = jax.jit(lambda keys: jax.lax.map(square, keys))(jax.random.split(draw_key, config.tanh_draws))
    predicted = float(snnk_moments(*pairs, kernel=kernel)[1].mean()) / (4 * m)
    return Tanh(predicted, float(squares.mean()), np.array(variances), np.array(errors))


def tanh_claims(config: Config, tanh: Tanh) -> list[Claim]:
    claim = sheet("reproduction (a)5")
    shown = [(i, *STATED_HARMONICS[count]) for i, count in enumerate(config.harmonics)]
    return [
        claim(
            Claim.close,
            "tanh-predicted",
            "The predicted mean square error of four harmonics of tanh, 1024 features each, is 8.1e-4.",
            expected=8.1e-4,
            measured=tanh.predicted,
            relative=0.1,
        ),
        claim(
            Claim.close,
            "tanh-measured",
            "The mean square error to the series of four harmonics is the predicted one to 10 %.",
            expected=tanh.predicted,
            measured=tanh.measured,
            relative=0.1,
        ),
        claim(
            Claim.close,
            "tanh-variances",
            "A feature's variance is .70, .83, 1.07, 1.77, 38 for 3, 4, 5, 6, 8 harmonics.",
            expected=[value for _, value, _ in shown],
            measured=[tanh.variances[i] for i, _, _ in shown],
            relative=0.1,
        ),
        claim(
            Claim.close,
            "tanh-series-errors",
            "On |z| <= 1 the series is off by 9.7e-2, 4.4e-2, 1.9e-2, 8.6e-3 with 3, 4, 5, 6 harmonics.",
            expected=[error for _, _, error in shown if error is not None],
            measured=[tanh.series_errors[i] for i, _, error in shown if error is not None],
            relative=0.03,
        ),
    ]


def harmonics_figure(config: Config, tanh: Tanh):
    figure, axes = new_figure("harmonics of tanh", "mean square error", log="y")
    bias = tanh.series_errors**2
    axes.plot(config.harmonics, bias, "o-", label="series alone (largest on |z| ≤ 1)")
    for m in (64, 1024, 16384):
        axes.plot(config.harmonics, tanh.variances / m, "s--", label=f"variance, m = {m} each")
    axes.plot([4], [tanh.measured], "kx", markersize=7, label=f"measured, m = {config.tanh_features}")
    axes.set_title("More harmonics: less bias, more variance")
    axes.set_xticks(config.harmonics)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
