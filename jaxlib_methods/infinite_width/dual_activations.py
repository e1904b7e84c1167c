"""Dual activations by name."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from jaxlib_methods.infinite_width.dual import DualActivation
from jaxlib_methods.infinite_width.hermite_duals import polynomial_dual, quadrature_dual
from jaxlib_methods.infinite_width.rectified_duals import rectifier_dual, sign_dual, step_dual
from jaxlib_methods.infinite_width.smooth_duals import (
    erf_dual,
    exponential_dual,
    gaussian_dual,
    gelu_dual,
    rbf_dual,
    sine_dual,
    sine_gaussian_dual,
)
from jaxlib_methods.numerics.checks import require_choice

__all__ = ["dual_activation"]

NAMED = {
    "identity": polynomial_dual((0, 1)),
    "relu": rectifier_dual(),
    "leaky_relu": rectifier_dual(0.01),
    "abs": rectifier_dual(-1),
    "erf": erf_dual(),
    "sigmoid_erf": erf_dual(0.5, 1 / 2.4020563531719796, 0.5),
    "gelu": gelu_dual(),
    "sin": sine_dual(),
    "cos": sine_dual(c=float(jnp.pi / 2)),
    "rbf": rbf_dual(),
    "exp": exponential_dual(),
    "gaussian": gaussian_dual(),
    "sine_gaussian": sine_gaussian_dual(),
    "sign": sign_dual(),
    "step": step_dual(),
}


def dual_activation(activation: str | Callable[[Array], Array] | DualActivation) -> DualActivation:
    """The dual of an activation given by its name, as a function, or as a dual already.

    Args:
      activation: a name: identity, relu, leaky_relu (slope 0.01), abs, erf, sigmoid_erf, gelu, sin, cos, rbf, exp,
        gaussian (exp(-x^2)), sine_gaussian (exp(-x^2) sin x), sign or step; or any function of each entry, whose dual
        is found by `quadrature_dual`.

    Raises:
      ValueError: if the name is unknown.

    >>> dual_activation("relu").name, dual_activation(jnp.tanh).name
    ('rectifier(0, 1)', 'quadrature(tanh, 40)')
    """
    if isinstance(activation, DualActivation):
        return activation
    if isinstance(activation, str):
        require_choice("activation", activation, tuple(NAMED))
        return NAMED[activation]
    return quadrature_dual(activation)
