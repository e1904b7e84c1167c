"""Training of an infinitely wide network on any loss, as a differential equation for its outputs.

    df/dt = -eta Theta grad L(f);        with heavy-ball momentum m and s = t eta^(1/2),
    df/ds = v,    dv/ds = -(1 - m) eta^(-1/2) v - Theta grad L(f).

A step of descent is a unit of t. The classical Runge-Kutta method of fourth order takes fixed steps, so that the result
can be differentiated; one step of it per step of descent is stable wherever descent itself is.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require, require_array, require_nonnegative, require_positive, require_size

__all__ = ["FunctionValues", "function_flow"]


class FunctionValues(NamedTuple):
    """Outputs at training and test inputs; `test` is None without test inputs."""

    train: Float[Array, "n o"]
    test: Float[Array, "m o"] | None


def function_flow(
    loss: Callable[[Array], Array],
    kernel: Float[Array, "n n"],
    f0: Float[Array, "n o"],
    t: ArrayLike,
    kernel_test: Float[Array, "m n"] | None = None,
    f0_test: Float[Array, "m o"] | None = None,
    *,
    learning_rate: ArrayLike = 1.0,
    momentum: float | None = None,
    steps: int = 100,
) -> FunctionValues:
    """Outputs after `t` steps of gradient descent on a loss, in the limit of small learning rates.

    Args:
      loss: of the outputs at the training inputs, (n, o) to a number; differentiable.
      kernel: NTK between training inputs.
      f0: outputs before training.
      t: steps of descent, nonnegative.
      kernel_test: NTK between test and training inputs; None for none.
      f0_test: outputs at the test inputs before training; zeros if None.
      learning_rate: eta.
      momentum: m, from 0 to below 1; None for plain descent.
      steps: Runge-Kutta steps; the error falls as their fourth power.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or a number is out of range.

    Cost: 4 `steps` gradients of the loss and products with the kernels.

    >>> half = lambda f: jnp.sum(f**2) / 2
    >>> round(float(function_flow(half, jnp.eye(1), jnp.ones((1, 1)), 1.0).train[0, 0]), 4)  # e^-1
    0.3679
    """
    require_array("kernel", kernel, (len(f0), len(f0)))
    require_array("f0", f0, (None, None))
    require_nonnegative("t", t)
    require_positive("learning_rate", learning_rate)
    require_size("steps", steps)
    kernels, state = kernel, f0
    if kernel_test is not None:
        require_array("kernel_test", kernel_test, (None, len(f0)))
        start = jnp.zeros((len(kernel_test), f0.shape[1]), f0.dtype) if f0_test is None else f0_test
        require_array("f0_test", start, (len(kernel_test), f0.shape[1]))
        kernels, state = jnp.concatenate([kernel, kernel_test]), jnp.concatenate([f0, start])
    rate = jnp.asarray(learning_rate, f0.dtype)
    force = lambda f: -jnp.einsum("ij,jo->io", kernels, jax.grad(loss)(f[: len(f0)]), precision="highest")
    if momentum is None:
        motion, span = force, rate * jnp.asarray(t, f0.dtype)
    else:
        require(0 <= momentum < 1, "momentum", momentum, "at least 0 and below 1")
        friction = (1 - momentum) / jnp.sqrt(rate)
        motion = lambda fv: (fv[1], force(fv[0]) - friction * fv[1])
        state, span = (state, jnp.zeros_like(state)), jnp.sqrt(rate) * jnp.asarray(t, f0.dtype)

    def step(state, _):
        h = span / steps
        move = lambda slope, size: jax.tree.map(lambda a, b: a + size * b, state, slope)
        first = motion(state)
        second = motion(move(first, h / 2))
        third = motion(move(second, h / 2))
        fourth = motion(move(third, h))
        mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, first, second, third, fourth)
        return move(mean, h), None

    state = jax.lax.scan(step, state, length=steps)[0]
    f = state if momentum is None else state[0]
    return FunctionValues(f[: len(f0)], None if kernel_test is None else f[len(f0) :])
