"""Bundling: neighbouring linear maps around a kernel layer merge, and a whole network into one matrix.

A linear map after a kernel layer is part of its parameters,

    (Phi(x) Psi + shift) W + b = Phi(x) (Psi W) + (shift W + b),

and the merged matrix is itself the weight of the next nonlinearity, whose inputs are the features Phi(x):

    W~_1 = W_1,   W~_{i+1} = Psi_i(W~_i, b~_i) W_{i+1},   y = Z(x) Psi_L(W~_L, b~_L),   Z(x) = Phi_L(... Phi_1(x)).

Inputs climb one tower, parameters the other. Merging is exact: all error is that of the kernels.

Sehanobish, Choromanski, Zhao, Dubey and Likhosherstov, "Scalable Neural Network Kernels", ICLR 2024, section 3.2.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxlib_methods.nn.mlp import Dense
from jaxlib_methods.numerics.checks import require
from jaxlib_methods.random_features.scalable_kernels.layer import (
    Kernel,
    SnnkParams,
    snnk_constants,
    snnk_features,
    snnk_weight_features,
)

__all__ = ["bundle", "merge_linear", "tower_apply", "tower_init"]


def merge_linear(params: SnnkParams, dense: Dense) -> SnnkParams:
    """Merges the affine map that follows a layer into its parameters: p l + l o numbers become p o.

    Args:
      params: of a layer with l outputs.
      dense: the affine map from l to o.

    Raises:
      ValueError: if the sizes do not meet.

    >>> merged = merge_linear(SnnkParams(jnp.ones((8, 3)), None), Dense(jnp.ones((3, 2)), jnp.zeros(2)))
    >>> merged.psi.shape, merged.shift.tolist()
    ((8, 2), [0.0, 0.0])
    """
    width = params.psi.shape[1]
    require(dense.weight.shape[0] == width, "dense", f"weight {dense.weight.shape}", f"an affine map of {width} inputs")
    product = lambda a: jnp.einsum("...l,lo->...o", a, dense.weight, precision="highest")
    return SnnkParams(product(params.psi), dense.bias if params.shift is None else product(params.shift) + dense.bias)


def tower_init(
    key: Key[Array, ""],
    dim: int,
    num_features: Sequence[int],
    *,
    kernels: Sequence[Kernel],
    bias: bool = True,
    law: str = "gaussian",
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> tuple[PyTree, ...]:
    """Draws the frozen feature maps Phi_1, ..., Phi_L of a bundled network.

    Args:
      key: typed PRNG key; every layer gets its own.
      dim: d, of the network's inputs.
      num_features: m of each layer.
      kernels: one for each layer.
      bias: whether layers have biases.
      law: as in `snnk_constants`.
      dtype: as in `snnk_constants`.

    Raises:
      ValueError: if a size is out of range or there are not as many kernels as sizes, at least one.

    >>> from jaxlib_methods.random_features import ReluKernel
    >>> tower = tower_init(jax.random.key(0), 3, (8, 6), kernels=(ReluKernel(),) * 2)
    >>> tower[1].projections.shape
    (6, 8)
    """
    fits = len(kernels) == len(num_features) and len(kernels) > 0
    require(fits, "kernels", f"{len(kernels)} of them", f"one for each of the {len(num_features)} sizes, at least one")
    tower = []
    for layer_key, kernel, m in zip(jax.random.split(key, len(kernels)), kernels, num_features, strict=True):
        tower.append(snnk_constants(layer_key, dim, m, kernel=kernel, bias=bias, law=law, dtype=dtype))
        dim = kernel.width(m)
    return tuple(tower)


def tower_apply(tower: Sequence[PyTree], x: Float[Array, "*b d"], *, kernels: Sequence[Kernel]) -> Float[Array, "*b p"]:
    """Z(x) = Phi_L(... Phi_1(x)): the frozen features of a bundled network.

    Args:
      tower: from `tower_init`.
      x: inputs.
      kernels: those of `tower_init`.

    Raises:
      TypeError, ValueError: as `snnk_features`.

    >>> from jaxlib_methods.random_features import ReluKernel
    >>> tower = tower_init(jax.random.key(0), 3, (8,), kernels=(ReluKernel(),))
    >>> tower_apply(tower, jnp.ones((5, 3)), kernels=(ReluKernel(),)).shape
    (5, 8)
    """
    for constants, kernel in zip(tower, kernels, strict=True):
        x = snnk_features(constants, x, kernel=kernel)
    return x


def bundle(tower: Sequence[PyTree], layers: Sequence[Dense], *, kernels: Sequence[Kernel]) -> SnnkParams:
    """Folds a network's layers into one affine map of the tower's features, y = Z(x) psi + shift.

    Args:
      tower: from `tower_init` for the network's inputs.
      layers: dense layers of the network; as many as kernels, or one more for a linear last layer.
      kernels: one for each nonlinearity.

    Raises:
      ValueError: if numbers or sizes do not fit, or features of known weights overflow.

    Cost: features of l units of p inputs for each layer, once; the result has p_L l_L numbers.

    >>> from jaxlib_methods.nn import mlp_init
    >>> from jaxlib_methods.random_features import ReluKernel
    >>> kernels = (ReluKernel(),)
    >>> tower = tower_init(jax.random.key(0), 3, (8,), kernels=kernels)
    >>> bundle(tower, mlp_init(jax.random.key(1), (3, 16, 2)), kernels=kernels).psi.shape
    (8, 2)
    """
    count = len(kernels)
    fits = len(tower) == count and len(layers) in (count, count + 1)
    require(fits, "layers", f"{len(layers)} for a tower of {len(tower)}", f"{count} or {count + 1} for {count} kernels")
    params = SnnkParams(layers[0].weight, layers[0].bias)
    for i, (constants, kernel) in enumerate(zip(tower, kernels, strict=True)):
        psi = snnk_weight_features(constants, params.psi, params.shift, kernel=kernel)
        shift = jnp.full(psi.shape[1], kernel.offset, psi.dtype) if kernel.offset else None
        params = SnnkParams(psi, shift)
        if i + 1 < len(layers):
            params = merge_linear(params, layers[i + 1])
    return params
