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
# # Teleport a sampler in ten lines
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/<org>/jaxlib_methods/blob/main/notebooks/teleport_a_sampler.ipynb)
#
# At high noise the score of any diffusion model is that of a Gaussian with the mean and covariance of its data, and the
# sampler's path through a Gaussian has a closed form. Moving along it replaces the first steps of the sampler: the same
# images with fewer evaluations of the network.

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

from jaxlib_methods.diffusion import edm_sigmas, heun_plan, mixture_denoise, sample, teleport
from jaxlib_methods.numerics import fit_gaussian, fit_mixture
from jaxlib_methods.runtime import load

# %% [markdown]
# The data are 1797 handwritten digits of 8 x 8 pixels in [-1, 1]. A mixture of ten Gaussians stands in for a trained
# network: its denoiser $D(x, \sigma) = \mathbb{E}[x_0 \mid x]$ is known exactly.

# %%
images = jnp.asarray(load("digits").all()[0].reshape(-1, 64))
mixture = fit_mixture(jax.random.key(0), images, 10, ridge=0.01)


def denoise(x, sigma):
    return mixture_denoise(mixture, x, sigma)


# %% [markdown]
# Here are the ten lines. The grid has 18 Heun steps, 35 evaluations of the denoiser; teleportation moves the noise to
# the seventh noise level and leaves 12 steps.

# %%
gaussian = fit_gaussian(images)
sigmas = edm_sigmas(18)
noise = sigmas[0] * jax.random.normal(jax.random.key(1), (1000, 64))
solve = jax.jit(lambda x, plan: sample(denoise, x, plan))

whole = heun_plan(sigmas)
full = solve(noise, whole)

moved, tail = teleport(gaussian, noise, sigmas, skip=6)
short = heun_plan(tail)
teleported = solve(moved, short)

print(f"{whole.evaluations} evaluations, teleported {short.evaluations}")
print(f"root-mean-square change of a pixel: {jnp.sqrt(jnp.mean((teleported - full) ** 2)):.4f}")

# %% [markdown]
# Image by image the results are the same.

# %%
figure, panels = plt.subplots(2, 12, figsize=(9, 1.9), layout="constrained")
for row, (name, result) in zip(panels, {"35 evaluations": full, "23 evaluations": teleported}.items(), strict=True):
    row[0].set_title(name, loc="left", fontsize=9)
    for axes, image in zip(row, result, strict=False):
        axes.imshow(image.reshape(8, 8), cmap="gray", vmin=-1, vmax=1)
        axes.set_axis_off()
plt.show()

# %% [markdown]
# How far can one go? The change of the samples against the number of skipped steps:

# %%
for skip in (2, 4, 6, 8, 10):
    moved, tail = teleport(gaussian, noise, sigmas, skip=skip)
    change = jnp.sqrt(jnp.mean((solve(moved, heun_plan(tail)) - full) ** 2))
    print(f"{skip:2} steps skipped, {2 * skip} of 35 evaluations saved: change {change:.1e}")
