"""Activations and the ridgelet functions that undo them.

With f^(xi) = int f(x) e^(-i xi.x) dx, in m dimensions,

    R f(a, b) = int f(x) rho(a.x - b) dx,    S c(x) = int c(a, b) sigma(a.x - b) da db,    S R f = ((sigma, rho)) f,

    ((sigma, rho)) = (2 pi)^(m-1) int sigma^(w) conj(rho^(w)) |w|^-m dw,    |R f|^2 = ((rho, rho)) |f|^2.

The pair is admissible if the constant is finite and not zero. G(z) = exp(-z^2 / 2) and G^(k) is its k-th derivative.
Candès, "Harmonic Analysis of Neural Networks", 1999, section 3; Sonoda and Murata, "Neural network with unbounded
activation functions is universal approximator", 2017, section 4.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlib_methods.numerics.checks import require, require_size

__all__ = ["RidgeletPair", "admissibility", "gaussian_pair", "hermite_gaussian", "logistic_pair", "tanh_pair"]


@dataclass(frozen=True)
class RidgeletPair:
    """A real activation sigma and a real ridgelet function rho, with their spectra.

    Attributes:
      name: for messages.
      activation: sigma.
      ridgelet: rho.
      spectrum: w -> Re sigma^(w) conj(rho^(w)) for w > 0.
      limit: frequency beyond which the spectrum is nothing.
      order: k if both are G^(k), for which closed forms exist; else None.
    """

    name: str
    activation: Callable[[Array], Array]
    ridgelet: Callable[[Array], Array]
    spectrum: Callable[[Array], Array]
    limit: float
    order: int | None = None


def hermite_gaussian(z: Float[Array, "*b"], order: int) -> Float[Array, "*b"]:
    """G^(k)(z), the k-th derivative of exp(-z^2 / 2): (-1)^k He_k(z) exp(-z^2 / 2).

    Raises:
      ValueError: if the order is below 0.

    >>> hermite_gaussian(jnp.zeros(1), 2).tolist()
    [-1.0]
    """
    require_size("order", order, 0)
    return (-1) ** order * hermite(z, order) * jnp.exp(-(z**2) / 2)


def hermite(z: Array, order: int) -> Array:
    """He_k(z) by the three-term recurrence; also of complex z."""
    before, now = jnp.zeros_like(z), jnp.ones_like(z)
    for k in range(order):
        before, now = now, z * now - k * before
    return now


def gaussian_pair(order: int) -> RidgeletPair:
    """Sigma = rho = G^(order): admissible in m dimensions if 2 order > m - 1.

    Raises:
      ValueError: if the order is below 0.

    >>> round(float(admissibility(gaussian_pair(1), dim=1)), 4)  # 2 pi
    6.2832
    """
    require_size("order", order, 0)
    bump = lambda z: hermite_gaussian(z, order)
    spectrum = lambda w: 2 * math.pi * w ** (2 * order) * jnp.exp(-(w**2))
    return RidgeletPair(f"Gaussian derivative {order}", bump, bump, spectrum, 6.5 + order / 2, order)


def tanh_pair(order: int = 3) -> RidgeletPair:
    """Sigma = tanh, rho = +-G^(order), odd: admissible in m dimensions if order > m.

    Raises:
      ValueError: if the order is not odd (the pairing would vanish).

    >>> round(float(admissibility(tanh_pair(), dim=1)), 5)
    5.86019
    """
    spectrum = lambda w: w**order / jnp.sinh(math.pi * w / 2) * jnp.exp(-(w**2) / 2)
    return _sigmoidal("tanh", jnp.tanh, spectrum, order)


def logistic_pair(order: int = 3) -> RidgeletPair:
    """Sigma = logistic, rho = +-G^(order), odd: admissible in m dimensions if order > m.

    The constant 1/2 of the logistic function has its spectrum at frequency 0, where that of rho vanishes.

    Raises:
      ValueError: if the order is not odd (the pairing would vanish).

    >>> logistic_pair().name
    'logistic'
    """
    spectrum = lambda w: w**order / jnp.sinh(math.pi * w) * jnp.exp(-(w**2) / 2)
    return _sigmoidal("logistic", jax.nn.sigmoid, spectrum, order)


def _sigmoidal(name, activation, spectrum, order):
    require(order % 2 == 1 and order > 0, "order", order, "odd and positive")
    sign = (-1) ** ((order - 3) // 2)  # makes sigma^ conj(rho^) positive
    scaled = lambda w: math.pi * math.sqrt(2 * math.pi) * spectrum(w)
    return RidgeletPair(name, activation, lambda z: sign * hermite_gaussian(z, order), scaled, 9.0 + order / 2)


def admissibility(pair: RidgeletPair, *, dim: int) -> Float[Array, ""]:
    """The constant ((sigma, rho)) in `dim` dimensions.

    Raises:
      ValueError: if the pair is not admissible there, or the dimension is below 1.

    >>> round(float(admissibility(gaussian_pair(2), dim=3)), 3)  # (2 pi)^3
    248.05
    """
    check_admissible(pair, dim)
    if pair.order is not None:
        return jnp.asarray((2 * math.pi) ** dim * math.gamma((2 * pair.order - dim + 1) / 2), jnp.result_type(float))
    return 2 * (2 * math.pi) ** (dim - 1) * tail(pair, jnp.zeros(1, jnp.result_type(float)), dim)[0]


def tail(pair: RidgeletPair, t: Array, dim: int, nodes: int = 200) -> Array:
    """int_t^limit spectrum(w) w^-dim dw for t >= 0, by Gauss-Legendre quadrature."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    width = jnp.maximum(pair.limit - t, 0)
    w = t[..., None] + width[..., None] * jnp.asarray((points + 1) / 2, t.dtype).reshape((1,) * t.ndim + (-1,))
    values = pair.spectrum(w) * w ** (-dim)
    return width * jnp.einsum("...q,q->...", values, jnp.asarray(weights / 2, t.dtype), precision="highest")


def check_admissible(pair: RidgeletPair, dim: int) -> None:
    """Raises ValueError unless spectrum(w) w^-dim is integrable at 0 and somewhere not zero."""
    require_size("dim", dim)
    if pair.order is not None:
        sound = 2 * pair.order > dim - 1
    else:
        with jax.ensure_compile_time_eval():
            near = np.asarray(pair.spectrum(jnp.array([1e-2, 2e-2, 1.0])), float)
        sound = near[2] != 0 and np.log2(abs(near[1] / near[0])) - dim > -0.99
    require(sound, "pair", f"{pair.name} in {dim} dimensions", "admissible")
