"""Spectra of activations: a function as an average of complex exponentials over random frequencies.

    FT(xi) = int f(z) e^(-2 pi i xi z) dz = c u(xi) p(xi),    |u| = 1,  p a density,
    f(z) = offset + Re(c E_{xi ~ p}[u(xi) e^(2 pi i xi z)]).

Periodic functions have lines, f(z) = offset + Re sum_k w_k e^(2 pi i xi_k z); the others have a density. tanh, whose
transform has a pole at 0, is taken as its sine series on [-T, T],

    tanh z ~ sum_{k odd} b_k sin(pi k z / (2 T)),    b_k = (pi / T) / sinh(pi^2 k / (4 T)),

and logistic(z) = 1/2 + tanh(z / 2) / 2. All f are real, so that one of two conjugate lines and a real part suffice.

Sehanobish, Choromanski, Zhao, Dubey and Likhosherstov, "Scalable Neural Network Kernels", ICLR 2024, section 3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlib_methods.numerics.checks import require, require_positive, require_size

__all__ = [
    "DensitySpectrum",
    "Frequencies",
    "LineSpectrum",
    "cosine_spectrum",
    "gaussian_spectrum",
    "logistic_spectrum",
    "sech_spectrum",
    "sine_spectrum",
    "tanh_spectrum",
    "transform_spectrum",
]


class Frequencies(NamedTuple):
    """Frequencies xi with the angle of u(xi) and the factor c that each carries."""

    xi: Float[Array, " m"]
    phase: Float[Array, " m"]
    mass: Float[Array, " m"]


@dataclass(frozen=True)
class LineSpectrum:
    """A real function with finitely many frequencies, f(z) = offset + Re sum_k w_k e^(2 pi i xi_k z).

    Attributes:
      lines: pairs (xi_k, w_k), the w_k complex and not 0.
      offset: constant term.
      stratified: whether every line receives the same number of features; otherwise features draw their line with
        probability |w_k| / sum |w|.

    Raises:
      ValueError: if there is no line or a weight is 0.
    """

    lines: tuple[tuple[float, complex], ...]
    offset: float = 0.0
    stratified: bool = True

    def __post_init__(self):
        """Checks the lines."""
        require(
            len(self.lines) > 0 and all(w != 0 for _, w in self.lines), "lines", self.lines, "pairs (xi, w), w != 0"
        )

    def function(self, z: Array) -> Array:
        """The function itself."""
        return jnp.asarray(sum(self.terms(z))) + self.offset

    def terms(self, z: Array) -> list[Array]:
        """Re w_k e^(2 pi i xi_k z) for each line."""
        angle = lambda xi, w: 2 * math.pi * xi * z + math.atan2(w.imag, w.real)
        return [abs(w) * jnp.cos(angle(xi, complex(w))) for xi, w in self.lines]

    def draw(self, key: Array, num_features: int, dtype: jax.typing.DTypeLike) -> Frequencies:
        """The frequencies of `num_features` features, which must be a multiple of the lines if stratified."""
        count = len(self.lines)
        xi, phase, size = (jnp.asarray(values, dtype) for values in self._columns())
        if self.stratified:
            fits = num_features % count == 0
            require(fits, "num_features", num_features, f"a multiple of the spectrum's {count} lines")
            line, mass = jnp.arange(num_features) % count, count * size
        else:
            line, mass = jax.random.categorical(key, jnp.log(size), shape=(num_features,)), jnp.full(count, size.sum())
        return Frequencies(xi[line], phase[line], mass[line].astype(dtype))

    def nodes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frequencies, phases and log weights W with E[c^2 g(xi)] = sum W g(xi) over a feature's law."""
        xi, phase, size = self._columns()
        weight = len(self.lines) * size**2 if self.stratified else size.sum() * size
        return xi, phase, np.log(weight)

    def _columns(self):
        weights = np.array([complex(w) for _, w in self.lines])
        return np.array([xi for xi, _ in self.lines], float), np.angle(weights), np.abs(weights)


@dataclass(frozen=True)
class DensitySpectrum:
    """A real function with a spectral density, f(z) = Re(c E_{xi ~ p}[u(xi) e^(2 pi i xi z)]).

    Attributes:
      function: f, entry by entry.
      sample: `sample(key, shape, dtype)` draws xi from p.
      log_density: log p(xi), entry by entry.
      phase: angle of u(xi), entry by entry; 0 for positive transforms.
      mass: c = int |FT|.
      offset: constant term.

    Raises:
      ValueError: if the mass is not positive.
    """

    function: Callable[[Array], Array]
    sample: Callable[..., Array]
    log_density: Callable[[Array], Array]
    phase: Callable[[Array], Array] = jnp.zeros_like
    mass: float = 1.0
    offset: float = 0.0

    def __post_init__(self):
        """Checks the mass."""
        require_positive("mass", self.mass)

    def draw(self, key: Array, num_features: int, dtype: jax.typing.DTypeLike) -> Frequencies:
        """The frequencies of `num_features` features."""
        xi = self.sample(key, (num_features,), dtype)
        return Frequencies(xi, self.phase(xi), jnp.full(num_features, self.mass, dtype))

    def nodes(self) -> tuple[Array, Array, Array]:
        """Frequencies, phases and log weights W with E[c^2 g(xi)] = sum W g(xi): trapezoids in asinh(xi)."""
        v = jnp.linspace(-10.0, 10.0, 4001)
        xi = jnp.sinh(v)
        log_weight = 2 * math.log(self.mass) + self.log_density(xi) + jnp.log(jnp.cosh(v) * (v[1] - v[0]))
        return xi, self.phase(xi), log_weight


def cosine_spectrum() -> LineSpectrum:
    """Spectrum of cos(z): the line xi = 1 / (2 pi) with weight 1.

    >>> float(cosine_spectrum().function(jnp.zeros(())))
    1.0
    """
    return LineSpectrum(((1 / (2 * math.pi), 1.0),))


def sine_spectrum() -> LineSpectrum:
    """Spectrum of sin(z): the line xi = 1 / (2 pi) with weight -i.

    >>> round(float(sine_spectrum().function(jnp.ones(()))), 4)
    0.8415
    """
    return LineSpectrum(((1 / (2 * math.pi), -1j),))


def gaussian_spectrum() -> DensitySpectrum:
    """Spectrum of exp(-z^2 / 2): xi ~ N(0, 1 / (4 pi^2)), c = 1.

    >>> float(gaussian_spectrum().function(jnp.zeros(())))
    1.0
    """
    return _GAUSSIAN


def sech_spectrum() -> DensitySpectrum:
    """Spectrum of sech(pi z), which is its own density; c = 1.

    >>> float(sech_spectrum().function(jnp.zeros(())))
    1.0
    """
    return _SECH


def tanh_spectrum(*, half_period: float = 6.0, num_harmonics: int = 4, stratified: bool = True) -> LineSpectrum:
    """Sine series of tanh on [-T, T] with harmonics k = 1, 3, ..., 2 K - 1.

    The variance of harmonic k carries exp((pi k / (2 T))^2 |x|^2): keep few harmonics or small inputs. At T = 6 the
    error on |z| <= 1 is 9.7e-2, 4.4e-2, 1.9e-2, 8.6e-3 with 3, 4, 5, 6 harmonics; on |z| <= 3 it is 1.7e-3 with 8 and
    2.4e-6 with 16.

    Args:
      half_period: T; the series approximates tanh on about [-T / 2, T / 2] and is periodic with period 4 T.
      num_harmonics: K.
      stratified: as in `LineSpectrum`.

    Raises:
      ValueError: if T is not positive or K is below 1.

    >>> spectrum = tanh_spectrum(num_harmonics=16)
    >>> round(float(spectrum.function(jnp.array(2.0))), 5)  # tanh(2) = 0.96403
    0.96403
    """
    require_positive("half_period", half_period)
    require_size("num_harmonics", num_harmonics)
    b = lambda k: math.pi / half_period / math.sinh(math.pi**2 * k / (4 * half_period))
    odd = range(1, 2 * num_harmonics, 2)
    return LineSpectrum(tuple((k / (4 * half_period), -1j * b(k)) for k in odd), stratified=stratified)


def logistic_spectrum(*, half_period: float = 12.0, num_harmonics: int = 4, stratified: bool = True) -> LineSpectrum:
    """Spectrum of 1 / (1 + e^-z) = 1/2 + tanh(z / 2) / 2 on [-T, T]; arguments and errors as `tanh_spectrum`.

    >>> round(float(logistic_spectrum(num_harmonics=16).function(jnp.array(1.0))), 4)
    0.7311
    """
    tanh = tanh_spectrum(half_period=half_period / 2, num_harmonics=num_harmonics, stratified=stratified)
    return LineSpectrum(tuple((xi / 2, w / 2) for xi, w in tanh.lines), offset=0.5, stratified=stratified)


def transform_spectrum(
    function: Callable[[Array], Array],
    transform: Callable[[Array], Array],
    sample: Callable[..., Array],
    mass: float,
    *,
    offset: float = 0.0,
) -> DensitySpectrum:
    """Spectrum of your own function from its Fourier transform and a sampler of |FT| / c.

    Args:
      function: f, real, entry by entry.
      transform: FT(xi) of f - offset as in the module's equation, complex or real, entry by entry.
      sample: `sample(key, shape, dtype)` draws frequencies with density |FT(xi)| / c.
      mass: c = int |FT|.
      offset: constant part of f.

    Raises:
      ValueError: if the mass is not positive.

    >>> box = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -0.5, 0.5)
    >>> spectrum = transform_spectrum(jnp.sinc, lambda xi: 1.0 * (abs(xi) < 0.5), box, 1.0)
    >>> float(spectrum.log_density(jnp.array(0.1)))
    0.0
    """
    log_density = lambda xi: jnp.log(jnp.abs(transform(xi))) - math.log(mass)
    phase = lambda xi: jnp.angle(transform(xi)).astype(xi.dtype)
    return DensitySpectrum(function, sample, log_density, phase, mass, offset)


def _log_cosh(z: Array) -> Array:
    return jnp.logaddexp(z, -z) - math.log(2)


def _log_ratio(pair: Array) -> Array:
    return jnp.log(jnp.abs(pair[0])) - jnp.log(jnp.abs(pair[1]))


_GAUSSIAN = DensitySpectrum(
    function=lambda z: jnp.exp(-(z**2) / 2),
    sample=lambda key, shape, dtype: jax.random.normal(key, shape, dtype) / (2 * math.pi),
    log_density=lambda xi: -((2 * math.pi * xi) ** 2) / 2 + math.log(math.sqrt(2 * math.pi)),
)
_SECH = DensitySpectrum(
    function=lambda z: jnp.exp(-_log_cosh(math.pi * z)),
    sample=lambda key, shape, dtype: _log_ratio(jax.random.normal(key, (2, *shape), dtype)) / math.pi,
    log_density=lambda xi: -_log_cosh(math.pi * xi),
)
