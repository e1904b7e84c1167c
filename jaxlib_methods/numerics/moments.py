"""Streaming mean and scatter matrix: exact to rounding, one pass, any number of rows, devices and tiles.

Two groups of rows with counts n_a, n_b, means m_a, m_b and scatters S = sum (x - m)(x - m)^T merge as

    m = m_a + (n_b / n) (m_b - m_a),    S = S_a + S_b + (n_a n_b / n) (m_b - m_a)(m_b - m_a)^T,    n = n_a + n_b.

Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979, eq. 2.1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, Float

from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import require, require_array
from jaxlib_methods.numerics.padding import pad_rows
from jaxlib_methods.numerics.symmetric_product import assemble_symmetric, symmetric_parts

__all__ = ["Moments", "covariance", "moments", "moments_merge"]


class Moments(NamedTuple):
    """Total weight (the count of rows if unweighted), mean and scatter of a set of rows; float32 or wider."""

    weight: Float[Array, ""]
    mean: Float[Array, " d"]
    scatter: Float[Array, "d d"]


def moments(
    x: Float[Array, "n d"],
    weights: Float[Array, " n"] | None = None,
    *,
    block: int = 4096,
    mesh: Mesh | None = None,
    axis: str = "data",
    feature_axis: str | None = None,
) -> Moments:
    """Count, mean and scatter of the rows of `x`, in blocks, on one device or many.

    Args:
      x: rows; bfloat16 and float16 are summed in float32.
      weights: nonnegative weights, one a row; ones if None.
      block: rows summed at once on a device.
      mesh: devices to use; `x` is split by rows over `axis` (any n: padded and masked), and the sums cross
        devices in one small and one (d, d) all-reduce.
      axis: mesh axis of the rows.
      feature_axis: second mesh axis, over which the columns of the scatter matrix are computed and stay split.

    Returns:
      The moments. A NaN anywhere in `x` shows as NaN in the mean.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if `x` is not a matrix with a row, or `weights` does not match its rows.

    Memory: O(block d + d^2 / tiles). Cost: about n d^2 operations over all devices, or 2 n d^2 with a `feature_axis`.

    >>> m = moments(jnp.array([[0.0, 1.0], [2.0, 3.0]]))
    >>> m.mean.tolist(), covariance(m).tolist()
    ([1.0, 2.0], [[1.0, 1.0], [1.0, 1.0]])
    """
    require_array("x", x, (None, None))
    require(x.shape[0] > 0 and x.shape[1] > 0, "x", f"shape {x.shape}", "a matrix with at least one row and column")
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    if weights is None:
        weights = jnp.ones(x.shape[0], dtype)
    require_array("weights", weights, x.shape[:1])
    if mesh is None:
        return _reduce(x, weights.astype(dtype), block, lambda a: a)
    x, mask = pad_rows(x, mesh.shape[axis])
    weights = pad_rows(weights, mesh.shape[axis])[0].astype(dtype) * mask.astype(dtype)
    return _sharded(x, weights, block, mesh, axis, feature_axis)


def moments_merge(a: Moments, b: Moments) -> Moments:
    """The moments of two disjoint sets of rows together: how a stream that fits nowhere is summed.

    >>> both = moments_merge(moments(jnp.zeros((3, 1))), moments(jnp.ones((1, 1))))
    >>> float(both.weight), float(both.mean[0])
    (4.0, 0.25)
    """
    return _merge(a, b, lambda v: v)


def covariance(m: Moments, *, ddof: int = 0) -> Float[Array, "d d"]:
    """Scatter over `weight - ddof`: ddof 0 is the maximum-likelihood covariance, 1 the unbiased one.

    Not positive where `weight <= ddof`: infinite or NaN.

    >>> covariance(moments(jnp.array([[0.0], [2.0]])), ddof=1).tolist()
    [[2.0]]
    """
    return m.scatter / (m.weight - ddof)


def _reduce(x: Array, weights: Array, block: int, columns: Callable[[Array], Array]) -> Moments:
    def summarise(rows):
        x, w = rows[0].astype(weights.dtype), rows[1]
        count = w.sum()
        mean = jnp.einsum("n,nd->d", w, x, precision="highest") / _nonzero(count)
        offset = x - mean[None]
        weighted, right = w[:, None] * offset, columns(offset)
        if right.shape == offset.shape:
            return Moments(count, mean, assemble_symmetric(symmetric_parts(weighted, right)))
        return Moments(count, mean, jnp.einsum("ni,nj->ij", weighted, right, precision="highest"))

    return reduce_rows(summarise, lambda a, b: _merge(a, b, columns), (x, weights), block=block)


def _merge(a: Moments, b: Moments, columns: Callable[[Array], Array]) -> Moments:
    count = a.weight + b.weight
    gap, share = b.mean - a.mean, b.weight / _nonzero(count)
    scatter = a.scatter + b.scatter + a.weight * share * jnp.outer(gap, columns(gap))
    return Moments(count, a.mean + share * gap, scatter)


def _sharded(x: Array, weights: Array, block: int, mesh: Mesh, axis: str, feature_axis: str | None) -> Moments:
    dim = x.shape[1]
    tiles = 1 if feature_axis is None else mesh.shape[feature_axis]
    width = -(-dim // tiles)

    def columns(a):
        if feature_axis is None:
            return a
        a = jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, width * tiles - dim)])
        return jax.lax.dynamic_slice_in_dim(a, jax.lax.axis_index(feature_axis) * width, width, a.ndim - 1)

    def local(x, weights):
        part = _reduce(x, weights, block, columns)
        count = jax.lax.psum(part.weight, axis)
        mean = jax.lax.psum(part.weight * part.mean, axis) / _nonzero(count)
        gap = part.mean - mean
        return count, mean, jax.lax.psum(part.scatter + part.weight * jnp.outer(gap, columns(gap)), axis)

    specs = (P(), P(), P(None, feature_axis))
    weight, mean, scatter = jax.shard_map(local, mesh=mesh, in_specs=(P(axis), P(axis)), out_specs=specs)(x, weights)
    return Moments(weight, mean, scatter if scatter.shape[1] == dim else scatter[:, :dim])


def _nonzero(count: Array) -> Array:
    return jnp.where(count > 0, count, 1)
