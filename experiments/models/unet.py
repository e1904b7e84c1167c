"""The DDPM++ U-Net: residual blocks on a pyramid of resolutions, told the noise level by an embedding.

    embed:  e = silu(W2 silu(W1 (positions(c_noise) + W_labels labels)))
    block:  y = sqrt(.5) (skip(x) + conv1(dropout(silu(norm1(conv0(silu(norm0(x))) + W e))))),
            and with attention   z = sqrt(.5) (y + proj(softmax(q k^T / sqrt(c)) v)),   q, k, v = qkv(norm2(y))
    down:   every level but the first starts with a block at half the size, means of 2 x 2 pixels
    up:     every level but the last starts with a block at double the size, each pixel repeated 2 x 2

The decoder takes the encoder's activations in reverse order as further channels. Convolutions that end a residual
branch, and the last one, start at 1e-5 of their usual size, so the untrained network gives almost zero.

Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations", 2021; Karras et al. 2022,
appendix F.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

__all__ = ["UNet", "UNetConfig", "noise_positions"]

RESIDUAL_SCALE = math.sqrt(0.5)
MAX_POSITIONS = 10_000


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of the network.

    Attributes:
      width: channels that the multipliers multiply.
      multipliers: channels of each level, in units of `width`; level i works on images of size / 2^i.
      blocks: residual blocks a level on the way down; one more on the way up.
      attention: image sizes at which blocks attend; the middle of the network always does.
      dropout: rate, in training.
      labels: numbers that describe an image's augmentation; 0 for a network that is told none.
    """

    width: int = 128
    multipliers: tuple[int, ...] = (2, 2, 2)
    blocks: int = 4
    attention: tuple[int, ...] = (16,)
    dropout: float = 0.13
    labels: int = 9


def noise_positions(noise: Float[Array, " b"], count: int) -> Float[Array, "b count"]:
    """sin and cos of the noise label times `count / 2` frequencies from 1 to 1e-4, both ends included."""
    frequencies = MAX_POSITIONS ** -jnp.linspace(0.0, 1.0, count // 2, dtype=noise.dtype)
    angles = noise[:, None] * frequencies[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


def _xavier(scale: float = 1.0) -> Callable[..., Array]:
    return nnx.initializers.variance_scaling(scale**2, "fan_avg", "uniform")


def _convolution(inputs: int, outputs: int, rngs: nnx.Rngs, scale: float = 1.0) -> nnx.Conv:
    return nnx.Conv(inputs, outputs, (3, 3), kernel_init=_xavier(scale), rngs=rngs)


def _linear(inputs: int, outputs: int, rngs: nnx.Rngs, scale: float = 1.0, bias: bool = True) -> nnx.Linear:
    """On channels-last images this is the 1 x 1 convolution."""
    return nnx.Linear(inputs, outputs, use_bias=bias, kernel_init=_xavier(scale), rngs=rngs)


class GroupNorm(nnx.Module):
    """Normalises groups of channels over all pixels; one affine pass over the image, its coefficients from two sums."""

    def __init__(self, channels: int):
        self.groups = min(32, channels // 4)
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, c = x.shape[0], x.shape[3]
        grouped = b, self.groups, c // self.groups

        def over_group(means: Array) -> Array:
            return jnp.broadcast_to(means.reshape(grouped).mean(2, keepdims=True), grouped).reshape(b, c)

        mean, square = over_group(x.mean((1, 2))), over_group((x * x).mean((1, 2)))
        slope = jax.lax.rsqrt(jnp.maximum(square - mean**2, 0) + 1e-6) * self.scale[...][None]
        offset = self.bias[...][None] - mean * slope
        return x * slope[:, None, None] + offset[:, None, None]


def _same(x: Array) -> Array:
    return x


def _halve(x: Array) -> Array:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def _double(x: Array) -> Array:
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


class Attention(nnx.Module):
    """Self-attention over the pixels with one head, as a residual branch."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.norm = GroupNorm(channels)
        self.qkv = _linear(channels, 3 * channels, rngs, math.sqrt(0.2))
        self.proj = _linear(channels, channels, rngs, 1e-5)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Adds the attended values and rescales."""
        b, h, w, c = x.shape
        q, k, v = jnp.split(self.qkv(self.norm(x)).reshape(b, h * w, 3 * c), 3, axis=2)
        weights = jax.nn.softmax(jnp.einsum("bqc,bkc->bqk", q, k) / math.sqrt(c), axis=2)
        attended = jnp.einsum("bqk,bkc->bqc", weights, v).reshape(x.shape)
        return RESIDUAL_SCALE * (x + self.proj(attended))


class Block(nnx.Module):
    """A residual block, with attention where asked for; `resample` changes the image size on both branches."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        *,
        attention: bool = False,
        resample: Callable[[Array], Array] = _same,
        dropout: float,
        rngs: nnx.Rngs,
    ):
        self.resample, self.dropout = resample, dropout
        self.norm0 = GroupNorm(inputs)
        self.conv0 = _convolution(inputs, outputs, rngs)
        self.embed = _linear(embedding, outputs, rngs)
        self.norm1 = GroupNorm(outputs)
        self.conv1 = _convolution(outputs, outputs, rngs, 1e-5)
        projected = inputs != outputs or resample is not _same
        self.skip = _linear(inputs, outputs, rngs) if projected else _same
        self.attend = Attention(outputs, rngs=rngs) if attention else _same

    def __call__(self, x: Float[Array, "b h w c"], embedding: Float[Array, "b e"], key: Key[Array, ""] | None) -> Array:
        """Applies the block; dropout only where a key is given."""
        h = self.conv0(self.resample(nnx.silu(self.norm0(x))))
        h = nnx.silu(self.norm1(h + self.embed(embedding)[:, None, None]))
        if key is not None and self.dropout > 0:
            kept = jax.random.bernoulli(key, 1 - self.dropout, h.shape)
            h = jnp.where(kept, h / (1 - self.dropout), 0)
        return self.attend(RESIDUAL_SCALE * (self.conv1(h) + self.skip(self.resample(x))))


class UNet(nnx.Module):
    """The network F(x, c_noise, labels) of the module's equations, for square images, channels last."""

    def __init__(self, config: UNetConfig, *, size: int, channels: int, rngs: nnx.Rngs):
        """Makes a network for images of `size` x `size` x `channels`.

        Raises:
          ValueError: if the size cannot be halved often enough.
        """
        levels = len(config.multipliers)
        if size % 2 ** (levels - 1):
            raise ValueError(f"size must be a multiple of {2 ** (levels - 1)} for {levels} levels, got {size}")
        widths = [config.width * m for m in config.multipliers]
        embedding = 4 * config.width
        self.positions = config.width

        def block(inputs: int, outputs: int, attention: bool = False, resample=_same) -> Block:
            again: Any = dict(resample=resample, dropout=config.dropout, rngs=rngs)
            return Block(inputs, outputs, embedding, attention=attention, **again)

        self.embed_labels = _linear(config.labels, config.width, rngs, bias=False) if config.labels else None
        self.embed = nnx.List([_linear(config.width, embedding, rngs), _linear(embedding, embedding, rngs)])

        self.first = _convolution(channels, config.width, rngs)
        encoder, kept, current = [], [config.width], config.width
        for level, width in enumerate(widths):
            attends = size // 2**level in config.attention
            if level > 0:
                encoder.append(block(current, current, resample=_halve))
                kept.append(current)
            for _ in range(config.blocks):
                encoder.append(block(current, width, attends))
                kept.append(width)
                current = width
        self.encoder = nnx.List(encoder)
        self.middle = nnx.List([block(current, current, True), block(current, current)])

        decoder, joins = [], []
        for level, width in reversed(list(enumerate(widths))):
            attends = size // 2**level in config.attention
            if level < levels - 1:
                decoder.append(block(current, current, resample=_double))
                joins.append(False)
            for i in range(config.blocks + 1):
                decoder.append(block(current + kept.pop(), width, attends and i == config.blocks))
                joins.append(True)
                current = width
        self.decoder, self.joins = nnx.List(decoder), tuple(joins)
        self.last_norm = GroupNorm(current)
        self.last = _convolution(current, channels, rngs, 1e-5)

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        noise: Float[Array, " b"],
        labels: Float[Array, "b l"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b h w c"]:
        """Applies the network.

        Args:
          x: images.
          noise: noise label of each.
          labels: how each was augmented; None says that none was.
          key: draws the dropout; None for none.
        """
        embedding = noise_positions(noise, self.positions)
        if labels is not None and self.embed_labels is not None:
            embedding = embedding + self.embed_labels(labels)
        for layer in self.embed:
            embedding = nnx.silu(layer(embedding))
        places = itertools.count()

        def through(block: Block, h: Array) -> Array:
            place = next(places)
            return block(h, embedding, None if key is None else jax.random.fold_in(key, place))

        kept = [self.first(x)]
        for block in self.encoder:
            kept.append(through(block, kept[-1]))
        h = kept[-1]
        for block in self.middle:
            h = through(block, h)
        for block, joins in zip(self.decoder, self.joins, strict=True):
            h = through(block, jnp.concatenate([h, kept.pop()], axis=3) if joins else h)
        return self.last(nnx.silu(self.last_norm(h)))
