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
# # Tune small, train wide
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/<org>/jaxlib_methods/blob/main/notebooks/tune_small_train_wide.ipynb)
#
# The best learning rate of a network moves as the network grows. Under the maximal update parametrization (muP) it
# stays: tune a narrow model, and train the wide one with the same rate. Here with a flax model, which is not changed.

# %%
import subprocess
import sys

if "google.colab" in sys.modules:  # adds to Colab's own JAX, which stays as it is
    install = [sys.executable, "-m", "pip", "install", "-q"]
    subprocess.run([*install, "jaxtyping"], check=True)
    subprocess.run([*install, "--no-deps", "git+https://github.com/<org>/jaxlib_methods"], check=True)

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import nnx

from jaxlib_methods.infinite_width import coordinate_check, mup_adam, mup_factors, mup_multiply, mup_rescale_init
from jaxlib_methods.nn import nnx_functional
from jaxlib_methods.runtime import load

images, labels = load("digits").all()
x, y = jnp.asarray(images.reshape(len(images), -1)), jnp.asarray(labels)


class Network(nnx.Module):
    def __init__(self, width, rngs):
        self.first = nnx.Linear(64, width, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)
        self.head = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x):
        first = self.first(x)
        second = self.second(nnx.relu(first))
        output = self.head(nnx.relu(second))
        return output, {"first": first, "second": second, "output": output}


# %% [markdown]
# Four calls make it muP. `mup_factors` compares the shapes of the model with those of a narrow base model, which tells
# widths from other axes. `mup_rescale_init` corrects initial values (and sets the readout to 0), `mup_multiply` applies
# the readout's multiplier, and `mup_adam` is Adam with a rate for each leaf. With base = width all factors are 1: the
# same code is then the standard parametrization.


# %%
def model(width, base):
    shapes = lambda n: nnx_functional(nnx.eval_shape(lambda: Network(n, nnx.Rngs(0))))
    apply, params, rest = shapes(width)
    factors = mup_factors(shapes(base)[1], params)

    def init(key):
        fresh = nnx_functional(Network(width, nnx.Rngs(key)))[1]
        return mup_rescale_init(fresh, factors, zero=["head/*"])

    def loss(params, x, y):
        logits, activations = apply(mup_multiply(params, factors), rest, x)[0]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), activations

    return init, loss, lambda rate: mup_adam(rate, factors)


# %% [markdown]
# First the coordinate check: do activations change as much in a wide model as in a narrow one?


# %%
def setup(width, standard):
    init, loss, optimizer = model(width, width if standard else 64)
    return init, lambda params: loss(params, x[:64], y[:64]), optimizer(2**-7)


for name, standard in (("muP", False), ("standard", True)):
    parametrization = functools.partial(setup, standard=standard)
    report = coordinate_check(jax.random.key(0), parametrization, widths=(64, 512), seeds=8)
    print(name, "passes" if report.passed else f"fails: {report.failures[-1]}")

# %% [markdown]
# Now the loss after 60 steps, at several rates and widths, under both.

# %%
exponents = jnp.arange(-9, -2)


def final_losses(width, base):
    init, loss, optimizer = model(width, base)

    def train(rate):
        params, transform = init(jax.random.key(0)), optimizer(rate)

        def step(carry, key):
            params, state = carry
            rows = jax.random.randint(key, (128,), 0, len(x))
            gradient, _ = jax.grad(loss, has_aux=True)(params, x[rows], y[rows])
            updates, state = transform.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        keys = jax.random.split(jax.random.key(1), 60)
        (params, _), _ = jax.lax.scan(step, (params, transform.init(params)), keys)
        return loss(params, x, y)[0]

    return jax.jit(lambda rates: jax.lax.map(train, rates))(2.0**exponents)


figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
best = {}
for axes, name in zip(panels, ("muP", "standard"), strict=True):
    for width in (32, 512):
        losses = final_losses(width, 32 if name == "muP" else width)
        best[name, width] = int(exponents[jnp.nanargmin(losses)])
        axes.semilogy(exponents, losses, "o-", label=f"width {width}")
    axes.set(title=name, xlabel="learning rate, logarithm to base 2")
panels[0].set_ylabel("loss on digits after 60 steps")
panels[0].legend()
plt.show()

# %%
for (name, width), exponent in best.items():
    print(f"{name:8} width {width:4}: best rate 2^{exponent}")

# %% [markdown]
# So the rate is chosen at width 32, at a small part of the cost, and used at any width.
