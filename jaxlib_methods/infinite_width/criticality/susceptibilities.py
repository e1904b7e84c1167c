"""Susceptibilities: how a layer passes on differences of its inputs.

    parallel       C_W d<sigma^2>/dK = (C_W / 2 K^2) <sigma^2 (z^2 - K)> = (C_W / K) <z sigma sigma'>
    perpendicular  C_W <sigma'^2>
    mixed          h = (1/2) d perpendicular / dK = (C_W / 4 K^2) <sigma'^2 (z^2 - K)>

Two nearby inputs of mean kernel K, d1 = K_++ - K_-- and squared distance d2 = K_++ + K_-- - 2 K_+-, become

    d1' = parallel d1,        d2' = perpendicular d2 + h d1^2.

Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", chapter 5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.infinite_width.criticality.activation_function import ActivationFunction, activation_function
from jaxlib_methods.infinite_width.criticality.half_line_rule import half_line_rule
from jaxlib_methods.infinite_width.criticality.layer_scales import LayerScales, check_scales
from jaxlib_methods.numerics.checks import require_array, require_choice, require_positive, require_size

__all__ = ["NearbyInputs", "Susceptibilities", "gaussian_expectation", "nearby_inputs", "susceptibilities"]


class Susceptibilities(NamedTuple):
    """Parallel, perpendicular and mixed, as above."""

    parallel: Float[Array, ""]
    perpendicular: Float[Array, ""]
    mixed: Float[Array, ""]


class NearbyInputs(NamedTuple):
    """Kernel of the midpoint, difference of kernels and squared distance at every layer."""

    kernel: Float[Array, " l"]
    difference: Float[Array, " l"]
    squared_distance: Float[Array, " l"]


def gaussian_expectation(kernel: Float[Array, ""], *, activation: str | ActivationFunction) -> Float[Array, ""]:
    """<sigma^2>_K, to rounding for activations that are smooth or have a kink at 0, and differentiable in K.

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if the activation is unknown or a known kernel not positive.

    >>> float(gaussian_expectation(jnp.array(3.0), activation="relu").round(4))
    1.5
    """
    _check(kernel)
    u, w = half_line_rule(kernel.dtype)
    return jnp.sum(w * activation_function(activation).function(jnp.sqrt(kernel) * u) ** 2)


def susceptibilities(
    kernel: Float[Array, ""],
    weight_variance: Float[ArrayLike, ""],
    *,
    activation: str | ActivationFunction,
    form: str = "slope",
) -> Susceptibilities:
    """The three susceptibilities at a kernel.

    Args:
      kernel: K, positive.
      weight_variance: C_W, positive.
      activation: as in `activation_function`.
      form: of the parallel one: "slope" (z sigma sigma'), "variance" (z^2 - K) or "derivative" (of <sigma^2>).

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if the activation or form is unknown, or a known number is not positive.

    >>> susceptibilities(jnp.ones(()), 2.0, activation="relu").perpendicular.round(5).item()
    1.0
    """
    require_choice("form", form, ("slope", "variance", "derivative"))
    _check(kernel)
    require_positive("weight_variance", weight_variance)
    c_w = jnp.asarray(weight_variance, kernel.dtype)
    u, w = half_line_rule(kernel.dtype)
    s, s1 = activation_function(activation).derivatives(jnp.sqrt(kernel) * u, 1)
    if form == "slope":
        parallel = jnp.sum(w * u * s * s1) / jnp.sqrt(kernel)
    elif form == "variance":
        parallel = jnp.sum(w * s**2 * (u**2 - 1)) / (2 * kernel)
    else:
        parallel = jax.grad(lambda k: gaussian_expectation(k, activation=activation))(jnp.asarray(kernel))
    return Susceptibilities(
        c_w * parallel, c_w * jnp.sum(w * s1**2), c_w * jnp.sum(w * s1**2 * (u**2 - 1)) / (4 * kernel)
    )


def nearby_inputs(
    scales: LayerScales,
    kernel: Float[Array, ""],
    difference: Float[ArrayLike, ""],
    squared_distance: Float[ArrayLike, ""],
    *,
    activation: str | ActivationFunction,
    depth: int,
) -> NearbyInputs:
    """How two nearby inputs move apart or together with depth.

    Args:
      scales: variances; rates play no part.
      kernel: K of the midpoint at the first layer.
      difference: d1 there.
      squared_distance: d2 there.
      activation: as in `activation_function`.
      depth: layers, the first included.

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if the activation is unknown, a known variance is not positive or the depth below 1.

    >>> relu = nearby_inputs(LayerScales(0.0, 2.0), jnp.ones(()), 0.5, 0.5, activation="relu", depth=9)
    >>> relu.squared_distance.round(4).tolist()[::4]
    [0.5, 0.5, 0.5]
    """
    require_size("depth", depth)
    _check(kernel)
    c_b, c_w, _, _ = check_scales(scales, kernel.dtype, depth)
    first = NearbyInputs(*(jnp.asarray(value, kernel.dtype) for value in (kernel, difference, squared_distance)))

    def layer(pair, scales):
        b, w = scales
        k, d1, d2 = pair
        parallel, perpendicular, mixed = susceptibilities(k, w, activation=activation)
        following = NearbyInputs(
            b + w * gaussian_expectation(k, activation=activation), parallel * d1, perpendicular * d2 + mixed * d1**2
        )
        return following, following

    later = jax.lax.scan(layer, first, (c_b[1:], c_w[1:]))[1]
    return jax.tree.map(lambda start, rest: jnp.concatenate([start[None], rest]), first, later)


def _check(kernel):
    require_array("kernel", kernel, ())
    require_positive("kernel", kernel)
