"""A perceptron, a convolutional network and a transformer in flax, with a width, which also give their activations.

Attention has 4 heads, whose size grows with the width.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxlib_methods.infinite_width import (
    mup_adam,
    mup_attention_scale,
    mup_factors,
    mup_multiply,
    mup_rescale_init,
)
from jaxlib_methods.nn import nnx_functional

HEADS = 4
ZERO = {"transformer": ["head/*", "blocks/*/query/kernel"]}
Taps = dict[str, jax.Array]


class Perceptron(nnx.Module):
    """Two hidden ReLU layers on flat images."""

    def __init__(self, width: int, *, inputs: int = 64, outputs: int = 10, rngs: nnx.Rngs):
        """Draws all weights with variance 1 / fan_in."""
        layer = functools.partial(nnx.Linear, rngs=rngs)
        self.first, self.second, self.head = layer(inputs, width), layer(width, width), layer(width, outputs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, Taps]:
        """Logits, and activations."""
        first = self.first(x)
        second = self.second(nnx.relu(first))
        output = self.head(nnx.relu(second))
        return output, {"first": first, "second": second, "output": output}


class Convolutional(nnx.Module):
    """Three convolutions with stride 2, and the mean over positions."""

    def __init__(self, width: int, *, channels: int = 1, outputs: int = 10, rngs: nnx.Rngs):
        """Draws all weights."""
        layer = functools.partial(nnx.Conv, kernel_init=nnx.initializers.he_normal(), rngs=rngs)
        self.first = layer(channels, width, (3, 3), strides=2)
        self.second = layer(width, 2 * width, (3, 3), strides=2)
        self.third = layer(2 * width, 2 * width, (3, 3), strides=2)
        self.head = nnx.Linear(2 * width, outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, Taps]:
        """Logits, and activations."""
        first = self.first(x)
        second = self.second(nnx.relu(first))
        third = self.third(nnx.relu(second))
        output = self.head(nnx.relu(third).mean((1, 2)))
        return output, {"first": first, "second": second, "third": third, "output": output}


class Transformer(nnx.Module):
    """A causal decoder: pre-normalised blocks of attention and GELU layers."""

    def __init__(self, width: int, *, vocabulary: int, context: int, layers: int, scale: float, rngs: nnx.Rngs):
        """Draws all weights; embeddings have entries of size 1 at every width."""
        embed = functools.partial(nnx.Embed, embedding_init=nnx.initializers.normal(1.0), rngs=rngs)
        self.token, self.position = embed(vocabulary, width), embed(context, width)
        self.blocks = nnx.List(Block(width, scale, rngs=rngs) for _ in range(layers))
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, vocabulary, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> tuple[jax.Array, Taps]:
        """Logits of the next token after each, and activations."""
        h = self.token(tokens) + self.position(jnp.arange(tokens.shape[1]))[None]
        taps = {"embedding": h}
        for i, block in enumerate(self.blocks):
            h, taps[f"logits {i + 1}"], taps[f"attention {i + 1}"] = block(h)
            taps[f"block {i + 1}"] = h
        output = self.head(self.norm(h))
        return output, taps | {"output": output}


class Block(nnx.Module):
    """Attention and a feed-forward part, each on the normalised stream."""

    def __init__(self, width: int, scale: float, *, rngs: nnx.Rngs):
        """Draws the block's weights."""
        size = (HEADS, width // HEADS)
        self.query, self.key, self.value = (nnx.LinearGeneral(width, size, rngs=rngs) for _ in range(3))
        self.out = nnx.LinearGeneral(size, width, axis=(-2, -1), rngs=rngs)
        self.up, self.down = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)
        self.norms = nnx.List(nnx.LayerNorm(width, rngs=rngs) for _ in range(2))
        self.scale = scale

    def __call__(self, h: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The stream after the block, attention logits, and what attention adds."""
        x = self.norms[0](h)
        logits = self.scale * jnp.einsum("bqhd,bkhd->bhqk", self.query(x), self.key(x))
        causal = jnp.tril(jnp.ones(logits.shape[-2:], bool))[None, None]
        weights = jax.nn.softmax(jnp.where(causal, logits, -jnp.inf))
        attended = self.out(jnp.einsum("bhqk,bkhd->bqhd", weights, self.value(x)))
        h = h + attended
        return h + self.down(nnx.gelu(self.up(self.norms[1](h)))), logits, attended


def build(kind: str, width: int, scale_base: int, key, *, vocabulary: int = 17, context: int = 32, layers: int = 2):
    """A network by its kind; the logits of attention are those of muP with this base width."""
    rngs = nnx.Rngs(params=key)
    if kind == "transformer":
        scale = mup_attention_scale(width // HEADS, scale_base // HEADS)
        sizes = dict(vocabulary=vocabulary, context=context, layers=layers)
        return Transformer(width, scale=scale, rngs=rngs, **sizes)
    return {"perceptron": Perceptron, "convolutional": Convolutional}[kind](width, rngs=rngs)


def network(kind: str, width: int, base: int, **sizes) -> tuple[Callable, Callable, Callable]:
    """Init, apply and optimizer of a network of this width, tuned at the base width; standard if both are equal.

    Readouts, and queries of attention, start at 0.

    Returns:
      `init(key) -> params`, `apply(params, x) -> (outputs, activations)`, `optimizer(rate)` of Adam.
    """
    shapes = lambda n: nnx_functional(nnx.eval_shape(lambda: build(kind, n, base, jax.random.key(0), **sizes)))
    (raw, params, rest), narrow = shapes(width), shapes(base)[1]
    factors = mup_factors(narrow, params)
    zero = ZERO.get(kind, ["head/*"])

    def init(key):
        fresh = nnx_functional(build(kind, width, base, key, **sizes))[1]
        return mup_rescale_init(fresh, factors, zero=zero)

    apply = lambda params, x: raw(mup_multiply(params, factors), rest, x)[0]
    return init, apply, lambda rate: mup_adam(rate, factors, b1=0.9, b2=0.99, eps=1e-12)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of integer labels."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
