"""Activation functions of the effective theory, by name or as functions, with their derivatives entry by entry."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxlib_methods.numerics.checks import require, require_choice

__all__ = ["ActivationFunction", "activation_function"]


@dataclass(frozen=True)
class ActivationFunction:
    """A function of each entry, smooth but for a kink that it may have at 0; hashable, a static argument.

    Attributes:
      name: of the activation.
      function: sigma.
      smooth: False where sigma or one of its derivatives jumps at 0.
    """

    name: str
    function: Callable[[Array], Array]
    smooth: bool = True

    def derivatives(self, z: Array, order: int) -> list[Array]:
        """Sigma and its first `order` derivatives at z, without what is concentrated at the kink."""
        functions = [self.function]
        for _ in range(order):
            functions.append(_slope(functions[-1]))
        return [function(z) for function in functions]


def activation_function(
    activation: str | Callable[[Array], Array] | ActivationFunction, *, smooth: bool = True
) -> ActivationFunction:
    """The activation given by its name, as a function, or as an `ActivationFunction` already.

    Args:
      activation: a name: linear, relu, leaky_relu (slope 0.1), abs, tanh, sin, erf, gelu (exact), swish, mish, elu,
        selu, sigmoid, softplus or perceptron (the sign); or any function of each entry, of polynomial growth.
      smooth: of a function: False if it has a kink at 0.

    Raises:
      ValueError: if the name is unknown, or `activation` is neither a name nor a function.

    >>> activation_function("relu").smooth, activation_function(jnp.arctan).name
    (False, 'arctan')
    """
    if isinstance(activation, ActivationFunction):
        return activation
    if isinstance(activation, str):
        require_choice("activation", activation, tuple(NAMED))
        return NAMED[activation]
    require(callable(activation), "activation", repr(activation), "a name or a function")
    return ActivationFunction(getattr(activation, "__name__", "activation"), activation, smooth)


def scale_invariant_slopes(sigma: ActivationFunction) -> tuple[float, float] | None:
    """The slopes on the right and on the left if sigma(z) = sigma(+-1) |z|, as found at 50 points."""
    z = np.geomspace(1e-3, 1e3, 25)
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        plus, minus = (np.asarray(sigma.function(jnp.asarray(sign * z))) for sign in (1, -1))
    a, b = float(plus[12]), float(minus[12])
    same = np.allclose(plus, a * z, 1e-12, 1e-15) and np.allclose(minus, b * z, 1e-12, 1e-15)
    return (a, -b) if same else None


def jumps(sigma: ActivationFunction) -> bool:
    """Whether sigma itself has a jump at 0."""
    with jax.ensure_compile_time_eval():
        right, left = (float(sigma.function(jnp.asarray(z))) for z in (1e-30, -1e-30))
    return abs(right - left) > 1e-6


def _slope(function: Callable) -> Callable:
    return lambda z: jax.jvp(function, (z,), (jnp.ones_like(z),))[1]


def _softplus(z: Array) -> Array:
    return jnp.logaddexp(z, jnp.zeros_like(z))


NAMED = {
    name: ActivationFunction(name, function, smooth)
    for name, function, smooth in (
        ("linear", lambda z: z, True),
        ("relu", lambda z: jnp.maximum(z, 0), False),
        ("leaky_relu", lambda z: jnp.where(z > 0, z, 0.1 * z), False),
        ("abs", jnp.abs, False),
        ("tanh", jnp.tanh, True),
        ("sin", jnp.sin, True),
        ("erf", jax.scipy.special.erf, True),
        ("gelu", functools.partial(jax.nn.gelu, approximate=False), True),
        ("swish", lambda z: z * jax.nn.sigmoid(z), True),
        ("mish", lambda z: z * jnp.tanh(_softplus(z)), True),
        ("elu", jax.nn.elu, False),
        ("selu", jax.nn.selu, False),
        ("sigmoid", jax.nn.sigmoid, True),
        ("softplus", _softplus, True),
        ("perceptron", jnp.sign, False),
    )
}
