"""Residual perceptrons z' = g z + b + W sigma(z): the weight g that makes a chosen depth usable.

With c = C_W <sigma sigma' z> / K and <.> over N(0, K),

    K'  = g^2 K + C_b + C_W <sigma^2>,        Theta' = lambda_b + lambda_W <sigma^2> + (g^2 + C_W <sigma'^2>) Theta
    V'  = (g^2 + c)^2 V + C_W^2 (<sigma^4> - <sigma^2>^2) + 4 g^2 K^2 c + 4 (g^2 + c) C_W <sigma sigma'> T
    T'  = g^3 T + g C_W <z sigma^2> + g c T                                   T = n E z_i z_j^2
    k3' = g^3 k3 + 3 g C_W (<z sigma^2> + <sigma^2>' T)                       k3 = n times the third cumulant of z_i
    G1' = (g^2 + c) G1 + C_W <sigma^2>'' V / 2 + C_W <(sigma^2)'''> k3 / 6.

T and k3 vanish where sigma is odd. Critical points are those without the skip connection with C_W times 1 - g^2. There
V / K^2 grows a layer, once T has saturated, by

    scale-invariant   (1 - g^2) ((1 - g^2) (3 A_4 / A_2^2 - 1) + 4 g^2 + (4/pi) g (1 + g) (a_+^2 - a_-^2)^2 / A_2^2)
    K* = 0            (2/3) (1 - g^4),

so that any depth has the best ratio to width at some g near 1.

After Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", appendix B; all formulas are derived.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.infinite_width.criticality.activation_function import ActivationFunction, activation_function
from jaxlib_methods.infinite_width.criticality.aspect_ratio import optimal_aspect_ratio
from jaxlib_methods.infinite_width.criticality.critical_point import critical_point
from jaxlib_methods.infinite_width.criticality.half_line_rule import half_line_rule
from jaxlib_methods.infinite_width.criticality.layer_scales import LayerScales, check_scales
from jaxlib_methods.numerics.checks import require, require_array, require_known, require_positive, require_size

__all__ = ["ResidualTheory", "residual_growth", "residual_recursion", "residual_weight_for_depth"]


class ResidualTheory(NamedTuple):
    """K, Theta, V, G1, T and k3 at every layer; the last four in units of 1 / width."""

    kernel: Float[Array, " l"]
    ntk: Float[Array, " l"]
    vertex: Float[Array, " l"]
    kernel_shift: Float[Array, " l"]
    three_point: Float[Array, " l"]
    third_cumulant: Float[Array, " l"]


def residual_recursion(
    scales: LayerScales,
    kernel: Float[Array, ""],
    skip: Float[ArrayLike, ""],
    *,
    activation: str | ActivationFunction,
    depth: int,
) -> ResidualTheory:
    """Kernel, NTK and the metric's statistics of one input at every layer.

    Args:
      scales: variances and rates.
      kernel: K of the first layer.
      skip: g, between 0 and 1.
      activation: as in `activation_function`.
      depth: layers, the first included; it has no skip connection.

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if the activation is unknown, a known variance not positive, g not in [0, 1] or the depth below 1.

    >>> plain = residual_recursion(LayerScales(0.0, 2.0), jnp.ones(()), 0.0, activation="relu", depth=3)
    >>> plain.vertex.round(3).tolist()
    [0.0, 5.0, 10.0]
    """
    sigma = activation_function(activation)
    require_size("depth", depth)
    require_array("kernel", kernel, ())
    require_positive("kernel", kernel)
    require_known("skip", skip, lambda g: (g >= 0) & (g <= 1), "between 0 and 1")
    k = jnp.asarray(kernel)
    c_b, c_w, l_b, l_w = check_scales(scales, k.dtype, depth)
    g, zero = jnp.asarray(skip, k.dtype), jnp.zeros((), k.dtype)
    first = ResidualTheory(k, l_b[0] + l_w[0] * (k - c_b[0]) / c_w[0], zero, zero, zero, zero)
    u, w = half_line_rule(k.dtype)
    mean = lambda values: jnp.sum(w * values)

    def layer(t, scales):
        b, variance, bias_rate, weight_rate = scales
        root = jnp.sqrt(t.kernel)
        s, s1 = sigma.derivatives(root * u, 1)
        square = mean(s**2)
        slope = mean(u * s * s1) / root
        c, along = variance * slope, g**2 + variance * slope
        curvature = mean(s**2 * (u**4 - 6 * u**2 + 3)) / (4 * t.kernel**2)
        third = mean(s**2 * (u**3 - 3 * u)) / root**3
        skew = root * mean(u * s**2)
        following = ResidualTheory(
            kernel=g**2 * t.kernel + b + variance * square,
            ntk=bias_rate + weight_rate * square + (g**2 + variance * mean(s1**2)) * t.ntk,
            vertex=along**2 * t.vertex
            + variance**2 * mean((s**2 - square) ** 2)
            + 4 * g**2 * t.kernel**2 * c
            + 4 * along * variance * mean(s * s1) * t.three_point,
            kernel_shift=along * t.kernel_shift + variance * (curvature * t.vertex / 2 + third * t.third_cumulant / 6),
            three_point=g**3 * t.three_point + g * variance * skew + g * c * t.three_point,
            third_cumulant=g**3 * t.third_cumulant + 3 * g * variance * (skew + slope * t.three_point),
        )
        return following, following

    later = jax.lax.scan(layer, first, (c_b[1:], c_w[1:], l_b[1:], l_w[1:]))[1]
    return jax.tree.map(lambda start, rest: jnp.concatenate([start[None], rest]), first, later)


def residual_growth(activation: str | ActivationFunction, skip: float) -> float:
    """Nu(g): growth of V / K^2 a layer at the residual critical point; works on the host.

    Raises:
      ValueError: if the activation is unknown, has no critical point or a half-stable one, or g is not in [0, 1].

    >>> residual_growth("relu", 0.0)
    5.0
    """
    require(0 <= skip <= 1, "skip", skip, "between 0 and 1")
    return _growth(activation)(skip)


def residual_weight_for_depth(
    activation: str | ActivationFunction, *, depth: int, width: int, outputs: int = 1
) -> float:
    """The largest g at which depth / width is the best ratio for so many outputs; 0 where even that is too shallow.

    Args:
      activation: as in `residual_growth`.
      depth: L.
      width: n.
      outputs: n_L, as in `optimal_aspect_ratio`.

    Raises:
      ValueError: as `residual_growth`; or if a size is below 1.

    >>> round(residual_weight_for_depth("tanh", depth=1000, width=256), 4)
    0.9829
    """
    for name, size in (("depth", depth), ("width", width), ("outputs", outputs)):
        require_size(name, size)
    goal = np.asarray(optimal_aspect_ratio(1.0, outputs)).item() * width / depth
    growth = _growth(activation)
    grid = [1 - 10 ** (-i / 8) for i in range(97)]
    deep = [g for g in grid if growth(g) >= goal]
    if not deep:
        return 0.0
    low, high = max(deep), 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if growth(middle) >= goal else (low, middle)
    return low


def _growth(activation) -> Callable[[float], float]:
    sigma = activation_function(activation)
    point = critical_point(sigma)
    require(point.universality != "half-stable", "activation", sigma.name, "critical at K* = 0 or scale-invariant")
    if point.universality == "zero":
        return lambda g: point.nu * (1 - g**4)
    plus, minus = (float(sigma.function(jnp.asarray(z))) ** 2 for z in (1.0, -1.0))
    lopsided = 4 / math.pi * ((plus - minus) * point.weight_variance) ** 2
    return lambda g: (1 - g**2) * ((1 - g**2) * point.nu + 4 * g**2 + lopsided * g * (1 + g))
