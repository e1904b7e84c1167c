"""Trained networks in one, two and three dimensions."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bandlimited_random_features.config import Config
from experiments.harness import Claim, Context, name_ticks, new_figure
from jaxlib_methods.random_features import (
    SpectralEnergy,
    band_error,
    bumps_apply,
    gaussian_pair,
    modulated_gaussian,
    sweep_bandwidth,
)


class Dimensions(NamedTuple):
    """Relative test errors and norms (dim, target, lambda, n, seed), and predicted errors (dim, target, lambda)."""

    errors: np.ndarray
    norms: np.ndarray
    predicted: np.ndarray


def dimension_targets(config: Config, dim: int):
    return modulated_gaussian(dim), modulated_gaussian(dim, frequency=config.dim_frequency)


def in_dimensions(config: Config, context: Context, key) -> Dimensions:
    errors, norms, predicted = [], [], []
    lams = jnp.asarray(config.dim_lams)
    for dim in context.progress(config.dims, "dimensions"):
        point_key, test_key, net_key = jax.random.split(jax.random.fold_in(key, dim), 3)
        x, x_test = (jax.random.normal(k, (config.dim_points, dim)) for k in (point_key, test_key))
        targets = dimension_targets(config, dim)
        values = lambda x, targets=targets: jnp.stack([bumps_apply(target, x) for target in targets], 1)
        y, y_test = values(x), values(x_test)
        sweep = functools.partial(sweep_bandwidth, widths=config.dim_units, seeds=config.dim_seeds, law="ball")
        error, norm = jax.jit(functools.partial(sweep, lams=lams, activation=jnp.tanh))(net_key, x, y, x_test, y_test)
        errors.append(np.moveaxis(np.asarray(error) / np.sqrt(np.mean(np.asarray(y_test) ** 2, 0)), -1, 0))
        norms.append(np.moveaxis(np.asarray(norm), -1, 0))
        predicted.append([predicted_error(config, dim, frequency) for frequency in (0.0, config.dim_frequency)])
    return Dimensions(np.array(errors), np.array(norms), np.array(predicted))


def predicted_error(config: Config, dim: int, frequency: float):
    """Ridgelet error of the modulated Gaussian in the band, Gaussian pair of the least admissible order."""
    pair = gaussian_pair(dim // 2 + 1)
    draws = jax.random.normal(jax.random.key(dim), (4096, dim)) / np.sqrt(2)
    radius = jnp.linalg.norm(draws.at[:, 0].add(frequency), axis=1)  # |f^|^2 is nearly the Gaussian law about w0
    energy = jnp.full(len(draws), 1 / len(draws), draws.dtype)
    predicted = band_error(SpectralEnergy(radius, energy), jnp.asarray(config.dim_lams), pair, dim=dim)
    return np.asarray(predicted.error)


def dimension_claims(config: Config, dimensions: Dimensions) -> list[Claim]:
    one = int(np.argmin(np.abs(np.array(config.dim_lams) - 1)))
    error = dimensions.errors[:, :, one, -1].mean(-1)
    return [
        Claim.at_least(
            "complex-targets-need-wider-bands",
            "In every dimension, at lambda = 1 the error of the modulated target exceeds that of the plain one.",
            source="abstract: bandwidth against target complexity",
            origin="paper",
            expected=1.0,
            measured=error[:, 1] / error[:, 0],
        )
    ]


def dimensions_figure(config: Config, dimensions: Dimensions):
    figure, panels = new_figure("bandwidth λ", "relative rms error", log=True, panels=len(config.dims))
    for i, (axes, dim) in enumerate(zip(np.atleast_1d(panels), config.dims, strict=True)):
        for j, name in enumerate(("Gaussian", f"modulated, w = {config.dim_frequency:g}")):
            trained = dimensions.errors[i, j, :, -1].mean(-1)
            axes.plot(config.dim_lams, trained, "o-", color=f"C{j}", label=f"{name}: trained")
            label = "ridgelet coefficients, all units"
            axes.plot(config.dim_lams, dimensions.predicted[i, j], "--", color=f"C{j}", label=label)
        name_ticks(axes, x=(0.25, 0.5, 1, 2, 4, 8))
        axes.set_title(f"{dim} dimension{'s' if dim > 1 else ''}")
    np.atleast_1d(panels)[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
