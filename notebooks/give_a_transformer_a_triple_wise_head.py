# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Give a transformer a triple-wise head in three lines
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/<org>/jaxlib_methods/blob/main/notebooks/give_a_transformer_a_triple_wise_head.ipynb)
#
# Ordinary attention compares a token with one other token at a time. A head of order 3 compares it with two others at
# once. Here both learn Match3: is there a pair of tokens with which this one sums to zero modulo 13?

# %%
import subprocess
import sys

if "google.colab" in sys.modules:  # adds to Colab's own JAX, which stays as it is
    install = [sys.executable, "-m", "pip", "install", "-q"]
    subprocess.run([*install, "jaxtyping"], check=True)
    subprocess.run([*install, "--no-deps", "git+https://github.com/<org>/jaxlib_methods"], check=True)

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from jaxlib_methods.attention import (
    KronLayerConfig,
    kron_layer_apply,
    kron_layer_init,
    match3_features,
    match3_labels,
    match3_layer,
)
from jaxlib_methods.nn import mlp_apply, mlp_init

# %% [markdown]
# A block is attention and a perceptron. The attention is three lines: a configuration, its weights, its application.
# Only `order` tells the two models apart.


# %%
def model(order):
    config = KronLayerConfig(heads=1, kv_heads=1, head_dim=8, order=order, scale=1.0, null=True)

    def init(key):
        attention_key, mlp_key = jax.random.split(key)
        return kron_layer_init(attention_key, 3, config), mlp_init(mlp_key, (6, 32, 32, 1))

    def apply(params, tokens):
        x = match3_features(tokens, 13)
        y = kron_layer_apply(params[0], x, config=config, impl="reference")  # four tokens: hold all logits
        rows = jnp.concatenate([x, y], -1).reshape(-1, 6)
        return mlp_apply(params[1], rows, activation=jax.nn.relu).reshape(tokens.shape)

    return init, apply


# %% [markdown]
# Training: fresh sequences of four random residues at every step.


# %%
def draw(key, count):
    return jax.random.randint(key, (count, 4), 0, 13)


def train(order, steps=2000):
    init, apply = model(order)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))

    def loss(params, tokens):
        return optax.sigmoid_binary_cross_entropy(apply(params, tokens), match3_labels(tokens, 13)).mean()

    def step(carry, key):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, draw(key, 128))
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    params = init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), steps)
    (params, _), losses = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))((params, optimizer.init(params)))
    tokens = draw(jax.random.key(2), 4000)
    accuracy = jnp.mean((apply(params, tokens) > 0) == (match3_labels(tokens, 13) > 0))
    return losses, float(accuracy)


results = {order: train(order) for order in (2, 3)}

# %%
for order, (losses, accuracy) in results.items():
    plt.semilogy(losses.reshape(-1, 50).mean(1), label=f"order {order}: accuracy {accuracy:.3f}")
plt.xlabel("50 training steps")
plt.ylabel("cross-entropy")
plt.legend()
# %% [markdown]
# No training is needed, in fact: a head of width 5 solves it by construction, for any modulus and any length.

# %%
layer, config = match3_layer(13, length=4)
tokens = draw(jax.random.key(3), 5)
print(jnp.round(kron_layer_apply(layer, match3_features(tokens, 13), config=config)[..., 0], 2))
print(match3_labels(tokens, 13))
