"""Nodes of joint Gaussians: product rules for few inputs, trapezoidal or split at kinks, and random draws for many.

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
KINKED_DEGREES, RADII = {1: 2, 2: 24, 3: 24, 4: 10}, 20


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
    check_inputs(inputs, degree)
    degree = DEGREES[inputs] if degree is None else degree
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


def check_inputs(inputs: int, degree: int | None) -> None:
    """Whether a product rule can be made.

    Raises:
      ValueError: if there are more than four inputs or the degree is out of range.
    """
    require(inputs <= 4, "kernel", f"{inputs} inputs and no key", "of at most 4 inputs, or a key given")
    if degree is not None:
        require_size("degree", degree, 2, 500)


def kinked_rule(root: Float[Array, "n n"], degree: int | None) -> tuple[Float[Array, "q n"], Float[Array, " q"]]:
    """Nodes u and weights for N(0, I) where functions have kinks at (root u)_a = 0.

    Kinks are planes through 0: along a ray there are none, and angles are split where they are met. Axis by axis, a
    direction d becomes (cos(t) d, sin(t)), -pi / 2 < t < pi / 2, with borders where a later row of the root is met.
    """
    n, dtype = len(root), root.dtype
    x, w = np.polynomial.legendre.leggauss(KINKED_DEGREES[n] if degree is None else degree)
    x = (x + 1) / 2
    x, w = (jnp.asarray(a, dtype)[None, None] for a in (x**2 * (3 - 2 * x), w * x * (1 - x)))  # denser at borders
    directions, weights = jnp.array([[1], [-1]], dtype), jnp.ones(2, dtype)
    for k in range(1, n):
        across, along = jnp.matmul(directions, root[k:, :k].T, precision="highest"), root[k:, k][None]
        met = jnp.where(along > 0, -jnp.arctan(across / jnp.where(along > 0, along, 1)), 0)
        end = jnp.full((len(met), 1), np.pi / 2, dtype)
        borders = jnp.concatenate([-end, jnp.sort(met, 1), end], 1)
        low, length = borders[:, :-1, None], jnp.diff(borders, axis=1)[:, :, None]
        angle = low + length * x
        weights = (weights[:, None, None] * length * w * jnp.cos(angle) ** (k - 1)).ravel()
        turned = jnp.cos(angle)[..., None] * directions[:, None, None]
        directions = jnp.concatenate([turned, jnp.sin(angle)[..., None]], -1).reshape(-1, k + 1)
    radius, rays = (jnp.asarray(a, dtype)[:, None] for a in _radii(n))
    return (radius[..., None] * directions[None]).reshape(-1, n), (rays * (weights / weights.sum())[None]).ravel()


@functools.cache
def _radii(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the length of a Gaussian vector."""
    x, w = np.polynomial.legendre.leggauss(RADII)
    radius = 5 * (x + 1)
    weights = w * radius ** (dimensions - 1) * np.exp(-(radius**2) / 2)
    return radius, weights / weights.sum()


@functools.cache
def _trapezoid(degree: int) -> tuple[np.ndarray, np.ndarray]:
    end = (9 * degree) ** (1 / 3)
    nodes = np.linspace(-end, end, degree)
    weights = np.exp(-(nodes**2) / 2)
    return nodes, weights / weights.sum()
