"""Target functions whose ridgelet and Fourier transforms are known: sums of modulated Gaussian bumps.

    f(x) = sum_j A_j cos(w_j . (x - mu_j)) exp(-|x - mu_j|^2 / (2 s_j^2)).

A modulated bump is the real part of a Gaussian with the complex mean nu = mu + i s^2 w, so that with rho = G^(k) and
T = 1 + s^2 |a|^2 its ridgelet transform is the real part of

    (-1)^k (2 pi)^(m/2) s^m T^(-(k+1)/2) exp(-s^2 |w|^2 / 2) G^(k)((b - a.nu) / sqrt T).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require_array, require_size
from jaxlib_methods.random_features.bandlimited.hidden import Hidden
from jaxlib_methods.random_features.bandlimited.pairs import hermite

__all__ = ["Bumps", "bumps_apply", "bumps_norm", "bumps_power", "bumps_ridgelet", "modulated_gaussian", "three_bumps"]


class Bumps(NamedTuple):
    """`J` modulated Gaussian bumps in `m` dimensions."""

    amplitude: Float[Array, " J"]
    mean: Float[Array, "J m"]
    scale: Float[Array, " J"]
    frequency: Float[Array, "J m"]


def modulated_gaussian(dim: int, *, scale: Float[ArrayLike, ""] = 1.0, frequency: Float[ArrayLike, ""] = 0.0) -> Bumps:
    """cos(w0 x_1) exp(-|x|^2 / (2 s^2)): one bump at the origin, modulated along the first axis.

    Args:
      dim: m, at least 1.
      scale: s.
      frequency: w0.

    Raises:
      ValueError: if the dimension is below 1.

    >>> bumps_apply(modulated_gaussian(2), jnp.zeros((1, 2))).tolist()
    [1.0]
    """
    require_size("dim", dim)
    first = jnp.zeros((1, dim)).at[0, 0].set(frequency)
    return Bumps(jnp.ones(1), jnp.zeros((1, dim)), jnp.asarray(scale, first.dtype).reshape(1), first)


def three_bumps() -> Bumps:
    """0.2 exp(-(10 x - 4)^2) + 0.5 exp(-(80 x - 40)^2) + 0.3 exp(-(80 x - 20)^2): the usual test on [0, 1].

    >>> round(float(bumps_apply(three_bumps(), jnp.full((1, 1), 0.5))[0]), 4)  # 0.5 + 0.2 / e
    0.5736
    """
    amplitude, mean, rate = jnp.array([0.2, 0.5, 0.3]), jnp.array([[0.4], [0.5], [0.25]]), jnp.array([10.0, 80.0, 80.0])
    return Bumps(amplitude, mean, 1 / (math.sqrt(2) * rate), jnp.zeros((3, 1)))


def bumps_apply(bumps: Bumps, x: Float[Array, "N m"]) -> Float[Array, " N"]:
    """The function f at points.

    Raises:
      ValueError: if the points have another dimension.

    >>> bumps_apply(modulated_gaussian(1, frequency=1.0), jnp.zeros((2, 1))).tolist()
    [1.0, 1.0]
    """
    require_array("x", x, (None, bumps.mean.shape[1]))
    offset = x[:, None] - bumps.mean[None]
    decay = jnp.exp(-jnp.sum(offset**2, 2) / (2 * bumps.scale[None] ** 2))
    return (bumps.amplitude[None] * jnp.cos(jnp.sum(offset * bumps.frequency[None], 2)) * decay).sum(1)


def bumps_power(bumps: Bumps, frequency: Float[Array, "q m"]) -> Float[Array, " q"]:
    """|f^(xi)|^2 at frequencies xi.

    Raises:
      ValueError: if the frequencies have another dimension.

    >>> round(float(bumps_power(modulated_gaussian(1), jnp.zeros((1, 1)))[0]), 4)  # 2 pi
    6.2832
    """
    require_array("frequency", frequency, (None, bumps.mean.shape[1]))

    def side(sign):
        gap = jnp.sum((frequency[:, None] - sign * bumps.frequency[None]) ** 2, 2)
        return jnp.exp(-(bumps.scale[None] ** 2) * gap / 2) / 2

    size = bumps.amplitude * (math.sqrt(2 * math.pi) * bumps.scale) ** bumps.mean.shape[1]
    values = size[None] * (side(1) + side(-1))
    phase = jnp.einsum("qm,Jm->qJ", frequency, bumps.mean, precision="highest")
    return jnp.sum(values * jnp.cos(phase), 1) ** 2 + jnp.sum(values * jnp.sin(phase), 1) ** 2


def bumps_norm(bumps: Bumps) -> Float[Array, ""]:
    """The L2 norm of f on the whole space.

    >>> round(float(bumps_norm(modulated_gaussian(1))) ** 2, 4)  # sqrt(pi)
    1.7725
    """
    s, w, dim = bumps.scale, bumps.frequency, bumps.mean.shape[1]
    total = s[:, None] ** 2 + s[None] ** 2
    size = (
        bumps.amplitude[:, None]
        * bumps.amplitude[None]
        * (2 * jnp.pi * (s[:, None] * s[None]) ** 2 / total) ** (dim / 2)
    )
    apart = bumps.mean[:, None] - bumps.mean[None]
    shrink = jnp.sum((s[:, None] * w) ** 2, 1) / 2

    def pair(sign):
        turn = (s[:, None] ** 2 * w)[:, None] - sign * (s[:, None] ** 2 * w)[None]
        real = -(jnp.sum(apart**2 - turn**2, 2)) / (2 * total) - shrink[:, None] - shrink[None]
        return jnp.exp(real) * jnp.cos(jnp.sum(apart * turn, 2) / total)

    return jnp.sqrt(jnp.sum(size * (pair(1) + pair(-1)) / 2))


def bumps_ridgelet(bumps: Bumps, hidden: Hidden, order: int) -> Float[Array, " n"]:
    """R f(a, b) with rho = G^(order), in closed form.

    Args:
      bumps: f.
      hidden: the points (a, b).
      order: k.

    Raises:
      ValueError: if the order is below 0 or the dimensions differ.

    >>> round(float(bumps_ridgelet(modulated_gaussian(1), Hidden(jnp.zeros((1, 1)), jnp.ones(1)), 1)[0]), 4)
    1.5203
    """
    require_size("order", order, 0)
    dim = bumps.mean.shape[1]
    require_array("a", hidden.a, (None, dim))
    project = lambda v: jnp.einsum("nm,Jm->nJ", hidden.a, v, precision="highest")
    width = 1 + bumps.scale[None] ** 2 * jnp.sum(hidden.a**2, 1)[:, None]
    root = jnp.sqrt(width)
    real = (hidden.b[:, None] - project(bumps.mean)) / root
    imaginary = -project(bumps.scale[:, None] ** 2 * bumps.frequency) / root
    shrink = jnp.sum((bumps.scale[:, None] * bumps.frequency) ** 2, 1)[None]
    decay = jnp.exp((imaginary**2 - real**2 - shrink) / 2)
    turned = hermite(jax.lax.complex(real, imaginary), order) * jnp.exp(jax.lax.complex(0 * real, -real * imaginary))
    size = bumps.amplitude * (math.sqrt(2 * math.pi) * bumps.scale) ** dim
    return jnp.sum(size[None] * width ** (-(order + 1) / 2) * decay * turned.real, 1)
