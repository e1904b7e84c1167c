"""Before training: how large is the error that a bandwidth makes unavoidable, and which bandwidth is enough?

From a target on a grid the spectrum gives the exact error of the ridgelet reconstruction (`band_report`). From
scattered samples of a known density q the ridgelet transform itself is estimated, R f(a, b) ~ mean_i y_i rho(a.x_i - b)
/ q(x_i), by two halves of the samples, whose product is free of bias (`band_report_from_samples`).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxlib_methods.numerics.checks import require, require_array, require_positive, require_size
from jaxlib_methods.numerics.projections import random_rows
from jaxlib_methods.random_features.bandlimited.hidden import Hidden
from jaxlib_methods.random_features.bandlimited.multiplier import BandError, SpectralEnergy, band_error
from jaxlib_methods.random_features.bandlimited.pairs import RidgeletPair, admissibility
from jaxlib_methods.random_features.bandlimited.transform import ridgelet_transform

__all__ = ["BandReport", "band_report", "band_report_from_samples", "grid_energy"]


class BandReport(NamedTuple):
    """Predictions for every bandwidth.

    Attributes:
      lams: the bandwidths, ascending.
      predicted: see `BandError`; from samples `error` is NaN, between the bounds.
      suggested: least bandwidth whose error (from samples: upper bound) is below the tolerance; infinite if none is.
    """

    lams: Float[Array, " l"]
    predicted: BandError
    suggested: Float[Array, ""]


def grid_energy(values: Float[Array, "*g"], spacing: float) -> SpectralEnergy:
    """Energy of a target by frequency, from its values on a regular grid of any dimension, by FFT.

    The target should vanish at the ends of the grid, and have no frequencies beyond pi / spacing.

    Raises:
      ValueError: if the spacing is not positive.

    >>> energy = grid_energy(jnp.exp(-(jnp.linspace(-8, 8, 129) ** 2) / 2), 0.125)
    >>> round(float(energy.energy.sum()), 4)  # sqrt(pi)
    1.7725
    """
    require_positive("spacing", spacing)
    axes = [2 * math.pi * jnp.fft.fftfreq(size, spacing, dtype=values.dtype) for size in values.shape]
    radius = jnp.sqrt(sum(w**2 for w in jnp.meshgrid(*axes, indexing="ij")))
    power = jnp.abs(jnp.fft.fftn(values)) ** 2
    return SpectralEnergy(radius.ravel(), power.ravel() * (spacing**values.ndim / values.size))


def band_report(
    values: Float[Array, "*g"],
    spacing: float,
    lams: Float[Array, " l"],
    pair: RidgeletPair,
    *,
    tolerance: float = 0.1,
) -> BandReport:
    """Error, bounds and suggested bandwidth for a target given on a grid (one to three dimensions, say).

    Args:
      values: the target, vanishing at the ends of the grid.
      spacing: of the grid.
      lams: bandwidths to judge, ascending; positive.
      pair: sigma and rho.
      tolerance: on the relative error, for the suggestion.

    Raises:
      ValueError: if the spacing, a known bandwidth or the tolerance is not positive, or the pair is not admissible.

    Memory: O(l times the grid).

    >>> from jaxlib_methods.random_features import gaussian_pair
    >>> grid = jnp.linspace(-8, 8, 129)
    >>> bell = jnp.exp(-(grid**2) / 2)
    >>> float(band_report(bell, 0.125, jnp.array([1.0, 2.0, 4.0, 8.0]), gaussian_pair(1)).suggested)
    4.0
    """
    require_positive("tolerance", tolerance)
    predicted = band_error(grid_energy(values, spacing), lams, pair, dim=values.ndim)
    return BandReport(lams, predicted, _first(lams, predicted.error < tolerance))


def band_report_from_samples(
    key: Key[Array, ""],
    x: Float[Array, "N m"],
    y: Float[Array, " N"],
    density: Float[Array, " N"],
    lams: Float[Array, " l"],
    pair: RidgeletPair,
    *,
    beta: float,
    units: int = 4096,
    tolerance: float = 0.1,
    block: int = 1024,
) -> BandReport:
    """Bounds and suggested bandwidth from samples in any dimension: Monte Carlo over points and over (a, b).

    Units are drawn in the ball of the largest bandwidth, uniform in direction and in length; the bands are its balls.
    Errors are of order (units^-1/2 + N^-1) times the ratio of that ball's energy density to its mean: watch that the
    energy is spread over many units, and that it does not grow with `beta`.

    Args:
      key: typed PRNG key.
      x: samples.
      y: the target there.
      density: of the law of the samples, at them; positive.
      lams: bandwidths to judge, ascending; positive.
      pair: a `gaussian_pair`, for which the bounds hold.
      beta: range of the biases, large enough for |a.x| over the samples.
      units: points (a, b).
      tolerance: on the relative error, for the suggestion.
      block: samples worked on at once. Memory: O(block units).

    Raises:
      ValueError: if shapes do not match, a known value that must be positive is not, there are fewer than two samples,
        or the pair is not a `gaussian_pair`.

    >>> from jaxlib_methods.random_features import gaussian_pair
    >>> x = jnp.linspace(-6, 6, 200)[:, None]
    >>> bell, density = jnp.exp(-(x[:, 0] ** 2) / 2), jnp.full(200, 1 / 12)
    >>> lams = jnp.array([1.0, 4.0])
    >>> report = band_report_from_samples(jax.random.key(0), x, bell, density, lams, gaussian_pair(1), beta=12.0)
    >>> bool(report.predicted.out_of_band[0] > report.predicted.out_of_band[1])
    True
    """
    require_array("x", x, (None, None))
    count, dim = x.shape
    require(count > 1, "x", f"{count} rows", "at least two samples")
    require(pair.order is not None, "pair", pair.name, "a gaussian_pair")
    require_array("y", y, (count,))
    require_array("density", density, (count,))
    for name, value in (("density", density), ("lams", lams), ("beta", beta), ("tolerance", tolerance)):
        require_positive(name, value)
    require_size("units", units)
    direction_key, place_key = jax.random.split(key)
    share = (random_rows(place_key, units, 2, law="box", dtype=x.dtype) + jnp.array([[1, 0]], x.dtype)) / jnp.array(
        [[2, 1]], x.dtype
    )
    length = lams[-1] * share[:, 0]
    hidden = Hidden(
        length[:, None] * random_rows(direction_key, units, dim, law="sphere", dtype=x.dtype), beta * share[:, 1]
    )
    area = 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)
    weights = lams[-1] * area * length ** (dim - 1) * 2 * beta / units
    halves = [
        ridgelet_transform(y[i::2], x[i::2], 1 / (density[i::2] * len(y[i::2])), hidden, pair.ridgelet, block=block)
        for i in (0, 1)
    ]
    energy = weights * halves[0] * halves[1] / admissibility(pair, dim=dim).astype(x.dtype)
    total = jnp.mean(y**2 / density)
    inside = jnp.einsum("lu,u->l", (length[None] <= lams[:, None]).astype(x.dtype), energy, precision="highest")
    out = jnp.clip(1 - inside / total, 0, 1)
    predicted = BandError(jnp.full_like(out, jnp.nan), out, out, jnp.sqrt(out))
    return BandReport(lams, predicted, _first(lams, predicted.upper < tolerance))


def _first(lams, good):
    return jnp.where(good.any(), lams[jnp.argmax(good)], jnp.inf).astype(lams.dtype)
