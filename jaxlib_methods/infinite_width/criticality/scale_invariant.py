"""Means of products of a scale-invariant activation, sigma(z) = a_+ z for z > 0 and a_- z for z < 0, for any inputs.

sigma(z) = z s(z) with the step s = sigma' = alpha + beta sign z. Integration by parts in one of the factors z_i,

    <z_i f> = sum_j C_ij <d_j f>,    <s'_j f> = 2 beta p_j(0) <f | z_j = 0>,

takes away factors and then numbers, until steps alone are left: <s_i s_j> = alpha^2 + beta^2 (2 / pi) arcsin r_ij, and
of four signs Q = <sign z_0 ... sign z_3>, which is 0 for independent numbers. On the way t K + 1 - t from there, with
correlations t r_ij, its derivative is known (Plackett),

    dQ/dt = (4 / pi^2) sum_i<j r_ij (1 - t^2 r_ij^2)^(-1/2) arcsin r_kl|ij(t),

and integrated with t = cos(pi x^5 / 2), which resolves both coinciding and nearly coinciding inputs.

Where numbers are determined by others, and conditional variances 0, all is the limit of K + epsilon: steps that are
met there alone have the mean of both sides, and two of them the correlation that vanishes last.
"""

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlib_methods.infinite_width.criticality.layer_means import LayerMeans
from jaxlib_methods.infinite_width.dual import safe_sqrt

NODES, POWER = 80, 5


def scale_invariant_means(slopes: tuple[float, float], kernel: Float[Array, "n n"]) -> LayerMeans:
    """Of the activation of slopes a_+ and a_-.

    Inputs within an angle of 1e-6 count as parallel, and within one of 1e-4 the kernel's angle does not fluctuate: what
    is left out is of the order of the angle. In float32 both are 0.02.
    """
    size = jnp.sqrt(jnp.diagonal(kernel))
    area = size[:, None] * size[None]
    cosine = jnp.where(jnp.eye(len(kernel), dtype=bool), 1, jnp.clip(kernel / area, -1, 1))
    pair, variance = _product_means(cosine, 2, slopes)
    four, _ = _product_means(cosine, 4, slopes)
    g, x = area * pair((1, 1)), pair((0, 0))
    first, last = area[:, :, None, None], area[None, None]
    outer = lambda p, q: p[:, :, None, None] * q[None, None]

    kink = (slopes[0] - slopes[1]) ** 2 / (2 * math.pi)
    ratio, apart = size[None] / size[:, None], variance(0, (1,))
    sine, lean = safe_sqrt(apart), ratio * cosine
    two = kink * ratio * sine
    bends = jnp.where(apart > jnp.finfo(apart.dtype).eps ** 0.5, kink * _over(jnp.ones_like(sine), area * sine), 0)
    return LayerMeans(
        *(g, x, two, -lean * bends, lean**2 * bends - two / size[:, None] ** 2, bends),
        first * last * four((1, 1, 1, 1)) - outer(g, g),
        last * four((0, 0, 1, 1)) - outer(x, g),
        four((0, 0, 0, 0)) - outer(x, x),
    )


def _product_means(correlation: Array, count: int, slopes: tuple[float, float]) -> tuple[Callable, Callable]:
    """<prod_i z_i^k_i s_i> for given powers k, 0 or 1, of `count` numbers, at all of their places among the inputs.

    Also the conditional variances of z_i given others.
    """
    straight, bent = (slopes[0] + slopes[1]) / 2, (slopes[0] - slopes[1]) / 2
    n, floor = len(correlation), 4096 * jnp.finfo(correlation.dtype).eps

    @functools.cache
    def covariance(i, j, given=()):
        """The conditional covariance at K, and its change with epsilon at K + epsilon."""
        if not given:
            same = jnp.full((1,) * count, float(i == j), correlation.dtype)
            place = [n if a in (i, j) else 1 for a in range(count)]
            return (same if i == j else correlation.reshape(place)), same
        *before, last = given
        c, e = covariance(i, j, tuple(before))
        (own, tilt), (a, da), (b, db) = (covariance(k, last, tuple(before)) for k in (last, i, j))
        c -= _over(a * b, own)
        e -= jnp.where(own > 0, _over(a * db + da * b, own) - _over(a * b * tilt, own**2), da * db / tilt)
        known = c > floor if i == j else (variance(i, given) > 0) & (variance(j, given) > 0)
        return jnp.where(known, c, 0), e

    def variance(i, given):
        return covariance(i, i, given)[0]

    @functools.cache
    def mean(powers, given=()):
        left = [i for i in range(count) if i not in given]
        if not any(powers):
            return steps(left, given)
        i = powers.index(1)
        total = 0.0
        for j in left:
            c = covariance(i, j, given)[0]
            if powers[j] and j != i:
                total += c * mean(_without(powers, i, j), given)
            else:
                density = _over(c, safe_sqrt(2 * math.pi * variance(j, given)))
                total += 2 * bent * density * mean(_without(powers, i, j), tuple(sorted((*given, j))))
        return total

    @functools.cache
    def sign_pair(i, j, given):
        (c, e), rest = covariance(i, j, given), variance(j, given) * variance(i, (*given, j))
        parallel = covariance(i, i, given)[1] * covariance(j, j, given)[1] - e**2
        unknown = (variance(i, given) == 0) & (variance(j, given) == 0)
        return 2 / math.pi * jnp.where(unknown, _angle(e, parallel), _angle(c, rest))

    def steps(left, given):
        if not left:
            return 1.0
        if len(left) == 2:
            return straight**2 + bent**2 * sign_pair(*left, given)
        pairs = sum(sign_pair(i, j, given) for i, j in itertools.combinations(left, 2))
        four = _four_signs(lambda i, j, *given: covariance(i, j, given)[0])
        return straight**4 + straight**2 * bent**2 * pairs + bent**4 * four

    return mean, variance


def _four_signs(covariance: Callable[..., Array]) -> Array:
    """<sign z_0 sign z_1 sign z_2 sign z_3>.

    Minors of t K + 1 - t are polynomials of t and 1 - t whose coefficients are minors of K, without cancellation.
    """

    def minors(i, j):
        k, l = sorted({0, 1, 2, 3} - {i, j})
        area = covariance(i, i, j)
        own = lambda a: (area * covariance(a, a, i, j), area + covariance(a, a, i) + covariance(a, a, j), 3.0, 1.0)
        both = (area * covariance(k, l, i, j), covariance(k, l, i) + covariance(k, l, j), covariance(k, l), 0.0)
        return covariance(i, j), (area, 2.0, 1.0), both, own(k), own(l)

    parts = [minors(i, j) for i, j in itertools.combinations(range(4), 2)]

    def add(total, node):
        t, gap, weight = node
        at = lambda form: functools.reduce(jnp.add, (a * t ** (len(form) - 1 - i) * gap**i for i, a in enumerate(form)))
        for r, area, both, *own in parts:
            one, (two, three) = at(both), map(at, own)
            total += weight * r * _angle(one, two * three - one**2) / jnp.sqrt(at(area))
        return total, None

    x, w = np.polynomial.legendre.leggauss(NODES)
    x = (x + 1) / 2
    angle = math.pi / 2 * x**POWER
    weights = POWER / math.pi * w * x ** (POWER - 1) * np.sin(angle)
    dtype = parts[0][0].dtype
    shape = jnp.broadcast_shapes(*(part[0].shape for part in parts))
    nodes = (jnp.asarray(values, dtype) for values in (np.cos(angle), 2 * np.sin(angle / 2) ** 2, weights))
    return jax.lax.scan(add, jnp.zeros(shape, dtype), tuple(nodes))[0]


def _angle(x: Array, rest: Array) -> Array:
    """Arcsin of x / (x^2 + rest)^(1/2), 0 where both are."""
    y = safe_sqrt(rest)
    return jnp.arctan2(x, jnp.where((x == 0) & (y == 0), 1, y))


def _over(x: Array, y: Array) -> Array:
    """x / y, 0 where y is not positive."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1), 0)


def _without(powers: tuple[int, ...], *gone: int) -> tuple[int, ...]:
    return tuple(0 if i in gone else k for i, k in enumerate(powers))
