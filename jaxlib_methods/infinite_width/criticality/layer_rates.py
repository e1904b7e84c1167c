"""Learning rates under which every layer contributes the same to the NTK, and so trains at the same speed.

    Theta^L = sum_l (lambda_b^l + lambda_W^l <sigma^2>_(l-1)) prod_(l <= m < L) X^m,        X = C_W <sigma'^2>,

where <sigma^2>_0 is x.x / inputs. The principle of equivalence asks for terms of order 1 / L each. At any depth,

    lambda_b^l = b / (L prod_l),        lambda_W^l = w <sigma^2>_0 / (L prod_l <sigma^2>_(l-1));

and in the limit of large depth, with the exponent p of X ~ 1 - p / l at the critical point,

    scale-invariant   lambda_b = b / L,                     lambda_W = w / L,
    K* = 0            lambda_b^l = b L^(p-1) l^-p,          lambda_W^l = w (L / l)^(p-1).

Descent diverges above 2 / (largest eigenvalue of Theta) for the loss |f - y|^2 / 2: `max_learning_rate` has it for
means over targets.

Roberts, Yaida and Hanin, "The Principles of Deep Learning Theory", section 9.4; the exact form is derived.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, PyTree

from jaxlib_methods.infinite_width.criticality.activation_function import ActivationFunction, activation_function
from jaxlib_methods.infinite_width.criticality.critical_point import CriticalPoint
from jaxlib_methods.infinite_width.criticality.half_line_rule import half_line_rule
from jaxlib_methods.infinite_width.criticality.layer_scales import LayerScales, check_scales
from jaxlib_methods.nn.mlp import Dense
from jaxlib_methods.numerics.checks import require, require_array, require_positive, require_size

__all__ = [
    "LayerRates",
    "asymptotic_layer_rates",
    "equivalent_layer_rates",
    "layer_contributions",
    "layer_rate_tree",
    "scale_by_layer_rates",
]


class LayerRates(NamedTuple):
    """lambda_b and lambda_W of every layer."""

    bias: Float[Array, " l"]
    weight: Float[Array, " l"]


def layer_contributions(
    scales: LayerScales, kernel: Float[Array, ""], *, activation: str | ActivationFunction, depth: int
) -> Float[Array, " l"]:
    """What each layer contributes to the NTK of the last: the terms of the sum above.

    Args:
      scales: variances and rates.
      kernel: K of the first layer.
      activation: as in `activation_function`.
      depth: layers.

    Raises:
      TypeError: if the kernel is not floating.
      ValueError: if the activation is unknown, a known variance not positive or the depth below 1.

    >>> layer_contributions(LayerScales(0.0, 2.0), jnp.ones(()), activation="relu", depth=3).round(4).tolist()
    [0.5, 0.5, 0.5]
    """
    squares, products = _transport(scales, kernel, activation, depth)
    _, _, l_b, l_w = check_scales(scales, kernel.dtype, depth)
    return (l_b + l_w * squares) * products


def equivalent_layer_rates(
    scales: LayerScales,
    kernel: Float[Array, ""],
    bias_rate: Float[ArrayLike, ""] = 1.0,
    weight_rate: Float[ArrayLike, ""] = 1.0,
    *,
    activation: str | ActivationFunction,
    depth: int,
) -> LayerRates:
    """Rates under which every layer contributes (b + w <sigma^2>_0) / L exactly.

    Args:
      scales: variances; rates play no part.
      kernel: K of the first layer.
      bias_rate: b.
      weight_rate: w.
      activation: as in `activation_function`.
      depth: L.

    Raises:
      TypeError, ValueError: as `layer_contributions`.

    >>> rates = equivalent_layer_rates(LayerScales(0.0, 2.0), jnp.ones(()), activation="relu", depth=4)
    >>> rates.bias.round(4).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    squares, products = _transport(scales, kernel, activation, depth)
    share = 1 / (depth * products)
    b, w = (jnp.asarray(rate, kernel.dtype) for rate in (bias_rate, weight_rate))
    return LayerRates(b * share, w * share * squares[0] / squares)


def asymptotic_layer_rates(
    point: CriticalPoint, bias_rate: float = 1.0, weight_rate: float = 1.0, *, depth: int, dtype: str = "float32"
) -> LayerRates:
    """The rates of deep critical networks, from the universality class alone.

    Args:
      point: from `critical_point`.
      bias_rate: b.
      weight_rate: w.
      depth: L.
      dtype: of the result.

    Raises:
      ValueError: if the point is half-stable, whose susceptibilities tend to 1 as the scale-invariant ones only on one
        side of K*, or the depth is below 1.

    >>> from jaxlib_methods.infinite_width import critical_point
    >>> asymptotic_layer_rates(critical_point("tanh"), depth=4).bias.tolist()  # 1 / l
    [1.0, 0.5, 0.3333333432674408, 0.25]
    """
    require_size("depth", depth)
    require(point.universality != "half-stable", "point", "half-stable", "scale-invariant or zero")
    l, p = jnp.arange(1, depth + 1).astype(dtype), point.p_perpendicular
    if point.universality == "scale-invariant":
        return LayerRates(jnp.full_like(l, bias_rate / depth), jnp.full_like(l, weight_rate / depth))
    return LayerRates(bias_rate * depth ** (p - 1) * l**-p, weight_rate * (depth / l) ** (p - 1))


def layer_rate_tree(params: tuple[Dense, ...], rates: LayerRates) -> tuple[Dense, ...]:
    """Rates as a pytree like the parameters of a perceptron: lambda_b, and lambda_W / fan-in.

    Raises:
      ValueError: if there are not as many layers as rates.

    >>> from jaxlib_methods.nn import mlp_init
    >>> params = mlp_init(jax.random.key(0), (4, 8, 1))
    >>> tree = layer_rate_tree(params, LayerRates(jnp.ones(2), jnp.ones(2)))
    >>> [float(layer.weight) for layer in tree]
    [0.25, 0.125]
    """
    require(rates.bias.shape == (len(params),), "rates", f"shape {rates.bias.shape}", f"of shape ({len(params)},)")
    return tuple(Dense(rates.weight[i] / layer.weight.shape[0], rates.bias[i]) for i, layer in enumerate(params))


def scale_by_layer_rates(rates: PyTree) -> optax.GradientTransformation:
    """Multiplies updates by a pytree of rates: chained before `optax.sgd(eta)`, descent moves by eta lambda grad.

    Args:
      rates: as the parameters, each leaf a number or an array that broadcasts.

    >>> transform = scale_by_layer_rates({"w": 0.5})
    >>> transform.update({"w": jnp.ones(2)}, transform.init({"w": jnp.ones(2)}))[0]["w"].tolist()
    [0.5, 0.5]
    """

    def update(updates, state, params=None):
        return jax.tree.map(lambda u, rate: u * jnp.asarray(rate, u.dtype), updates, rates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _transport(scales, kernel, activation, depth):
    """<sigma^2> of the layer before, and the product of susceptibilities from each layer to the last."""
    sigma = activation_function(activation)
    require_size("depth", depth)
    require_array("kernel", kernel, ())
    require_positive("kernel", kernel)
    c_b, c_w, _, _ = check_scales(scales, kernel.dtype, depth)
    u, w = half_line_rule(kernel.dtype)

    def layer(k, scales):
        b, variance = scales
        s, s1 = sigma.derivatives(jnp.sqrt(k) * u, 1)
        square = jnp.sum(w * s**2)
        return b + variance * square, (square, variance * jnp.sum(w * s1**2))

    k = jnp.asarray(kernel)
    _, (squares, factors) = jax.lax.scan(layer, k, (c_b[1:], c_w[1:]))
    squares = jnp.concatenate([((k - c_b[0]) / c_w[0])[None], squares])
    products = jnp.flip(jnp.cumprod(jnp.flip(jnp.concatenate([factors, jnp.ones_like(k)[None]]))))
    return squares, products
