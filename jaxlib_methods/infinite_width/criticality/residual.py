"""Residual perceptrons z' = g z + b + W sigma(z): the weight g that makes a chosen depth usable.

Neurons remember their layers before: with h_m the normalized Hermite polynomials of z / K^(1/2), q = g (K / K')^(1/2),
a_m = <h_m sigma^2> over N(0, K), and, in units of 1 / width, for neurons i != j and the metric G of the next layer,

    p_m = n Cov(h_m(z_i), z_j^2),      e_m = n E h_m(z_i),      b_m = a_m + a_2 p_m / (2^(1/2) K) if m is not 2,
    b_2 = a_2 + a.p / (2^(1/2) K),
    v = n Var G = C_W^2 (<sigma^4> - <sigma^2>^2 + (2 a_2 a.p - a_2^2 p_2) / (2^(1/2) K)),

    K'   = g^2 K + C_b + C_W <sigma^2>,        Theta' = lambda_b + lambda_W <sigma^2> + (g^2 + C_W <sigma'^2>) Theta
    p_m' = q^m (g^2 p_m + C_W b_m),            and for m = 2 also (g^2 2^(1/2) K C_W b_2 + v) / (2^(1/2) K')
    e_m' = q^m e_m + (m (m-1))^(1/2) q^(m-2) C_W b_(m-2) / (2 K'),      with a.e for b_0,
           and for m = 4 also (3/8)^(1/2) v / K'^2.

The vertex is V = 2^(1/2) K p_2, the shift of the kernel G1 = 2^(1/2) K e_2, and T = n E z_i z_j^2 = K^(1/2) p_1.
Critical points are those without the skip connection with C_b and C_W times 1 - g^2. There V / K^2 grows a layer by

    nu(g) = s (1 - g^2)^2 (C_W / K)^2 sum_m a_m^2 (1 + g^m) / (1 - g^m),

with C_W and K = K* of the point without, and s = 1/3 where K* = 0, for K falls there, 1 elsewhere: (2/3) (1 - g^4) for
tanh. Any depth has the best ratio to width at some g near 1. Sums end at m = 32.

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

ORDER = 32


class ResidualTheory(NamedTuple):
    """K, Theta, V, G1 and T at every layer; the last three in units of 1 / width."""

    kernel: Float[Array, " l"]
    ntk: Float[Array, " l"]
    vertex: Float[Array, " l"]
    kernel_shift: Float[Array, " l"]
    three_point: Float[Array, " l"]


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
    g = jnp.asarray(skip, k.dtype)
    u, w = half_line_rule(k.dtype)
    hermite = _hermite(u)
    m = jnp.arange(1, ORDER + 1, dtype=k.dtype)
    mean = lambda values: jnp.sum(w * values)

    def layer(state, scales):
        (k, ntk, p, e), (b, variance, bias_rate, weight_rate) = state, scales
        s, s1 = sigma.derivatives(jnp.sqrt(k) * u, 1)
        square = mean(s**2)
        a = jnp.einsum("qm,q->m", hermite, w * s**2, precision="highest")
        following = g**2 * k + b + variance * square
        q = g * jnp.sqrt(k / following)
        powers = jnp.stack([q**i for i in range(ORDER + 1)])
        all_p = jnp.sum(a * p)
        root = math.sqrt(2) * k
        metric = variance**2 * (mean((s**2 - square) ** 2) + (2 * a[1] * all_p - a[1] ** 2 * p[1]) / root)
        own = variance * (a + a[1] * p / root).at[1].set(a[1] + all_p / root)
        moved = powers[1:] * (g**2 * p + own)
        moved = moved.at[1].add((g**2 * root * own[1] + metric) / (math.sqrt(2) * following))
        below = jnp.concatenate([jnp.zeros(1, k.dtype), variance * jnp.sum(a * e)[None], own[:-2]])
        bent = jnp.sqrt(m * (m - 1)) * jnp.concatenate([powers[:1], powers[:-2]]) * below
        shift = (powers[1:] * e + bent / (2 * following)).at[3].add(math.sqrt(3 / 8) * metric / following**2)
        turned = bias_rate + weight_rate * square + (g**2 + variance * mean(s1**2)) * ntk
        state = following, turned, moved, shift
        return state, state

    first = (k, l_b[0] + l_w[0] * (k - c_b[0]) / c_w[0], *[jnp.zeros(ORDER, k.dtype)] * 2)
    later = jax.lax.scan(layer, first, (c_b[1:], c_w[1:], l_b[1:], l_w[1:]))[1]
    kernels, ntk, p, e = jax.tree.map(lambda start, rest: jnp.concatenate([start[None], rest]), first, later)
    scale = math.sqrt(2) * kernels
    return ResidualTheory(kernels, ntk, scale * p[:, 1], scale * e[:, 1], jnp.sqrt(kernels) * p[:, 0])


def residual_growth(activation: str | ActivationFunction, skip: float) -> float:
    """Nu(g): growth of V / K^2 a layer at the residual critical point; works on the host.

    Raises:
      ValueError: if the activation is unknown or has no critical point, or g is not in [0, 1].

    >>> round(residual_growth("relu", 0.0), 6)
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
    kernel = {"scale-invariant": 1.0, "zero": 1e-16, "half-stable": point.kernel}[point.universality]
    share = 1 / 3 if point.universality == "zero" else 1
    with jax.enable_x64(True):
        u, w = half_line_rule(jnp.dtype("float64"))
        square = point.weight_variance / kernel * np.asarray(sigma.function(math.sqrt(kernel) * u)) ** 2
        weighted = np.asarray(w) * square
        parts = (weighted @ np.asarray(_hermite(u))) ** 2
        spread = float(weighted @ square - weighted.sum() ** 2)

    def growth(g: float) -> float:
        powers = g ** np.arange(ORDER + 1)
        memory = float(parts @ (powers[1:] / np.cumsum(powers[:-1])))
        return share * (1 - g) * (1 + g) ** 2 * ((1 - g) * spread + 2 * memory)

    return growth


def _hermite(u: Float[Array, " q"]) -> Float[Array, "q m"]:
    """The first polynomials but the constant, orthonormal over N(0, 1)."""
    h = [jnp.ones_like(u), u]
    for i in range(1, ORDER):
        h.append((u * h[-1] - math.sqrt(i) * h[-2]) / math.sqrt(i + 1))
    return jnp.stack(h[1:], 1)
