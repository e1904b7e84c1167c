"""Layers of weights: dense, convolutional, and convolutional with weights of their own at each position.

    y = s x * W + s_b b,      K' = W_std^2 A[K] + b_std^2,      T' = W_std^2 A[T] + own,

with A the identity for a dense layer and the filter's average for a convolution. Fan-in f counts channels and offsets.

    parametrization   W ~        s               b ~          s_b      own
    "ntk"             N(0, 1)    W_std f^(-1/2)  N(0, 1)      b_std    K'
    "standard"        N(0, W_std^2 / f)    1     N(0, b_std^2)   1     f A[K] + 1 (with a bias)

Padding zeros enter the average, whose divisor stays the filter's size, and the bias is added behind.

Jacot, Gabriel and Hongler, 2018; Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian
Processes", 2019; Sohl-Dickstein, Novak, Schoenholz and Lee, "On the infinite width limit of neural networks with a
standard parameterization", 2020.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.infinite_width.kernel_state import Extent, KernelState, Needs, diagonal_part
from jaxlib_methods.infinite_width.layer import Layer
from jaxlib_methods.infinite_width.spatial import Window, filter_mean, window
from jaxlib_methods.infinite_width.taps import PLAIN, Taps
from jaxlib_methods.numerics.checks import require, require_choice, require_nonnegative, require_size

__all__ = ["Affine", "conv", "dense", "local_conv"]


class Affine(NamedTuple):
    """Weights (offsets, inputs, outputs) and a bias; None where the layer has none."""

    weight: Float[Array, "... o"]
    bias: Float[Array, " o"] | None


class Scales(NamedTuple):
    """Standard deviations of weights and bias, and where they enter."""

    weight: float
    bias: float
    parametrization: str

    def draw(self, key: Array, shape: tuple[int, ...], fan_in: int, dtype) -> Affine:
        """Parameters of a layer."""
        keys = jax.random.split(key)
        standard = self.parametrization == "standard"
        weight = jax.random.normal(keys[0], shape, dtype) * (self.weight * fan_in**-0.5 if standard else 1)
        if not self.bias:
            return Affine(weight, None)
        return Affine(weight, jax.random.normal(keys[1], shape[-1:], dtype) * (self.bias if standard else 1))

    def apply(self, params: Affine, x: Array, fan_in: int, product: Callable, taps: Taps) -> Array:
        """The layer's output, from `product(inputs, weight)`."""
        standard = self.parametrization == "standard"
        y = product(x if standard else x * (self.weight * fan_in**-0.5), params.weight)
        return y if params.bias is None else taps.bias(y, params.bias, 1.0 if standard else self.bias)

    def kernel(
        self, state: KernelState, average: Callable[[Array, int], Array], fan_in: int, width: int
    ) -> KernelState:
        """The state behind the layer, from `average(covariance, leading axes)`."""
        affine = lambda k: self.weight**2 * k + self.bias**2
        mean = average(state.nngp, 2)
        nngp = affine(mean)
        ntk = None
        if state.ntk is not None:
            own = nngp if self.parametrization == "ntk" else fan_in * mean + (1 if self.bias else 0)
            ntk = self.weight**2 * average(state.ntk, 2) + own
        own = None if state.own is None else tuple(affine(average(q, 1)) for q in state.own)
        return replace(state, nngp=nngp, ntk=ntk, own=own, channels=width, gaussian=True)


def dense(width: int, *, weight_std: float = 1.0, bias_std: float = 0.0, parametrization: str = "ntk") -> Layer:
    """A dense layer; on images it acts at each position alone.

    Args:
      width: number of outputs.
      weight_std: W_std.
      bias_std: b_std; 0 for no bias.
      parametrization: "ntk" or "standard", see the module.

    Raises:
      ValueError: if the width is below 1, a standard deviation is negative, or the parametrization is unknown.

    >>> params, shape = dense(5).init(jax.random.key(0), (3,))
    >>> dense(5).apply(params, jnp.ones((2, 3))).shape
    (2, 5)
    """
    scales = check_scales(width, weight_std, bias_std, parametrization)

    def init(key, shape, dtype=jnp.float32):
        return scales.draw(key, (shape[-1], width), shape[-1], dtype), (*shape[:-1], width)

    def apply(params, x, *, key=None, taps=PLAIN, side=None):
        return scales.apply(params, x, x.shape[-1], taps.dense, taps)

    def kernel(state, wanted):
        return scales.kernel(state, lambda k, lead: k, state.channels, width)

    return Layer(init, apply, kernel, lambda wanted: wanted)


def conv(
    width: int,
    filter_shape: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    parametrization: str = "ntk",
) -> Layer:
    """A convolution over any number of spatial axes; channels come last.

    Args:
      width: number of output channels.
      filter_shape: size along each spatial axis.
      strides: steps; 1 if None.
      padding: "VALID" (none), "SAME" (zeros) or "CIRCULAR".
      weight_std: W_std.
      bias_std: b_std; 0 for no bias.
      parametrization: "ntk" or "standard", see the module.

    Raises:
      ValueError: if a size is below 1, a standard deviation is negative, a name is unknown, or the filter does not fit
        the input.

    >>> params, shape = conv(5, (3, 3), padding="SAME").init(jax.random.key(0), (8, 8, 3))
    >>> shape
    (8, 8, 5)
    """
    scales = check_scales(width, weight_std, bias_std, parametrization)
    by = window("filter_shape", filter_shape, strides, padding)
    offsets = math.prod(by.sizes)

    def init(key, shape, dtype=jnp.float32):
        after = (*by.shape(shape[:-1]), width)
        return scales.draw(key, (*by.sizes, shape[-1], width), offsets * shape[-1], dtype), after

    def apply(params, x, *, key=None, taps=PLAIN, side=None):
        product = lambda x, weight: taps.conv(x, weight, by.strides)
        return scales.apply(params, by.pad(x), offsets * x.shape[-1], product, taps)

    kernel = lambda state, _: _conv_kernel(scales, by, state, width)
    return Layer(init, apply, kernel, lambda wanted: wanted, by.centre_present)


def local_conv(
    width: int,
    filter_shape: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    parametrization: str = "ntk",
) -> Layer:
    """A convolution without weight sharing: different positions are independent given the input. Args as `conv`.

    Of the covariances it keeps equal positions alone; biases, too, are the position's own.

    Raises:
      ValueError: as `conv`.

    >>> params, shape = local_conv(5, (2,), strides=(2,)).init(jax.random.key(0), (8, 3))
    >>> params.weight.shape, shape
    ((4, 6, 5), (4, 5))
    """
    scales = check_scales(width, weight_std, bias_std, parametrization)
    by = window("filter_shape", filter_shape, strides, padding)
    offsets = math.prod(by.sizes)

    def init(key, shape, dtype=jnp.float32):
        after = by.shape(shape[:-1])
        positions, fan_in = math.prod(after), offsets * shape[-1]
        params = scales.draw(key, (positions, fan_in, width), fan_in, dtype)
        if params.bias is not None:
            own = jax.random.fold_in(key, 1)
            size = scales.bias if parametrization == "standard" else 1
            params = params._replace(bias=size * jax.random.normal(own, (positions * width,), dtype))
        return params, (*after, width)

    def apply(params, x, *, key=None, taps=PLAIN, side=None):
        product = lambda x, weight: taps.local_conv(x, weight, by.sizes, by.strides)
        y = scales.apply(params._replace(bias=None), by.pad(x), offsets * x.shape[-1], product, taps)
        if params.bias is None:
            return y
        flat = taps.bias(y.reshape(len(y), -1), params.bias, 1.0 if parametrization == "standard" else scales.bias)
        return flat.reshape(y.shape)

    def kernel(state, wanted):
        shrink = lambda k, lead, full: diagonal_part(k, lead, state.spatial) if full else k
        full, own_full = state.full, state.own_full
        state = state.map(lambda k: shrink(k, 2, full), lambda q: shrink(q, 1, own_full))
        state = _conv_kernel(scales, by, state, width)
        grow = lambda k, lead, extent: _embed(k, lead) if extent == Extent.FULL else k
        return state.map(lambda k: grow(k, 2, wanted.cross), lambda q: grow(q, 1, wanted.own))

    needs = lambda wanted: Needs(Extent.DIAGONAL, min(wanted.own, Extent.DIAGONAL))
    return Layer(init, apply, kernel, needs, by.centre_present)


def _conv_kernel(scales: Scales, by: Window, state: KernelState, width: int) -> KernelState:
    require(state.spatial == len(by.sizes), "the input", f"{state.spatial} spatial axes", f"{len(by.sizes)} of them")
    average = lambda k, lead: filter_mean(k, lead, state.full if lead == 2 else state.own_full, by)
    return scales.kernel(state, average, math.prod(by.sizes) * state.channels, width)


def _embed(k: Array, lead: int) -> Array:
    """Adds zeros for pairs of different positions."""
    for axis in range(lead, lead + 2 * (k.ndim - lead), 2):
        eye = jnp.eye(k.shape[axis], dtype=k.dtype)
        k = jnp.expand_dims(k, axis + 1) * eye.reshape((1,) * axis + eye.shape + (1,) * (k.ndim - axis - 1))
    return k


def check_scales(width: int, weight_std: float, bias_std: float, parametrization: str) -> Scales:
    """The scales of a layer, checked along with its width."""
    require_size("width", width)
    require_nonnegative("weight_std", weight_std)
    require_nonnegative("bias_std", bias_std)
    require_choice("parametrization", parametrization, ("ntk", "standard"))
    return Scales(float(weight_std), float(bias_std), parametrization)
