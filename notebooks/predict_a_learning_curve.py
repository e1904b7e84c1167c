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
# # Predict a learning curve of your own kernel before training it
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/<org>/jaxlib_methods/blob/main/notebooks/predict_a_learning_curve.ipynb)
#
# The eigenvalues of a kernel, and how much of the target lies along each of its eigenvectors, are enough to predict the
# test error of kernel regression at every number of samples and every ridge, and of random features at every width.

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
import numpy as np

from jaxlib_methods.generalization import (
    empirical_eigenstructure,
    krr_errors,
    krr_learning_curve,
    optimal_ridge,
    pool_corrected,
)
from jaxlib_methods.numerics import arc_cosine_kernel
from jaxlib_methods.runtime import load

jax.config.update("jax_enable_x64", True)  # ridgeless regression needs double precision

# %% [markdown]
# The pool is 1437 handwritten digits. **Put your own kernel here**: any function of two blocks of rows. This one is
# what an infinitely wide ReLU layer sees.

# %%
digits = load("digits")
x = jnp.asarray(digits.train_x.reshape(-1, 64), float)
x = (x - x.mean()) / x.std()
y = jax.nn.one_hot(digits.train_y, 10, dtype=float)


def kernel(a, b):
    return arc_cosine_kernel(a, b)


gram = jax.jit(kernel)(x, x)
eigen = jax.jit(empirical_eigenstructure)(gram, y)

# %% [markdown]
# The prediction: no training, one call for the whole grid. The theory tests on the pool itself, so the error is
# corrected to the images that are not trained on.

# %%
pool = len(x)
sizes = np.array([20, 40, 80, 160, 320, 640])
ridges = np.array([1e-4, 0.1, 1.0])
test, train = krr_errors(eigen, sizes[None], ridges[:, None])
predicted = pool_corrected(test, train, sizes[None], pool)
best_ridge, best = jax.jit(optimal_ridge)(eigen, sizes, jnp.inf)
print("best ridge at each size:", best_ridge.round(3).tolist())

# %% [markdown]
# Only now is anything trained: five random orders of 640 images, every smaller training set and every ridge among them.


# %%
@jax.jit
def measure(key, ridge):
    rows = jax.random.permutation(key, pool)
    inside, outside = rows[: sizes[-1]], rows[sizes[-1] :]
    parts = gram[inside][:, inside], gram[inside][:, outside].T, y[inside], y[outside]
    return krr_learning_curve(*parts, ridge, sizes=tuple(sizes.tolist()))[1]


keys = jax.random.split(jax.random.key(0), 5)
measured = np.array([[measure(key, ridge) for key in keys] for ridge in ridges])  # ridge, trial, size

# %%
figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for i, ridge in enumerate(ridges):
    axes.plot(sizes, predicted[i], color=f"C{i}", label=f"predicted, ridge {ridge:g}")
    axes.errorbar(sizes, measured[i].mean(0), measured[i].std(0), fmt="o", color=f"C{i}", capsize=2)
axes.set(xscale="log", yscale="log", xlabel="training images", ylabel="squared test error", title="dots: trained")
axes.set_xticks(sizes, sizes)
axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
axes.legend()
plt.show()

# %%
ratio = measured.mean(1) / np.asarray(predicted)
print(f"measured over predicted: {ratio.min():.2f} to {ratio.max():.2f}")
