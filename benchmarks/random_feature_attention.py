"""Random-feature attention of `jaxlib_methods.attention`: closed form, blocks of heads, and equal parameters elsewhere.

    python -m experiments bench random_feature_attention    # needs scikit-learn; about 30 s on two cores

The closed form of the kernel stands beside 40,000 random heads, which come within 1 % of it; a fit on 100,000 features
that are made in blocks beside the same with stored features; and a layer beside scikit-learn's Gaussian random features
with as many parameters, both fitted by ridge regression from the inputs on.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.bench_case import Case
from jaxlib_methods.attention import (
    RandomHeads,
    key_power,
    rfa_features,
    rfa_fit,
    rfa_gram,
    rfa_init,
    rfa_kernel,
    sample_sphere_tokens,
)
from jaxlib_methods.numerics import gram, psd_solve

REG = 1e-4


def kernel_case(sets: int, keys: int, dim: int, heads: int, alpha: float):
    x = sample_sphere_tokens(jax.random.key(0), sets, keys, dim)
    exact = jax.jit(lambda x: gram(functools.partial(rfa_kernel, alpha=alpha), x, block=64))
    drawn = rfa_init(jax.random.key(1), dim, heads, alpha=alpha)
    estimate = jax.jit(lambda weights, x: rfa_gram(RandomHeads(weights), x, block=64))
    return lambda: exact(x), lambda: estimate(drawn.key, x)


def blocks_case(samples: int, keys: int, dim: int, heads: int):
    x, drawn = sample_sphere_tokens(jax.random.key(0), samples, keys, dim), rfa_init(jax.random.key(1), dim, heads)
    y = key_power(x, jnp.eye(dim)[0], 2)
    blocks = jax.jit(lambda weights, x, y: rfa_fit(RandomHeads(weights), x, y, REG, block=64))

    def stored(weights, x, y):
        f = rfa_features(RandomHeads(weights), x).reshape(len(x), -1)
        matrix = jnp.einsum("nk,mk->nm", f, f, precision="highest")
        dual = psd_solve(matrix, y, REG * jnp.trace(matrix) / len(x))
        return jnp.einsum("nk,n->k", f, dual, precision="highest")

    stored = jax.jit(stored)
    return lambda: blocks(drawn.key, x, y), lambda: stored(drawn.key, x, y)


def scikit_case(samples: int, keys: int, dim: int, heads: int):
    from sklearn.kernel_approximation import RBFSampler
    from sklearn.linear_model import Ridge

    x, drawn = sample_sphere_tokens(jax.random.key(0), samples, keys, dim), rfa_init(jax.random.key(1), dim, heads)
    y = key_power(x, jnp.eye(dim)[0], 2)
    fit = jax.jit(lambda weights, x, y: rfa_fit(RandomHeads(weights), x, y, REG, method="primal", block=256))
    flat, targets = np.asarray(x[..., :-1]).reshape(samples, -1), np.asarray(y)

    def scikit_learn():
        features = RBFSampler(gamma=0.5 / keys, n_components=heads * (dim + 1), random_state=0).fit_transform(flat)
        ridge = REG * (features**2).sum(1).mean()
        return Ridge(ridge, fit_intercept=False, solver="cholesky").fit(features, targets).coef_

    return lambda: fit(drawn.key, x, y), scikit_learn


def cases() -> Iterator[Case]:
    sets = {"sets": 256, "keys": 4, "dim": 8, "heads": 40_000}
    for name, alpha in (("zero-mean", 0.0), ("biased", 4.0)):
        yield Case(
            f"{name} kernel in closed form", functools.partial(kernel_case, alpha=alpha), sets, peer="Monte Carlo"
        )
    sizes = [{"samples": 512, "keys": 4, "dim": 8, "heads": heads} for heads in (2778, 5556, 11_112)]
    yield Case("fit in blocks of heads", blocks_case, sizes, peer="stored features", theory=1.0)
    sizes = {"samples": 4096, "keys": 4, "dim": 8, "heads": 128}
    yield Case("fit of equal parameters", scikit_case, sizes, peer="scikit-learn RBFSampler and Ridge")
