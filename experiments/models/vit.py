"""A small vision transformer whose feed-forward blocks are dense, or scalable neural network kernels.

    h <- h + Attention(norm(h)),    h <- h + FeedForward(norm(h)),    logits = (mean of norm(h) over tokens) W

A feed-forward block is "dense", GELU(h W1 + b1) W2 + b2; "snnk", where features of h times a matrix stand in for
the first layer and W2 remains; or "bundled", where W2 is merged into that matrix, so that the block is one matrix
of features. Features are taken of h at norm d^(1/4).
"""

from typing import Any, Literal

import jax
from flax import nnx

from jaxlib_methods.nn import Dense
from jaxlib_methods.random_features import (
    Kernel,
    adapter_apply,
    adapter_init,
    merge_linear,
    rescale_rows,
    snnk_apply,
    snnk_init,
)

__all__ = ["Frozen", "VisionTransformer"]

FeedForwardKind = Literal["dense", "snnk", "bundled"]


class Frozen(nnx.Variable):
    """Draws that belong to the model but are never trained."""


class VisionTransformer(nnx.Module):
    """Images (b, s, s, c) to logits (b, classes).

    Attributes of the call: `size` s, `patch` its divisor, `width` d, one entry of `blocks` for each block, which says
    what its feed-forward part is and how wide: hidden units if dense, random features if "snnk" or "bundled".
    """

    def __init__(
        self,
        *,
        size: int,
        channels: int,
        patch: int,
        width: int,
        heads: int,
        hidden: int,
        blocks: tuple[tuple[FeedForwardKind, int], ...],
        classes: int,
        kernel: Kernel,
        adapter_features: int | None = None,
        rngs: nnx.Rngs,
    ):
        """Draws all weights; `hidden` is the width of the dense layer that kernels stand in for."""
        tokens = (size // patch) ** 2
        window = (patch, patch)
        self.embed = nnx.Conv(channels, width, window, strides=window, padding="VALID", rngs=rngs)
        self.position = nnx.Param(0.02 * jax.random.normal(rngs.params(), (tokens, width)))
        self.blocks = nnx.List(
            Block(width, heads, hidden, *block, kernel=kernel, adapter_features=adapter_features, rngs=rngs)
            for block in blocks
        )
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """The logits."""
        h = self.embed(images)
        h = h.reshape(len(h), -1, h.shape[-1]) + self.position[...][None]
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h).mean(1))


class Block(nnx.Module):
    """Attention and a feed-forward part, each on the normalised stream, with an adapter behind each if asked for."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        kind: FeedForwardKind,
        size: int,
        *,
        kernel: Kernel,
        adapter_features: int | None,
        rngs: nnx.Rngs,
    ):
        """Draws the block's weights."""
        self.norms = nnx.List(nnx.LayerNorm(width, rngs=rngs) for _ in range(2))
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        if kind == "dense":
            self.feed_forward = DenseFeedForward(width, size, rngs=rngs)
        else:
            self.feed_forward = KernelFeedForward(
                width, hidden, size, bundled=kind == "bundled", kernel=kernel, rngs=rngs
            )
        adapters = 0 if adapter_features is None else 2
        self.adapters = nnx.List(Adapter(width, adapter_features, kernel=kernel, rngs=rngs) for _ in range(adapters))

    def __call__(self, h: jax.Array) -> jax.Array:
        """One step of the stream."""
        for i, part in enumerate((self.attention, self.feed_forward)):
            update = part(self.norms[i](h))
            h = h + (self.adapters[i](update) if self.adapters else update)
        return h


class DenseFeedForward(nnx.Module):
    """GELU(h W1 + b1) W2 + b2."""

    def __init__(self, width: int, hidden: int, *, rngs: nnx.Rngs):
        """Draws both layers."""
        self.first = nnx.Linear(width, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, width, rngs=rngs)

    def __call__(self, h: jax.Array) -> jax.Array:
        """The block."""
        return self.second(nnx.gelu(self.first(h)))


class KernelFeedForward(nnx.Module):
    """Phi(h) Psi W2 + b2, in two matrices or in one; started from the weights of a dense block."""

    def __init__(self, width: int, hidden: int, features: int, *, bundled: bool, kernel: Kernel, rngs: nnx.Rngs):
        """Draws a dense block and takes the features of its weights."""
        dense = DenseFeedForward(width, hidden, rngs=rngs)
        params, constants = snnk_init(rngs.params(), *_affine(dense.first), num_features=features, kernel=kernel)
        if bundled:
            params = merge_linear(params, _affine(dense.second))
        self.params, self.constants = nnx.Param(params), Frozen(constants)
        self.second = None if bundled else dense.second
        self.kernel, self.norm = kernel, width**0.25

    def __call__(self, h: jax.Array) -> jax.Array:
        """The block."""
        h = rescale_rows(h, self.norm)
        y = snnk_apply(self.params.get_value(), self.constants.get_value(), h, kernel=self.kernel)
        return y if self.second is None else self.second(y)


class Adapter(nnx.Module):
    """The library's adapter as a module."""

    def __init__(self, width: int, features: Any, *, kernel: Kernel, rngs: nnx.Rngs):
        """Starts as the identity."""
        params, constants = adapter_init(rngs.params(), width, features, kernel=kernel)
        self.params, self.constants, self.kernel = nnx.Param(params), Frozen(constants), kernel

    def __call__(self, h: jax.Array) -> jax.Array:
        """The adapter."""
        return adapter_apply(self.params.get_value(), self.constants.get_value(), h, kernel=self.kernel)


def _affine(layer: nnx.Linear) -> Dense:
    assert layer.bias is not None
    return Dense(layer.kernel[...], layer.bias[...])
