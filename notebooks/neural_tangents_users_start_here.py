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
# # neural-tangents users start here
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/<org>/jaxlib_methods/blob/main/notebooks/neural_tangents_users_start_here.ipynb)
#
# Infinitely wide networks on current JAX. What you called then, and what it is called here:
#
# | neural-tangents | `jaxlib_methods.infinite_width` |
# |---|---|
# | `stax.serial`, `stax.repeat(layer, n)` | `serial`, `serial(*[layer] * n)` |
# | `stax.parallel`, `FanInSum`, `FanInConcat`, `FanInProd` | `parallel(combine="sum")`, `"concat"`, `"product"` |
# | `FanOut(2)`, `parallel(main, Identity())`, `FanInSum()` | `residual(main)` |
# | `stax.Dense(512, W_std, b_std)` | `dense(512, weight_std=..., bias_std=...)` |
# | `stax.Conv`, `ConvLocal`, `ConvTranspose` | `conv`, `local_conv`, `conv_transpose` |
# | `stax.AvgPool`, `SumPool`, `Flatten` | `avg_pool`, `sum_pool`, `flatten` |
# | `stax.GlobalAvgPool`, `GlobalSumPool` | `global_avg_pool`, `global_sum_pool` |
# | `stax.LayerNorm`, `Dropout`, `Identity` | `layer_norm`, `dropout`, `identity` |
# | `stax.GlobalSelfAttention(...)` | `self_attention(width, heads, head_width)` |
# | `attention_mechanism="SOFTMAX"`, `"IDENTITY"`, `"RELU"` | `weights=jax.nn.softmax`, `None`, `jax.nn.relu` |
# | `linear_scaling=False` | `scaling="root"`, with a kernel for `weights=None` |
# | `pos_emb_type="SUM"`, `"CONCAT"` | `parallel(identity(), positional_embedding(), combine="sum")`, `"concat"` |
# | `val_pos_emb=False` | `self_attention(..., keys=residual(positional_embedding()))` |
# | `stax.ImageResize((-1, 8, 8, -1), "linear")` | `image_resize((8, 8), "linear")`, also `"cubic"` |
# | `stax.Index(stax.Slice[:, 1:-1, 0])` | `select(slice(1, -1), 0)` |
# | `stax.Aggregate`, `pattern=(A1, A2)` | `aggregate()`, `side1=Side(graph=A1)`, ...; $A_{ij}$ is from $j$ to $i$ |
# | `stax.DotGeneral` along positions | `map_positions(matrix)` |
# | `mask_constant=c` | `side1=Side(mask=jnp.all(x1 != c, -1))`, and `network.apply(params, x, side=...)` |
# | `stax.Relu`, `Erf`, `Gelu`, `Sin`, `Rbf`, ... | `activation("relu")`, `"erf"`, `"gelu"`, `"sin"`, `"rbf"`, ... |
# | `stax.Sigmoid_like`, `Gabor` | `activation("sigmoid_erf")`, `"sine_gaussian"` |
# | `stax.LeakyRelu`, `ABRelu`, `Abs` | `activation(rectifier_dual(a, b))`, `activation("abs")` |
# | `stax.Monomial`, `Polynomial`, `Hermite` | `polynomial_dual`, `hermite_dual`, inside `activation` |
# | `stax.RectifiedMonomial`, `ExpNormalized` | `rectified_monomial_dual`, `normalized_exponential_dual` |
# | `stax.ElementwiseNumerical(f, deg)` | `activation(f)`, or `activation(quadrature_dual(f, degree=deg))` |
# | `stax.ElementwiseNonlinearity(fn, ...)` | `DualActivation` |
# | `parameterization="standard"` | `parametrization="standard"` |
# | `init_fn(key, (-1, 784))` gives `(shape, params)` | `network.init(key, (784,))` gives `(params, shape)` |
# | `kernel_fn(x1, x2, "ntk")` | `network_kernel(network, x1, x2, get="ntk")` |
# | `nt.batch(kernel_fn, ...)` | `network_gram(network, x1, x2, mesh=...)`: any sizes, half the work if symmetric |
# | `nt.empirical_ntk_fn(f, trace_axes=())` | `empirical_ntk(f, params, x1, x2, outputs="full")` |
# | `nt.empirical_ntk_fn(f)` | `empirical_ntk(f, params, x1, x2)`, the mean over outputs |
# | `NtkImplementation.AUTO` | `method="auto"`, by operations; `ntk_costs` shows them |
# | `nt.empirical_ntk_vp_fn` | `ntk_product` |
# | `nt.monte_carlo_kernel_fn` | `kernel_from_samples`, with standard errors |
# | `nt.linearize`, `nt.taylor_expand` | `linearize`, `taylor_expand` |
# | `predict.gradient_descent_mse` | `mse_dynamics`, `mse_predict` |
# | `predict.gradient_descent_mse_ensemble` | `ntk_posterior` |
# | `predict.gradient_descent` | `function_flow`, any loss, with momentum |
# | `predict.gp_inference` | `gp_posterior` |
# | `predict.max_learning_rate` | `max_learning_rate` |
#
# A `DualActivation` is the pair of a function and the map of variances and covariance that you used to write yourself.
# With a mask, means are over the positions that are present, those of `avg_pool` too, and a pool's output is present if
# anything in its window is. Images resized to other than squares behind a convolution have another kernel here,
# which sums over all pairs of pixels confirm.

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

from jaxlib_methods.infinite_width import (
    activation,
    conv,
    dense,
    empirical_ntk,
    flatten,
    global_avg_pool,
    gp_posterior,
    network_gram,
    network_kernel,
    ntk_costs,
    ntk_posterior,
    serial,
)
from jaxlib_methods.runtime import load

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# One description serves the finite network and its kernel.

# %%
std = dict(weight_std=2**0.5, bias_std=0.1)


def network(width):
    return serial(
        conv(width, (3, 3), padding="SAME", **std),
        activation("relu"),
        conv(width, (3, 3), padding="SAME", **std),
        activation("relu"),
        flatten(),
        dense(10, **std),
    )


digits = load("digits")
scale = lambda x: jnp.asarray(x, float) / np.std(digits.train_x)
x, x_test = scale(digits.train_x[:150]), scale(digits.test_x[:75])
y = jax.nn.one_hot(digits.train_y[:150], 10, dtype=float) - 0.1
network(16).init(jax.random.key(0), (8, 8, 1))[1]

# %% [markdown]
# Kernels, in tiles. Of a symmetric matrix half is computed; `mesh=` splits it over devices.

# %%
gram = jax.jit(lambda a, b: network_gram(network(1), a, b, get="both"))
train, test = gram(x, None), gram(x_test, x)
between = jax.jit(lambda a: network_gram(network(1), a, get="nngp"))(x_test)
print("NTK of the first two digits:", np.array(train.ntk[:2, :2]).round(3).tolist())

# %% [markdown]
# What an ensemble of such networks predicts after some steps of gradient descent, and after infinitely many: mean and
# variance, without training one. The Bayesian posterior stands beside it.

# %%
steps = np.array([0, 1, 10, 100, 1000, 10_000, 100_000])
ensemble = jax.jit(lambda t: ntk_posterior(train, test, between, y, t, learning_rate=1.0, ridge=1e-6))
accuracy = lambda posterior: round(np.mean(np.argmax(posterior.mean, 1) == digits.test_y[:75]).item(), 3)
spread = lambda posterior: float(np.sqrt(np.mean(np.diagonal(posterior.covariance))))
curve = [ensemble(float(t)) for t in steps]
bayes = gp_posterior(train.nngp, test.nngp, between, y, ridge=1e-6)
print("accuracy by steps:", dict(zip(steps.tolist(), map(accuracy, curve), strict=True)), "Bayes:", accuracy(bayes))

# %% [markdown]
# The NTK of finite networks comes to the kernel. `method="auto"` takes the cheapest of three, by counting operations.


# %%
def error(width, key):
    finite = network(width)
    params = finite.init(key, (8, 8, 1), float)[0]
    theta = empirical_ntk(finite.apply, params, x[:8])
    return jnp.sqrt(jnp.mean((theta - train.ntk[:8, :8]) ** 2) / jnp.mean(train.ntk[:8, :8] ** 2))


widths = np.array([8, 24, 72])
errors = [
    np.mean([jax.jit(error, static_argnums=0)(int(n), key) for key in jax.random.split(jax.random.key(1), 4)])
    for n in widths
]
params = network(32).init(jax.random.key(0), (8, 8, 1), float)[0]
print({name: f"{cost:.1e}" for name, cost in ntk_costs(network(32).apply, params, x[:8]).items()})

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
left.plot(1 + steps, [accuracy(posterior) for posterior in curve], "o-", label="accuracy")
left.plot(1 + steps, [spread(posterior) for posterior in curve], "s-", label="standard deviation of an output")
left.set(xscale="log", xlabel="1 + steps of gradient descent", title="ensemble of infinitely wide networks")
left.legend()
right.loglog(widths, errors, "o", label="measured")
right.loglog(widths, errors[-1] * (widths / widths[-1]) ** -0.5, "--", label="slope -1/2")
right.set(xlabel="channels", title="relative error of the empirical NTK")
right.set_xticks(widths, map(str, widths))
right.set_xticks([], minor=True)
right.legend()
plt.show()

# %% [markdown]
# A layer whose kernel would be silently wrong is refused; pools get the covariances of all pairs of positions by
# themselves.

# %%
pooled = serial(conv(1, (3, 3), **std), activation(jnp.tanh), global_avg_pool(), dense(1))
print("pooled tanh network:", np.array(network_kernel(pooled, x[:2])).round(4).tolist())
try:
    network_kernel(serial(activation("relu"), dense(1)), x[:2, 0, :, 0])
except ValueError as refusal:
    print(refusal)
