"""Kernel layers of `jaxlib_methods.random_features` beside the dense layers they replace, and a closed-form fit.

    python -m experiments bench scalable_neural_network_kernels    # needs scikit-learn; about 20 s on two cores

A layer of m features costs m (d + l) operations a row against d l, and gains where m < d l / (d + l): 512 here.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlib_methods.nn import Dense
from jaxlib_methods.random_features import (
    FourierKernel,
    ReluKernel,
    cosine_spectrum,
    fit_bundled,
    merge_linear,
    rescale_rows,
    snnk_apply,
    snnk_init,
    tower_init,
)


def cases() -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Each case is (name, ours, peer, sizes)."""
    from sklearn.linear_model import Ridge

    normal = lambda seed, *shape: jax.random.normal(jax.random.key(seed), shape)
    relu, cosine = ReluKernel(), FourierKernel(cosine_spectrum(), "weight")
    rows, d = 4096, 1024
    x, w, b = rescale_rows(normal(0, rows, d), 1.0), normal(1, d, d) / 32, jnp.zeros(d)
    dense = jax.jit(lambda x, w, b: jax.nn.relu(x @ w + b))
    for name, kernel in (("rectified", relu), ("cosine", cosine)):
        for m in (32, 128, 512):
            params, constants = snnk_init(jax.random.key(2), w, b, num_features=m, kernel=kernel)
            layer = jax.jit(lambda p, c, x, kernel=kernel: snnk_apply(p, c, x, kernel=kernel))
            ours = lambda layer=layer, p=params, c=constants: layer(p, c, x)
            sizes = {"rows": rows, "inputs": d, "units": d, "features": m}
            yield f"{name} layer of {m} features, peer: the dense layer", ours, lambda: dense(x, w, b), sizes

    d, hidden, m = 512, 2048, 32
    x, w1, w2 = rescale_rows(normal(0, rows, d), d**0.25), normal(1, d, hidden) / d**0.5, normal(2, hidden, d) / 45
    b1, b2 = jnp.zeros(hidden), jnp.zeros(d)
    params, constants = snnk_init(jax.random.key(2), w1, b1, num_features=m, kernel=relu)
    merged = merge_linear(params, Dense(w2, b2))
    bundled = jax.jit(lambda p, c, x: snnk_apply(p, c, x, kernel=relu))
    unbundled = jax.jit(lambda p, c, x: snnk_apply(p, c, x, kernel=relu) @ w2 + b2)
    block = jax.jit(lambda x: jax.nn.gelu(x @ w1 + b1) @ w2 + b2)
    sizes = {"rows": rows, "width": d, "hidden": hidden, "features": m}
    ours = lambda: bundled(merged, constants, x)
    yield "bundled feed-forward block, peer: not bundled", ours, lambda: unbundled(params, constants, x), sizes
    yield "bundled feed-forward block, peer: dense", ours, lambda: block(x), sizes

    count, m = 1437, 1024
    digits, targets = normal(3, count, 64), normal(4, count, 10)
    tower = tower_init(jax.random.key(5), 64, (m,), kernels=(relu,))
    fit = jax.jit(lambda x, y: fit_bundled(tower, x, y, jnp.float32(1.0), kernels=(relu,)).psi)
    host = [np.asarray(a) for a in (digits, targets, *tower[0])]

    def scikit_learn():
        x, y, g, g0 = host
        z = np.maximum(x @ g.T + g0, 0) / np.sqrt(m)
        return Ridge(1.0, fit_intercept=False, solver="cholesky").fit(z, y).coef_

    sizes = {"rows": count, "inputs": 64, "features": m, "outputs": 10}
    yield "closed-form fit, peer: scikit-learn Ridge", lambda: fit(digits, targets), scikit_learn, sizes
