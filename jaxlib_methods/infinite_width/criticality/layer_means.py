"""Gaussian means of products of an activation and its derivatives at several inputs, of which recursions are made."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.infinite_width.criticality.activation_function import ActivationFunction
from jaxlib_methods.infinite_width.criticality.half_line_rule import half_line_rule
from jaxlib_methods.infinite_width.criticality.joint_nodes import root


class LayerMeans(NamedTuple):
    """Over N(0, K) with s = sigma; derivatives of a kink are distributions, whose part at the kink is contained.

    Attributes:
      values: <s_a s_b>.
      slopes: <s'_a s'_b>.
      two: <s''_a s_b>.
      three: <s'''_a s'_b>.
      four: <s''''_a s_b>.
      bends: <s''_a s''_b>.
      value_values: Cov(s_a s_b, s_c s_d).
      slope_values: Cov(s'_a s'_b, s_c s_d).
      slope_slopes: Cov(s'_a s'_b, s'_c s'_d).
    """

    values: Float[Array, "n n"]
    slopes: Float[Array, "n n"]
    two: Float[Array, "n n"]
    three: Float[Array, "n n"]
    four: Float[Array, "n n"]
    bends: Float[Array, "n n"]
    value_values: Float[Array, "n n n n"]
    slope_values: Float[Array, "n n n n"]
    slope_slopes: Float[Array, "n n n n"]


def node_means(
    sigma: ActivationFunction, nodes: Float[Array, "q n"], w: Float[Array, " q"], kernel: Float[Array, "n n"]
) -> LayerMeans:
    """By nodes and weights for N(0, I); what is concentrated at a kink at 0 is added from means of one number."""
    s = sigma.derivatives(einsum("qi,ai->qa", nodes, root(kernel)), 4)
    mean = lambda i, j: einsum("q,qa,qb->ab", w, s[i], s[j])
    deviation = lambda i, center: s[i][:, :, None] * s[i][:, None, :] - center[None]
    joint = lambda f, h: einsum("q,qab,qcd->abcd", w, f, h)
    g, slopes = mean(0, 0), mean(1, 1)
    value, slope = deviation(0, g), deviation(1, slopes)
    smooth = LayerMeans(
        *(g, slopes, mean(2, 0), mean(3, 1), mean(4, 0), mean(2, 2)),
        *(joint(value, value), joint(slope, value), joint(slope, slope)),
    )
    if sigma.smooth:
        return smooth
    two, three, four, bends = _at_the_kink(sigma, kernel)
    return smooth._replace(
        two=smooth.two + two, three=smooth.three + three, four=smooth.four + four, bends=smooth.bends + bends
    )


def _at_the_kink(sigma: ActivationFunction, kernel: Array) -> tuple[Array, Array, Array, Array]:
    """What jumps D_i of the i-th derivatives at 0 add to the means `two`, `three`, `four` and `bends`.

    With p = p_a(0), z_b = lean z_a + e and E_i = <s^(i)(e)>, the first is D_1 p E_0, and others follow by parts. Two
    kinks together have p_ab(0, 0), left out for angles below 1e-4 (in float32 0.02), as what it multiplies vanishes.
    """
    tiny = float(jnp.finfo(kernel.dtype).tiny) ** 0.5
    right, left = (sigma.derivatives(jnp.asarray(z, kernel.dtype), 3) for z in (tiny, -tiny))
    one, two, three = (r - l for r, l in zip(right[1:], left[1:], strict=True))
    own = jnp.diagonal(kernel)[:, None]
    density, lean = 1 / jnp.sqrt(2 * jnp.pi * own), kernel / own
    eps = jnp.finfo(kernel.dtype).eps
    rest = own.T - lean * kernel
    rest = jnp.where(rest > 4096 * eps * own.T, rest, 0)
    apart = rest > eps**0.5 * own.T
    both = one**2 * density * jnp.where(apart, 1 / jnp.sqrt(2 * jnp.pi * jnp.where(apart, rest, 1)), 0)
    u, w = half_line_rule(kernel.dtype)
    spread = jnp.sqrt(jnp.maximum(rest, tiny**2))[:, :, None] * u[None, None]
    e0, e1, e2 = (density * einsum("abq,q->ab", values, w) for values in sigma.derivatives(spread, 2))
    return (
        one * e0,
        two * e1 - lean * (one * e2 + both),
        three * e0 - two * lean * e1 + one * (lean**2 * e2 - e0 / own) + lean**2 * both,
        one * (e2 + e2.T) + both,
    )


def einsum(formula: str, *arrays: Array) -> Array:
    """In full precision."""
    return jnp.einsum(formula, *arrays, precision="highest")
