"""Kernels, targets and the relative errors of kernel ridge regression, with their intervals and curves."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import t as student

from jaxlib_methods.attention import (
    key_power,
    query_key_power,
    query_key_product,
    rfa_gram,
    rfa_init,
    rfa_kernel,
    rfmlp_features,
    rfmlp_init,
    rfmlp_kernel,
    sample_sphere_tokens,
)
from jaxlib_methods.numerics import gram, kernel_ridge_path, predict_path

KERNELS = ("RFA", "BRFA 2", "BRFA 4", "RFMLP")


TARGETS = {
    "f1,2": "⟨β, x⟩²",
    "f1,3": "⟨β, x⟩³",
    "f1,4": "⟨β, x⟩⁴",
    "f2,1": "⟨q, x⟩",
    "f2,2": "⟨q, x⟩²",
    "f2,4": "⟨q, x⟩⁴",
    "f3": "⟨q, x⟩⟨β, x⟩",
}


def targets_of(x, beta):
    """The targets (n, target), standardised."""
    values = [key_power(x, beta, p) for p in (2, 3, 4)] + [query_key_power(x, q) for q in (1, 2, 4)]
    y = jnp.stack([*values, query_key_product(x, beta)], 1)
    return (y - y.mean(0, keepdims=True)) / y.std(0, keepdims=True)


def exact_kernel(name: str) -> Callable:
    """Of infinitely many heads or units."""
    return rfmlp_kernel if name == "RFMLP" else functools.partial(rfa_kernel, alpha=alpha_of(name))


def alpha_of(name: str) -> float:
    return float(name.partition(" ")[2] or 0)


def kernel_matrix(name: str, key, x, heads: int | None, mesh):
    """Kernel matrix of all samples: exact, or of finitely many heads and as many parameters in the baseline."""
    count, dim = x.shape[1] - 1, x.shape[2] - 1
    if heads is None:
        return gram(exact_kernel(name), x, block=64, mesh=mesh)
    if name == "RFMLP":
        return mlp_matrix(rfmlp_init(key, count, dim, heads * (dim + 1), dtype=x.dtype), x, mesh)
    drawn = rfa_init(key, dim, heads, alpha=alpha_of(name), dtype=x.dtype)
    return rfa_gram(drawn, x, block=16, mesh=mesh, head_axis=model_axis(mesh))


def mlp_matrix(weights, x, mesh=None):
    features = functools.partial(rfmlp_features, weights)
    return gram(lambda a, b: features(a) @ features(b).T, x, block=1024, mesh=mesh)


def model_axis(mesh) -> str | None:
    return "model" if mesh is not None and "model" in mesh.axis_names else None


@functools.partial(jax.jit, static_argnames=("n", "subsets", "validation", "tests"))
def relative_errors(matrix, y, ridges, *, n: int, subsets: int, validation: int, tests: int):
    """Test error of each target at its best ridge, averaged over disjoint training sets of n samples.

    The last samples are test points, those before them choose the ridge; the test points do it where there are none.
    """
    pool = len(y) - tests - validation
    square_error = lambda predictions, y: jnp.mean((predictions - y[None]) ** 2, 1) / jnp.mean(y**2, 0)[None]

    def one(start):
        take = lambda a, axis=0: jax.lax.dynamic_slice_in_dim(a, start, n, axis)
        rows = take(matrix)
        inner = take(rows, 1)
        path = kernel_ridge_path(inner, take(y), ridges * jnp.trace(inner) / n)
        predictions = predict_path(rows[:, pool:].T, path.coefficients)
        errors = square_error(predictions[:, validation:], y[pool + validation :])
        if not validation:
            return errors.min(0)
        best = square_error(predictions[:, :validation], y[pool : pool + validation]).argmin(0)
        return jnp.take_along_axis(errors, best[None], 0)[0]

    return jax.lax.map(one, n * jnp.arange(min(subsets, pool // n))).mean(0)


def samples(key, seed: int, count: int, keys: int, dim: int):
    """Tokens, targets, and a key for heads."""
    sample_key, head_key = jax.random.split(jax.random.fold_in(key, seed))
    x = sample_sphere_tokens(sample_key, count, keys, dim, dtype=jnp.float64)
    return x, targets_of(x, jnp.eye(dim)[0]), head_key


def interval(values: np.ndarray) -> np.ndarray:
    """Half width of Student's 95 % interval of the mean over the last axis."""
    count = values.shape[-1]
    return student.ppf(0.975, count - 1) * values.std(-1, ddof=1) / np.sqrt(count)


def lower_end(values: np.ndarray) -> float:
    return float(values.mean() - interval(values))


def curve(ax, x, values, **style):
    """Means over the last axis with 95 % intervals."""
    ax.errorbar(x, values.mean(-1), interval(values), marker="o", capsize=2, **style)


def points(ax, x, values, **style):
    """Means over the last axis, and a point for each of the few seeds."""
    ax.plot(x, values.mean(-1), **style)
    ax.plot(x, values, marker=".", ls="", color=style["color"], alpha=0.5)
