"""What a band of weights does to a target: ridgelet reconstruction over |a| <= lambda and all b is a low-pass filter.

    g_V^(xi) = M(|xi| / lambda) f^(xi),    M(t) = int_t^inf s(w) w^-m dw / int_0^inf s(w) w^-m dw,   s = Re sigma^ rho^*

    |f - g_V|^2 = (2 pi)^-m int (1 - M)^2 |f^|^2 dxi,    E_out = (2 pi)^-m int (1 - M) |f^|^2 dxi    (sigma = rho)

with M(0) = 1, falling to 0. E_out is the energy of R f outside the band, over ((rho, rho)). For sigma = rho and any
band <f, f - g_V> = E_out, hence the two-sided bound

    E_out / |f| <= |f - g_V| <= sqrt(E_out),

zero only if the ridgelet spectrum vanishes outside the band. These are statements on the whole space: on a bounded
domain an analytic activation with any open band reaches every target, at the price of large coefficients, see
`bandlimited.frontier`. Derived here, in the sense of Li, Sonoda, Cao, Wang and Liang, 2023.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, gammaincc
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require, require_positive, require_size
from jaxlib_methods.random_features.bandlimited.pairs import RidgeletPair, check_admissible, tail

__all__ = [
    "BandError",
    "SpectralEnergy",
    "band_error",
    "band_limited",
    "band_multiplier",
    "bounded_spectrum_floor",
    "gaussian_out_of_band",
    "radial_energy",
]


class SpectralEnergy(NamedTuple):
    """Where the energy of a target lies: `energy` sums to |f|^2 over spheres |xi| = `radius`."""

    radius: Float[Array, " q"]
    energy: Float[Array, " q"]


class BandError(NamedTuple):
    """The best that ridgelet coefficients do in a band; errors relative to |f|, energies to |f|^2.

    Attributes:
      error: |f - g_V| / |f|.
      out_of_band: E_out / |f|^2, of sigma = rho; NaN for other pairs, for which the bounds do not hold.
      lower: E_out / |f|^2, the lower bound of `error`.
      upper: its upper bound, sqrt(E_out) / |f|.
    """

    error: Float[Array, "*l"]
    out_of_band: Float[Array, "*l"]
    lower: Float[Array, "*l"]
    upper: Float[Array, "*l"]


def band_multiplier(t: Float[Array, "*b"], pair: RidgeletPair, *, dim: int) -> Float[Array, "*b"]:
    """M(t), the share of frequency t lambda that a band of range lambda keeps.

    Args:
      t: nonnegative.
      pair: sigma and rho; for sigma = rho = G^(k), M(t) = Q((2 k - m + 1) / 2, t^2), the regularised upper incomplete
        gamma function; else by quadrature, to about 1e-12 in double precision.
      dim: m.

    Raises:
      ValueError: if the pair is not admissible in this dimension.

    >>> from jaxlib_methods.random_features import gaussian_pair
    >>> round(float(band_multiplier(jnp.ones(()), gaussian_pair(1), dim=1)), 4)  # exp(-1)
    0.3679
    """
    check_admissible(pair, dim)
    if pair.order is not None:
        return _gaussian_multiplier(pair.order, dim, t)
    return tail(pair, t, dim) / tail(pair, jnp.zeros((), t.dtype), dim)


def radial_energy(
    power: Callable[[Array], Array],
    *,
    dim: int,
    limit: float,
    nodes: int = 512,
    dtype: jax.typing.DTypeLike | None = None,
) -> SpectralEnergy:
    """Energy of a target by radius, from |f^|^2 as a function of the radius |xi|, by Gauss-Legendre quadrature.

    Args:
      power: |f^|^2 at radii; on the line any even |f^|^2, which that of a real target is.
      dim: m.
      limit: radius beyond which there is no energy; positive.
      nodes: of the quadrature.
      dtype: of the result; that of Python floats if None.

    Raises:
      ValueError: if a size is below 1 or the limit not positive.

    >>> energy = radial_energy(lambda r: 2 * jnp.pi * jnp.exp(-(r**2)), dim=1, limit=8.0)
    >>> round(float(energy.energy.sum()), 4)  # sqrt(pi)
    1.7725
    """
    require_size("dim", dim)
    require_size("nodes", nodes)
    require_positive("limit", limit)
    dtype = jnp.result_type(float) if dtype is None else dtype
    points, weights = np.polynomial.legendre.leggauss(nodes)
    radius = jnp.asarray(limit * (points + 1) / 2, dtype)
    measure = jnp.asarray(limit * weights / 2, dtype) * _sphere_area(dim) * radius ** (dim - 1) / (2 * math.pi) ** dim
    return SpectralEnergy(radius, measure * power(radius))


def band_error(energy: SpectralEnergy, lam: Float[ArrayLike, "*l"], pair: RidgeletPair, *, dim: int) -> BandError:
    """Error of the ridgelet reconstruction in the band |a| <= lambda, and its two-sided bound.

    Args:
      energy: of the target.
      lam: bandwidths lambda; positive.
      pair: sigma and rho.
      dim: m.

    Raises:
      ValueError: if the pair is not admissible in this dimension or a known bandwidth not positive.

    Memory: O(l q).

    >>> from jaxlib_methods.random_features import gaussian_pair
    >>> energy = radial_energy(lambda r: jnp.exp(-(r**2)), dim=1, limit=8.0)
    >>> round(float(band_error(energy, 1.0, gaussian_pair(1), dim=1).error), 4)
    0.4039
    """
    require_positive("lam", lam)
    lam = jnp.asarray(lam, energy.radius.dtype)
    kept = band_multiplier(energy.radius[None] / lam.reshape(-1, 1), pair, dim=dim)
    share = energy.energy / energy.energy.sum()
    average = lambda values: jnp.einsum("lq,q->l", values, share, precision="highest").reshape(lam.shape)
    error = jnp.sqrt(average((1 - kept) ** 2))
    out = average(1 - kept) if pair.order is not None else jnp.full_like(error, jnp.nan)
    return BandError(error, out, out, jnp.sqrt(jnp.maximum(out, 0)))


def band_limited(
    radius: Float[Array, " q"],
    spectrum: Callable[[Array], Array],
    lam: Float[ArrayLike, ""],
    pair: RidgeletPair,
    *,
    dim: int,
    limit: float,
    nodes: int = 256,
) -> Float[Array, " q"]:
    """g_V of a radial target with real spectrum, as a function of |x|: the filtered spectrum transformed back.

    Args:
      radius: |x| at which it is wanted.
      spectrum: f^ at radii |xi|.
      lam: bandwidth.
      pair: sigma and rho.
      dim: m.
      limit: radius beyond which there is no spectrum.
      nodes: of the quadratures over |xi| and the angle; it must resolve limit |x|.

    Raises:
      ValueError: if the pair is not admissible in this dimension, or a known bandwidth or the limit not positive.

    Memory: O(q nodes^2).

    >>> from jaxlib_methods.random_features import gaussian_pair
    >>> gaussian = lambda r: jnp.sqrt(2 * jnp.pi) * jnp.exp(-(r**2) / 2)
    >>> value = band_limited(jnp.zeros(1), gaussian, 1.0, gaussian_pair(1), dim=1, limit=8.0)
    >>> round(float(value[0]), 4)  # 1 / sqrt(3)
    0.5774
    """
    require_positive("lam", lam)
    weighted = radial_energy(spectrum, dim=dim, limit=limit, nodes=nodes, dtype=radius.dtype)
    filtered = weighted.energy * band_multiplier(weighted.radius / lam, pair, dim=dim)
    waves = _mean_wave(radius[:, None] * weighted.radius[None], dim, nodes)
    return jnp.einsum("qr,r->q", waves, filtered, precision="highest")


def gaussian_out_of_band(lam_scale: Float[Array, "*b"], pair: RidgeletPair, *, dim: int) -> Float[Array, "*b"]:
    """Out-of-band energy of exp(-|x|^2 / (2 s^2)) over its whole energy, in closed form for sigma = rho = G^(k).

        E_out / |f|^2 = I_x((2 k - m + 1) / 2, m / 2),    x = 1 / (1 + (lambda s)^2).

    I is the regularised incomplete beta function. For k = m = 1 this is 1 - 1 / sqrt(1 + u), u = 1 / (lam s)^2.

    Args:
      lam_scale: lambda s; positive.
      pair: a `gaussian_pair`.
      dim: m.

    Raises:
      ValueError: if the pair is of another kind or not admissible in this dimension.

    >>> from jaxlib_methods.random_features import gaussian_pair
    >>> round(float(gaussian_out_of_band(jnp.ones(()), gaussian_pair(1), dim=1)), 5)
    0.29289
    """
    check_admissible(pair, dim)
    require(pair.order is not None, "pair", pair.name, "a gaussian_pair")
    a = jnp.full_like(lam_scale, ((pair.order or 0) * 2 - dim + 1) / 2)
    return betainc(a, jnp.full_like(a, dim / 2), 1 / (1 + lam_scale**2))


def bounded_spectrum_floor(
    energy: SpectralEnergy, lam: Float[ArrayLike, "*l"], *, omega: float = 1.0
) -> Float[Array, "*l"]:
    """The infimum of |f - g| / |f| over all nets in the band whose activation has its spectrum in |w| <= omega.

    For cosines omega = 1. Such nets have no spectrum beyond lambda omega: the bound is the energy there, sharp, and
    holds whatever the coefficients.

    Args:
      energy: of the target.
      lam: bandwidths lambda; positive.
      omega: largest frequency of the activation; positive.

    Raises:
      ValueError: if omega or a known bandwidth is not positive.

    >>> energy = SpectralEnergy(jnp.array([1.0, 3.0]), jnp.array([3.0, 1.0]))
    >>> float(bounded_spectrum_floor(energy, 2.0))
    0.5
    """
    require_positive("lam", lam)
    require_positive("omega", omega)
    lam = jnp.asarray(lam, energy.radius.dtype)
    beyond = energy.radius[None] > omega * lam.reshape(-1, 1)
    share = jnp.sum(jnp.where(beyond, energy.energy[None], 0), 1) / energy.energy.sum()
    return jnp.sqrt(share).reshape(lam.shape)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _gaussian_multiplier(order, dim, t):
    return gammaincc(jnp.full_like(t, (2 * order - dim + 1) / 2), t**2)


@_gaussian_multiplier.defjvp
def _gaussian_multiplier_jvp(order, dim, primals, tangents):
    (t,), (dt,) = primals, tangents
    slope = -2 * t ** (2 * order - dim) * jnp.exp(-(t**2)) / math.gamma((2 * order - dim + 1) / 2)
    return _gaussian_multiplier(order, dim, t), slope * dt


def _sphere_area(dim):
    """Area of the unit sphere in `dim` dimensions; 2 points on the line."""
    return 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)


def _mean_wave(z, dim, nodes):
    """Average of exp(i z u.e) over unit vectors u: cos z, J_0(z), sin(z) / z, ... by quadrature over the angle."""
    if dim == 1:
        return jnp.cos(z)
    points, weights = np.polynomial.legendre.leggauss(nodes)
    angle = math.pi * (points + 1) / 2
    density = weights * np.sin(angle) ** (dim - 2)
    waves = jnp.cos(z[..., None] * jnp.asarray(np.cos(angle), z.dtype).reshape((1,) * z.ndim + (-1,)))
    return jnp.einsum("...q,q->...", waves, jnp.asarray(density / density.sum(), z.dtype), precision="highest")
