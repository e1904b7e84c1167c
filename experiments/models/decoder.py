"""A decoder language model whose attention may be of order 3 in every so many layers.

Pre-normalised blocks x + attention(norm(x)), x + W_2 gelu(W_1 norm(x)) over learned token and position embeddings; the
token embeddings also read out. Trilinear logits lose rotary positions, so that no layer has them.
Roy et al. 2025, "Fast and Simplex", section 6.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlib_methods.attention import KronLayer, KronLayerConfig, kron_layer_apply, kron_layer_init

__all__ = ["Block", "Decoder", "DecoderConfig", "decoder_apply", "decoder_init"]


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes; `every` 0 means order 2 in all layers, 4 means order 3 in layers 4, 8, ..."""

    vocabulary: int = 256
    context: int = 1024
    dim: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 1
    head_dim: int = 64
    every: int = 4
    windows: tuple[int, int] = (512, 32)
    block_q: int = 32

    def attention(self, layer: int) -> KronLayerConfig:
        """The attention of one layer."""
        order_3 = self.every > 0 and (layer + 1) % self.every == 0
        return KronLayerConfig(
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            order=3 if order_3 else 2,
            causal=True,
            windows=self.windows if order_3 else None,
            k_bias=1 / self.head_dim if order_3 else 0.0,
            v_bias=1.0 if order_3 else 0.0,
            normalise=True,
        )


class Block(NamedTuple):
    """One layer's weights."""

    attention_gain: jax.Array
    attention: KronLayer
    gain: jax.Array
    up: jax.Array
    down: jax.Array


class Decoder(NamedTuple):
    """All weights."""

    embedding: jax.Array
    position: jax.Array
    blocks: tuple[Block, ...]
    gain: jax.Array


def decoder_init(key: jax.Array, config: DecoderConfig) -> Decoder:
    """Draws weights N(0, 1 / fan_in), those of maps that write to the residual stream divided by sqrt(2 layers)."""
    dim = config.dim
    embed_key, position_key, *keys = jax.random.split(key, config.layers + 2)
    shrink = (2 * config.layers) ** -0.5
    blocks = []
    for layer, layer_key in enumerate(keys):
        attention_key, up_key, down_key = jax.random.split(layer_key, 3)
        attention = kron_layer_init(attention_key, dim, config.attention(layer))
        up = jax.random.normal(up_key, (dim, 4 * dim)) * dim**-0.5
        down = jax.random.normal(down_key, (4 * dim, dim)) * (4 * dim) ** -0.5 * shrink
        attention = attention._replace(out=shrink * attention.out)
        blocks.append(Block(jnp.ones(dim), attention, jnp.ones(dim), up, down))
    embedding = jax.random.normal(embed_key, (config.vocabulary, dim)) * dim**-0.5
    position = jax.random.normal(position_key, (config.context, dim)) * dim**-0.5
    return Decoder(embedding, position, tuple(blocks), jnp.ones(dim))


def decoder_apply(params: Decoder, tokens: jax.Array, config: DecoderConfig) -> jax.Array:
    """Logits (batch, n, vocabulary) of the next token after each of tokens (batch, n), n up to `context`."""
    x = (params.embedding[tokens] + params.position[None, : tokens.shape[1]]) * config.dim**0.5
    for layer, block in enumerate(params.blocks):
        x = x + kron_layer_apply(
            block.attention,
            _norm(x, block.attention_gain),
            config=config.attention(layer),
            block_q=config.block_q,
        )
        x = x + jax.nn.gelu(_norm(x, block.gain) @ block.up) @ block.down
    return _norm(x, params.gain) @ params.embedding.T


def _norm(x, gain):
    return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * gain[None, None]
