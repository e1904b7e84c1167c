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
# # Use your own model
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/<org>/jaxlib_methods/blob/main/notebooks/use_your_own_model.ipynb)
#
# The library takes functions of a pytree of parameters, `network(params, x, ...)`, and never looks inside. Here one
# training step, one sampler and one teleportation serve three networks: a flax module, an equinox module, and a plain
# function.

# %%
import subprocess
import sys

if "google.colab" in sys.modules:  # adds to Colab's own JAX, which stays as it is
    install = [sys.executable, "-m", "pip", "install", "-q"]
    subprocess.run([*install, "jaxtyping", "equinox"], check=True)
    subprocess.run([*install, "--no-deps", "git+https://github.com/<org>/jaxlib_methods"], check=True)

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import nnx

from jaxlib_methods.diffusion import edm_denoiser, edm_loss, edm_sigmas, heun_plan, sample, teleport
from jaxlib_methods.nn import mlp_apply, mlp_init, nnx_functional, sinusoidal_features
from jaxlib_methods.numerics import fit_gaussian
from jaxlib_methods.runtime import load

images = jnp.asarray(load("digits").all()[0].reshape(-1, 64))
keys = jax.random.split(jax.random.key(0), 3)

# %% [markdown]
# Each network maps noisy digits and a label of their noise level to digits: 64 + 16 numbers in, 64 out.


# %%
def inputs(x, noise):
    return jnp.concatenate([x, sinusoidal_features(noise, 16)], axis=1)


# %% [markdown]
# **A plain function** with its parameters in any pytree. It is what the library takes, as it is.

# %%
plain_params = mlp_init(keys[0], (80, 128, 128, 64))


def plain(params, x, noise):
    return mlp_apply(params, inputs(x, noise))


# %% [markdown]
# **An equinox module** is a pytree itself. `eqx.partition` takes out what is not an array.

# %%
module = eqx.nn.MLP(80, 64, 128, 2, activation=jax.nn.silu, key=keys[1])
equinox_params, static = eqx.partition(module, eqx.is_array)


def equinox(params, x, noise):
    return jax.vmap(eqx.combine(params, static))(inputs(x, noise))


# %% [markdown]
# **A flax module** is split by `nnx_functional` into a pure function, its parameters, and the rest of its state (batch
# statistics, dropout counters), which is empty here.


# %%
class Network(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(80, 128, rngs=rngs)
        self.second = nnx.Linear(128, 128, rngs=rngs)
        self.last = nnx.Linear(128, 64, rngs=rngs)

    def __call__(self, x, noise):
        return self.last(nnx.silu(self.second(nnx.silu(self.first(inputs(x, noise))))))


apply, flax_params, rest = nnx_functional(Network(nnx.Rngs(2)))


def flax(params, x, noise):
    return apply(params, rest, x, noise)[0]


# %% [markdown]
# From here on nothing knows which is which. `edm_denoiser` wraps the raw network, `edm_loss` trains it, `sample` draws
# from it, and `teleport` saves it twelve of 35 evaluations.


# %%
def train(network, params, steps=500):
    denoise, optimizer = edm_denoiser(network), optax.adam(2e-3)

    def step(state, key):
        params, moments = state
        rows_key, loss_key = jax.random.split(key)
        batch = images[jax.random.randint(rows_key, (128,), 0, len(images))]
        loss, gradient = jax.value_and_grad(lambda p: edm_loss(loss_key, denoise, p, batch))(params)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), loss

    start = params, optimizer.init(params)
    (params, _), losses = jax.jit(lambda s, keys: jax.lax.scan(step, s, keys))(start, jax.random.split(keys[2], steps))
    return params, losses


def draw(network, params, skip):
    denoise = edm_denoiser(network)
    sigmas = edm_sigmas(18)
    noise = sigmas[0] * jax.random.normal(jax.random.key(3), (256, 64))
    moved, tail = teleport(fit_gaussian(images), noise, sigmas, skip)
    return jax.jit(lambda p, x, plan: sample(lambda y, sigma: denoise(p, y, sigma), x, plan))(
        params, moved, heun_plan(tail)
    )


samples = {}
for name, network, params in [
    ("plain function", plain, plain_params),
    ("equinox", equinox, equinox_params),
    ("flax", flax, flax_params),
]:
    params, losses = train(network, params)
    samples[name] = draw(network, params, skip=6)
    change = jnp.sqrt(jnp.mean((samples[name] - draw(network, params, skip=0)) ** 2))
    print(f"{name:15} loss {losses[:50].mean():.1f} -> {losses[-50:].mean():.1f}, change by teleportation {change:.3f}")

# %%
figure, panels = plt.subplots(3, 12, figsize=(9, 2.8), layout="constrained")
for row, (name, result) in zip(panels, samples.items(), strict=True):
    row[0].set_title(name, loc="left", fontsize=9)
    for axes, image in zip(row, result, strict=False):
        axes.imshow(image.reshape(8, 8), cmap="gray", vmin=-1, vmax=1)
        axes.set_axis_off()
plt.show()
