"""Perceptrons whose initialisation and multipliers scale with given powers of the width, and SGD whose rates do.

    h^1 = W^1 xi,  x^l = phi(h^l),  h^(l+1) = W^(l+1) x^l,  f = W^(L+1) x^L,        W^l = n^-a_l w^l,

    w^l ~ N(0, n^(-2 b_l)) at the start;        w^l <- w^l - eta n^-c_l dLoss/dw^l.

Weights are stored (fan-in, fan-out). On many devices the hidden axes are split over one mesh axis, `abc_shardings`, and
the batch over another: what crosses devices are activations, never weights.

Yang and Hu, "Feature Learning in Infinite-Width Neural Networks", 2020, section 3.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jaxtyping import Array, Float, Key

from jaxlib_methods.infinite_width.abc.parametrizations import Exponent, check_abc, per_layer
from jaxlib_methods.infinite_width.criticality.layer_rates import scale_by_layer_rates
from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = ["AbcNetwork", "AbcTaps", "abc_mlp", "abc_sgd", "abc_shardings"]

Weights = tuple[Float[Array, "_ _"], ...]


class AbcTaps(NamedTuple):
    """h^l and x^l of every hidden layer."""

    preactivations: tuple[Float[Array, "batch n"], ...]
    activations: tuple[Float[Array, "batch n"], ...]


class AbcInit(Protocol):
    """Draws w of every layer."""

    def __call__(
        self, key: Key[Array, ""], *, width: int, inputs: int, outputs: int, dtype: str = "float32"
    ) -> Weights: ...


class AbcNetwork(NamedTuple):
    """`init(key, width=n, inputs=d, outputs=k)` draws weights; `apply(params, x)` is f, `taps(params, x)` h and x."""

    init: AbcInit
    apply: Callable[[Weights, Float[Array, "batch d"]], Float[Array, "batch k"]]
    taps: Callable[[Weights, Float[Array, "batch d"]], AbcTaps]


def abc_mlp(
    a: Sequence[Exponent],
    b: Sequence[Exponent],
    c: Exponent | Sequence[Exponent],
    activation: Callable[[Array], Array],
) -> AbcNetwork:
    """A perceptron without biases in the parametrization (a, b, c).

    Args:
      a: exponents of the multipliers, layer by layer: hidden layers, then the readout.
      b: of the standard deviations at the start.
      c: of the rate; the network does not depend on it, `abc_sgd` does.
      activation: phi, entry by entry.

    Raises:
      TypeError, ValueError: as `abc_classify`; `init` for sizes below 1, `apply` for inputs that are not floating rows
        as wide as the first layer.

    Cost: L - 1 products with n x n matrices.

    >>> from jaxlib_methods.infinite_width import abc_parametrization
    >>> net = abc_mlp(*abc_parametrization("mup", depth=2), jnp.tanh)
    >>> net.apply(net.init(jax.random.key(0), width=8, inputs=3, outputs=1), jnp.ones((5, 3))).shape
    (5, 1)
    """
    a, b, _ = check_abc(a, b, c)
    powers = lambda n, values: [float(n) ** -float(value) for value in values]

    def init(key, *, width, inputs, outputs, dtype="float32"):
        for name, size in (("width", width), ("inputs", inputs), ("outputs", outputs)):
            require_size(name, size)
        sizes = (inputs, *[width] * (len(a) - 1), outputs)
        keys = jax.random.split(key, len(a))
        deviations = powers(width, b)
        return tuple(
            deviations[l] * jax.random.normal(keys[l], (sizes[l], sizes[l + 1]), jnp.dtype(dtype))
            for l in range(len(a))
        )

    def run(params, x):
        require(len(params) == len(a), "params", f"{len(params)} layers", f"{len(a)} layers, as many as exponents")
        require_array("x", x, (None, params[0].shape[0]))
        multipliers = powers(params[0].shape[1], a)
        h, activations = [], [x]
        for weight, multiplier in zip(params, multipliers, strict=True):
            h.append(multiplier * (activations[-1] @ weight))
            activations.append(activation(h[-1]))
        return h[-1], AbcTaps(tuple(h[:-1]), tuple(activations[1:-1]))

    return AbcNetwork(init, lambda params, x: run(params, x)[0], lambda params, x: run(params, x)[1])


def abc_sgd(eta: optax.ScalarOrSchedule, c: Exponent | Sequence[Exponent], width: int) -> optax.GradientTransformation:
    """SGD with the rate eta n^-c, or eta n^-c_l for the weights of layer l.

    Args:
      eta: rate, or its schedule.
      c: exponent, one for all or one a layer.
      width: n.

    Raises:
      TypeError: if an exponent is not a real number.
      ValueError: if the width is below 1 or an exponent is not finite.

    >>> transform = abc_sgd(0.5, (0, 1), 10)
    >>> grads = (jnp.ones(1), jnp.ones(1))
    >>> [round(float(u[0]), 3) for u in transform.update(grads, transform.init(grads))[0]]
    [-0.5, -0.05]
    """
    require_size("width", width)
    layers = 1 if isinstance(c, int | float) or not isinstance(c, Sequence) else len(c)
    factors = tuple(float(width) ** -float(value) for value in per_layer("c", c, layers))
    scale = scale_by_layer_rates(factors) if isinstance(c, Sequence) else optax.scale(factors[0])
    return optax.chain(scale, optax.scale_by_learning_rate(eta))


def abc_shardings(
    params: Sequence[Float[Array, "_ _"] | jax.ShapeDtypeStruct], *, mesh: Mesh, axis: str = "model"
) -> tuple[NamedSharding, ...]:
    """Where the weights of `abc_mlp` lie on a mesh: hidden axes split, so that hidden activations are, too.

    Args:
      params: weights, or their shapes from `jax.eval_shape`.
      mesh: devices.
      axis: mesh axis of the hidden axis; a width that it does not divide is not split.

    Raises:
      ValueError: if the mesh has no such axis.

    >>> mesh = jax.make_mesh((1,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    >>> [tuple(s.spec) for s in abc_shardings((jnp.ones((3, 8)), jnp.ones((8, 1))), mesh=mesh)]
    [(None, 'model'), ('model', None)]
    """
    require(axis in mesh.axis_names, "axis", repr(axis), "an axis of the mesh")
    width = params[0].shape[1]
    name = axis if width % mesh.shape[axis] == 0 else None
    specs = [P(None, name)] * (len(params) - 1) + [P(name, None)]
    return tuple(NamedSharding(mesh, spec) for spec in specs)
