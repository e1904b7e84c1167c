"""Nodes of joint Gaussians: a product of trapezoidal rules for few inputs, random draws for many.

For functions with poles near the real line, as tanh and its derivatives, the trapezoidal rule converges much faster
than Gauss-Hermite: with q nodes on |u| <= (9 q)^(1/3), truncation and poles at a distance of about 1.4 cost the same.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxlib_methods.infinite_width.dual import safe_sqrt
from jaxlib_methods.numerics.checks import require, require_size

DEGREES = {1: 100, 2: 64, 3: 32, 4: 20}


def joint_rule(
    inputs: int, dtype: jnp.dtype, degree: int | None, key: Key[Array, ""] | None, samples: int
) -> tuple[Float[Array, "q n"], Float[Array, " q"]]:
    """Nodes and weights for N(0, I) in as many dimensions as inputs.

    Raises:
      ValueError: if there are more than four inputs and no key, or a number is out of range.
    """
    if key is not None:
        require_size("samples", samples)
        half = jax.random.normal(key, ((samples + 1) // 2, inputs), dtype)
        nodes = jnp.concatenate([half, -half])
        return nodes, jnp.full(len(nodes), 1 / len(nodes), dtype)
    require(inputs <= 4, "kernel", f"{inputs} inputs and no key", "of at most 4 inputs, or a key given")
    degree = DEGREES[inputs] if degree is None else degree
    require_size("degree", degree, 2, 500)
    x, w = _trapezoid(degree)
    grid = np.stack(np.meshgrid(*[x] * inputs, indexing="ij"), -1).reshape(-1, inputs)
    weights = functools.reduce(np.multiply.outer, [w] * inputs).ravel()
    keep = weights > 1e-20
    return jnp.asarray(grid[keep], dtype), jnp.asarray(weights[keep], dtype)


def root(kernel: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Lower triangular R with R R^T = K, also where K is singular; directions of no variance are 0."""
    n = len(kernel)
    rows = jnp.zeros_like(kernel)
    floor = 8 * jnp.finfo(kernel.dtype).eps
    for j in range(n):
        column = kernel[:, j] - jnp.einsum("ik,k->i", rows, rows[j], precision="highest")
        pivot = safe_sqrt(jnp.where(column[j] > floor * kernel[j, j], column[j], 0))
        column = jnp.where(pivot > 0, column / jnp.where(pivot > 0, pivot, 1), 0)
        rows = rows.at[:, j].set(jnp.where(jnp.arange(n) < j, 0, column))
    return rows


@functools.cache
def _trapezoid(degree: int) -> tuple[np.ndarray, np.ndarray]:
    end = (9 * degree) ** (1 / 3)
    nodes = np.linspace(-end, end, degree)
    weights = np.exp(-(nodes**2) / 2)
    return nodes, weights / weights.sum()
