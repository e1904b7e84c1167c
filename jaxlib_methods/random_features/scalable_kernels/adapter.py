"""Adapters: a residual kernel layer behind a gate that starts at zero, so that a frozen network starts unchanged.

    h -> h + s o (Phi(h) Psi),                   s in R^d, 0 at first                    d m + d numbers for real Phi
    h -> h + (Phi(h) Psi) U,                     U in R^(r x d), 0 at first              r m + r d

One goes behind the attention output and one behind the feed-forward output of a transformer block, before the residual
normalisation; everything else stays frozen.

Sehanobish, Choromanski, Zhao, Dubey and Likhosherstov, "Scalable Neural Network Kernels", ICLR 2024, section 4.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxlib_methods.numerics.checks import require_nonnegative, require_size
from jaxlib_methods.random_features.scalable_kernels.layer import Kernel, SnnkParams, snnk_apply, snnk_init

__all__ = ["AdapterParams", "adapter_apply", "adapter_init"]


class AdapterParams(NamedTuple):
    """What is trained; `gate` is a vector s, or the up-projection U behind a bottleneck."""

    layer: SnnkParams
    gate: Float[Array, " d"] | Float[Array, "r d"]


def adapter_init(
    key: Key[Array, ""],
    dim: int,
    num_features: int,
    *,
    kernel: Kernel,
    bottleneck: int | None = None,
    law: str = "orthogonal",
    stddev: float = 0.02,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> tuple[AdapterParams, PyTree]:
    """An adapter that changes nothing yet.

    Args:
      key: typed PRNG key, another one for each adapter.
      dim: d, width of the stream.
      num_features: m.
      kernel: static description of f; `ReluKernel()` in the paper.
      bottleneck: r, output width of the kernel layer before the up-projection; None for the gate alone.
      law: of the projections, as in `snnk_constants`.
      stddev: of the random weights that Psi starts from.
      dtype: of the parameters.

    Raises:
      ValueError: if a size is out of range or `stddev` is negative.

    >>> from jaxlib_methods.random_features import ReluKernel
    >>> params, _ = adapter_init(jax.random.key(0), 768, 8, kernel=ReluKernel())
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    6912
    """
    require_size("dim", dim)
    require_nonnegative("stddev", stddev)
    if bottleneck is not None:
        require_size("bottleneck", bottleneck)
    weight_key, constants_key = jax.random.split(key)
    width = dim if bottleneck is None else bottleneck
    weight = stddev * jax.random.normal(weight_key, (dim, width), dtype)
    layer, constants = snnk_init(constants_key, weight, num_features=num_features, kernel=kernel, law=law)
    return AdapterParams(layer, jnp.zeros((dim,) if bottleneck is None else (width, dim), dtype)), constants


def adapter_apply(
    params: AdapterParams, constants: PyTree, h: Float[Array, "*b d"], *, kernel: Kernel
) -> Float[Array, "*b d"]:
    """h plus the gated kernel layer of h.

    Args:
      params: from `adapter_init`, or trained.
      constants: frozen, from `adapter_init`.
      h: rows of the stream.
      kernel: static description of f.

    Raises:
      TypeError, ValueError: as `snnk_apply`.

    >>> from jaxlib_methods.random_features import ReluKernel
    >>> params, constants = adapter_init(jax.random.key(0), 3, 8, kernel=ReluKernel())
    >>> adapter_apply(params, constants, jnp.ones((1, 3)), kernel=ReluKernel()).tolist()
    [[1.0, 1.0, 1.0]]
    """
    update = snnk_apply(params.layer, constants, h, kernel=kernel)
    gate = params.gate.astype(h.dtype)
    return h + jnp.einsum("...d,d->...d" if gate.ndim == 1 else "...r,rd->...d", update, gate)
