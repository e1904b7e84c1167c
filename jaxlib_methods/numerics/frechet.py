"""Distances between two sets of feature vectors: Fréchet (Gaussian 2-Wasserstein) and kernel (cubic MMD).

    FD   = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^(1/2) S2 S1^(1/2))^(1/2),
    KD   = mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{ij} k(a_i, b_j),  k(a, b) = (a.b / d + 1)^3.

Dowson and Landau 1982; Heusel et al. 2017, eq. 6; Binkowski et al. 2018, eq. 4. On features of the Inception network
they are known as FID and KID; on any other features they must not be called so.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import require, require_array
from jaxlib_methods.numerics.moments import covariance, moments

__all__ = ["frechet_distance", "frechet_extrapolated", "kernel_distance", "sample_frechet_distance"]


def frechet_distance(
    mean1: Float[Array, " d"],
    covariance1: Float[Array, "d d"],
    mean2: Float[Array, " d"],
    covariance2: Float[Array, "d d"],
) -> Float[Array, ""]:
    """Squared 2-Wasserstein distance of two Gaussians, in squared units of the features.

    Two symmetric eigendecompositions, no matrix square root of a nonsymmetric product; eigenvalues that rounding left
    below zero are taken as zero. In float32 the trace terms cancel to about 1e-7 (tr S1 + tr S2): give float64 inside
    `jax.enable_x64` for small distances. Derivatives are infinite where a covariance is singular.

    Args:
      mean1: mean of the first Gaussian.
      covariance1: its covariance; symmetric.
      mean2: mean of the second Gaussian.
      covariance2: its covariance; symmetric.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match.

    >>> eye = jnp.eye(2)
    >>> round(float(frechet_distance(jnp.zeros(2), eye, jnp.ones(2), 4 * eye)), 4)  # 2 + 2 (2 - 1)^2
    4.0
    """
    require_array("mean1", mean1, (None,))
    dim = mean1.shape[0]
    require_array("mean2", mean2, (dim,))
    require_array("covariance1", covariance1, (dim, dim))
    require_array("covariance2", covariance2, (dim, dim))
    values, vectors = jnp.linalg.eigh(covariance1)
    half = vectors * jnp.sqrt(jnp.maximum(values, 0))[None]
    product = jnp.einsum("di,de,ej->ij", half, covariance2, half, precision="highest")
    cross = jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    return jnp.sum((mean1 - mean2) ** 2) + jnp.trace(covariance1) + jnp.trace(covariance2) - 2 * cross


def sample_frechet_distance(x: Float[Array, "n d"], y: Float[Array, "m d"], *, block: int = 4096) -> Float[Array, ""]:
    """Fréchet distance of the Gaussians with the means and unbiased covariances of two samples.

    Biased upwards by about c/n: compare at equal n, and report the distance between two halves of the real data.

    Args:
      x: first sample, one row a point; at least two.
      y: second sample.
      block: rows summed at once.

    Raises:
      TypeError: if a sample is not floating.
      ValueError: if a sample has fewer than two rows, or the two differ in dimension.

    >>> x = jnp.array([[0.0], [2.0]])
    >>> float(sample_frechet_distance(x, x + 3))
    9.0
    """
    _check_pair(x, y, 2)
    one, two = moments(x, block=block), moments(y, block=block)
    return frechet_distance(one.mean, covariance(one, ddof=1), two.mean, covariance(two, ddof=1))


def frechet_extrapolated(
    x: Float[Array, "n d"], y: Float[Array, "m d"], *, fractions: tuple[float, ...] = (1.0, 0.5, 0.25)
) -> Float[Array, ""]:
    """Fréchet distance at infinite sample size: a line in 1/n through the distances of leading parts of the samples.

    Chong and Forsyth, "Effectively unbiased FID", 2020, section 3.

    Args:
      x: first sample, its rows in random order.
      y: second sample, likewise.
      fractions: leading parts of the smaller sample whose distances are fitted.

    Raises:
      TypeError: if a sample is not floating.
      ValueError: if a sample has fewer than two rows, the two differ in dimension, or there are not two or more
        fractions in (1/n, 1].

    >>> x = jnp.arange(8.0).reshape(8, 1) % 2
    >>> abs(float(frechet_extrapolated(x, x))) < 1e-5
    True
    """
    _check_pair(x, y, 2)
    count = min(x.shape[0], y.shape[0])
    sizes = [round(fraction * count) for fraction in fractions]
    require(
        len(sizes) > 1 and min(sizes) > 1 and max(sizes) <= count, "fractions", fractions, "two or more in (1/n, 1]"
    )
    distances = jnp.stack([sample_frechet_distance(x[:size], y[:size]) for size in sizes])
    inverse = 1 / jnp.asarray(sizes, distances.dtype)
    slope = jnp.sum((inverse - inverse.mean()) * distances) / jnp.sum((inverse - inverse.mean()) ** 2)
    return distances.mean() - slope * inverse.mean()


def kernel_distance(x: Float[Array, "n d"], y: Float[Array, "m d"], *, block: int = 1024) -> Float[Array, ""]:
    """Unbiased squared maximum mean discrepancy under the cubic kernel; about zero, or below, for equal laws.

    Args:
      x: first sample, one row a point; at least two.
      y: second sample.
      block: rows of a kernel matrix held at once.

    Raises:
      TypeError: if a sample is not floating.
      ValueError: if a sample has fewer than two rows, or the two differ in dimension.

    Cost: 2 (n + m)^2 d. Memory: O(block (n + m)).

    >>> x = jnp.array([[0.0], [1.0]])
    >>> float(kernel_distance(x, x))  # unbiased: k(0, 0) = k(0, 1) = 1 and k(1, 1) = 8
    -3.5
    """
    _check_pair(x, y, 2)
    within = lambda a: (
        (_kernel_sum(a, a, block) - jnp.sum(_kernel(jnp.sum(a * a, 1), a.shape[1]))) / (a.shape[0] * (a.shape[0] - 1))
    )
    return within(x) + within(y) - 2 * _kernel_sum(x, y, block) / (x.shape[0] * y.shape[0])


def _kernel(inner: Array, dim: int) -> Array:
    return (inner / dim + 1) ** 3


def _kernel_sum(x: Array, y: Array, block: int) -> Array:
    part = lambda rows: jnp.sum(_kernel(jnp.einsum("nd,md->nm", rows, y, precision="highest"), y.shape[1]))
    return reduce_rows(part, jnp.add, x, block=block)


def _check_pair(x: Array, y: Array, minimum: int) -> None:
    require_array("x", x, (None, None))
    require_array("y", y, (None, x.shape[1]))
    for name, value in (("x", x), ("y", y)):
        require(value.shape[0] >= minimum, name, f"{value.shape[0]} rows", f"a matrix of at least {minimum} rows")
