"""Gaussians whose covariance is low rank plus isotropic, and every function of that covariance.

    Sigma = U diag(lam) U^T + v (I - U U^T),    f(Sigma) u = U (f(lam) * U^T u) + f(v) (u - U U^T u).

Rank d is the general Gaussian, rank 0 the isotropic one, v = 0 the low-rank one. Densities, scores, denoisers and
whole diffusion trajectories are all such spectral functions, so none of them forms a d x d matrix.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.numerics.checks import require, require_array, require_nonnegative, require_size

__all__ = [
    "Gaussian",
    "gaussian_covariance",
    "gaussian_from_covariance",
    "gaussian_log_density",
    "gaussian_sample",
    "isotropic_gaussian",
    "spectral_map",
]


class Gaussian(NamedTuple):
    """A Gaussian in `d` dimensions; `r` principal directions and one variance for all the others."""

    mean: Float[Array, " d"]
    basis: Float[Array, "d r"]
    variances: Float[Array, " r"]
    remainder: Float[Array, ""]


def gaussian_from_covariance(
    mean: Float[Array, " d"], covariance: Float[Array, "d d"], *, rank: int | None = None, remainder: bool = False
) -> Gaussian:
    """Keeps the `rank` leading principal directions of a covariance matrix.

    Args:
      mean: mean vector.
      covariance: symmetric; eigenvalues that rounding left below zero are set to zero.
      rank: number of directions kept, 0 to d; all if None.
      remainder: give the dropped directions their average variance (tr Sigma - sum lam) / (d - r) instead of zero.

    Raises:
      ValueError: if shapes do not match or the rank is not in [0, d].

    Cost: one symmetric eigendecomposition, O(d^3).

    >>> g = gaussian_from_covariance(jnp.zeros(3), jnp.diag(jnp.array([1.0, 5.0, 3.0])), rank=1, remainder=True)
    >>> g.variances.tolist(), float(g.remainder)
    ([5.0], 2.0)
    """
    require_array("mean", mean, (None,))
    dim = mean.shape[0]
    require_array("covariance", covariance, (dim, dim))
    rank = dim if rank is None else rank
    require_size("rank", rank, 0, dim)
    variances, basis = jnp.linalg.eigh(covariance)
    variances, basis = jnp.maximum(variances[::-1], 0), basis[:, ::-1]
    rest = variances[rank:].mean() if remainder and rank < dim else jnp.zeros((), mean.dtype)
    return Gaussian(mean, basis[:, :rank], variances[:rank], rest)


def isotropic_gaussian(gaussian: Gaussian, *, pooled: bool = True) -> Gaussian:
    """The same mean with no directions: covariance (tr Sigma / d) I if pooled, else zero (the mean alone).

    >>> g = gaussian_from_covariance(jnp.zeros(2), jnp.diag(jnp.array([1.0, 3.0])))
    >>> float(isotropic_gaussian(g).remainder), float(isotropic_gaussian(g, pooled=False).remainder)
    (2.0, 0.0)
    """
    dim, rank = gaussian.basis.shape[-2:]
    trace = gaussian.variances.sum(-1) + (dim - rank) * gaussian.remainder
    remainder = trace / dim if pooled else jnp.zeros_like(trace)
    return Gaussian(gaussian.mean, gaussian.basis[..., :0], gaussian.variances[..., :0], remainder)


def spectral_map(gaussian: Gaussian, u: Float[Array, "b d"], function: Callable[[Array], Array]) -> Float[Array, "b d"]:
    """f(Sigma) u for each row of `u`, `f` acting on variances: two (b, d) x (d, r) products.

    Args:
      gaussian: its mean plays no part.
      u: rows.
      function: maps variances (1, m) to factors (1, m) or (b, m).

    Raises:
      TypeError: if `u` is not floating.
      ValueError: if its rows are not of the Gaussian's dimension.

    >>> g = gaussian_from_covariance(jnp.zeros(2), jnp.diag(jnp.array([4.0, 9.0])))
    >>> spectral_map(g, jnp.ones((1, 2)), jnp.sqrt).tolist()
    [[2.0, 3.0]]
    """
    require_array("u", u, (None, gaussian.mean.shape[0]))
    return _spectral_map(gaussian, u, function)


def _spectral_map(gaussian: Gaussian, u: Array, function: Callable[[Array], Array]) -> Array:
    along, off = _split(gaussian, u)
    image = _span(gaussian, function(gaussian.variances[None]) * along)
    return image if off is None else image + function(gaussian.remainder[None, None]) * off


def _split(gaussian: Gaussian, u: Array) -> tuple[Array, Array | None]:
    """Coordinates along the basis, and what is left off it; None where the basis is complete."""
    dim, rank = gaussian.basis.shape
    along = jnp.einsum("bd,dr->br", u, gaussian.basis, precision="highest")
    return along, None if rank == dim else u - _span(gaussian, along)


def _span(gaussian: Gaussian, coordinates: Array) -> Array:
    return jnp.einsum("br,dr->bd", coordinates, gaussian.basis, precision="highest")


def gaussian_log_density(
    gaussian: Gaussian, x: Float[Array, "b d"], *, noise: Float[ArrayLike, ""] | Float[ArrayLike, " b"] = 0.0
) -> Float[Array, " b"]:
    """log N(x; mean, Sigma + noise I), with all normalising terms.

    Args:
      gaussian: the law.
      x: rows.
      noise: variance added in every direction, scalar or one a row; nonnegative. Where a variance plus the noise
        is zero the law has no density: the result is infinite or NaN.

    Raises:
      ValueError: if shapes do not match or known noise is negative.

    >>> g = Gaussian(jnp.zeros(2), jnp.eye(2), jnp.ones(2), jnp.zeros(()))
    >>> float(gaussian_log_density(g, jnp.zeros((1, 2)))[0])  # -log(2 pi)
    -1.8378770351409912
    """
    dim, rank = gaussian.basis.shape
    require_array("x", x, (None, dim))
    require_nonnegative("noise", noise)
    noise = per_row("noise", noise, x)
    along, off = _split(gaussian, x - gaussian.mean[None])
    variances = gaussian.variances[None] + noise
    distance, log_det = jnp.sum(along**2 / variances, -1), jnp.log(variances).sum(-1)
    if off is not None:
        remainder = gaussian.remainder + noise[:, 0]
        distance, log_det = distance + jnp.sum(off**2, -1) / remainder, log_det + (dim - rank) * jnp.log(remainder)
    return -0.5 * (distance + log_det + dim * jnp.log(2 * jnp.pi))


def gaussian_covariance(gaussian: Gaussian) -> Float[Array, "d d"]:
    """The covariance as a dense matrix.

    >>> gaussian_covariance(Gaussian(jnp.zeros(1), jnp.zeros((1, 0)), jnp.zeros(0), jnp.float32(2))).tolist()
    [[2.0]]
    """
    return _spectral_map(gaussian, jnp.eye(gaussian.mean.shape[0], dtype=gaussian.mean.dtype), lambda lam: lam)


def gaussian_sample(key: Key[Array, ""], gaussian: Gaussian, count: int) -> Float[Array, "n d"]:
    """Draws `count` rows: mean + Sigma^(1/2) n with standard normal n.

    Args:
      key: draws n.
      gaussian: the law.
      count: at least 1.

    Raises:
      ValueError: if `count` is below 1.

    >>> g = Gaussian(jnp.zeros(2), jnp.eye(2), jnp.ones(2), jnp.zeros(()))
    >>> gaussian_sample(jax.random.key(0), g, 5).shape
    (5, 2)
    """
    require_size("count", count)
    noise = jax.random.normal(key, (count, gaussian.mean.shape[0]), gaussian.mean.dtype)
    return gaussian.mean[None] + _spectral_map(gaussian, noise, jnp.sqrt)


def per_row(name: str, value: ArrayLike, x: Array) -> Array:
    """A scalar or one number a row, as a column (1 or b, 1) in the dtype of `x`."""
    value = jnp.asarray(value, x.dtype)
    require(value.shape in ((), x.shape[:1]), name, f"shape {value.shape}", f"a scalar or of shape {x.shape[:1]}")
    return value.reshape(-1, 1)
