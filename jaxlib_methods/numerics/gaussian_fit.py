"""Gaussians and mixtures fitted to the rows of a matrix, streamed in blocks and over devices."""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, Float, Int, Key

from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import (
    require,
    require_array,
    require_finite,
    require_nonnegative,
    require_size,
)
from jaxlib_methods.numerics.gaussian import Gaussian, gaussian_from_covariance
from jaxlib_methods.numerics.kmeans import kmeans
from jaxlib_methods.numerics.low_rank import randomized_eigh
from jaxlib_methods.numerics.mixture import GaussianMixture
from jaxlib_methods.numerics.moments import Moments, covariance, moments, moments_merge

__all__ = ["fit_gaussian", "fit_gaussian_randomized", "fit_mixture", "mixture_from_labels"]


def fit_gaussian(
    x: Float[Array, "n d"],
    *,
    rank: int | None = None,
    remainder: bool = False,
    ddof: int = 0,
    block: int = 4096,
    mesh: Mesh | None = None,
    axis: str = "data",
    feature_axis: str | None = None,
) -> Gaussian:
    """Mean and principal directions of the rows of `x`, from one streamed pass and one eigendecomposition.

    Args:
      x: data, one row a point.
      rank: directions kept, 0 to d; all if None.
      remainder: give the dropped directions their average variance instead of zero.
      ddof: the covariance is the scatter over n - ddof.
      block: rows summed at once.
      mesh: devices; rows split over `axis`, columns of the scatter over `feature_axis` if given.
      axis: mesh axis of the rows.
      feature_axis: mesh axis of the scatter's columns.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if `x` is empty, holds NaN or infinity (not seen under `jit`, where the result is NaN), the rank is
        not in [0, d], or there are not more than `ddof` rows.

    Cost: 2 n d^2 + O(d^3). Memory: O(d^2).

    >>> fit_gaussian(jnp.array([[0.0, 0.0], [2.0, 0.0]])).variances.tolist()
    [1.0, 0.0]
    """
    require_size("ddof", ddof, 0)
    total = moments(x, block=block, mesh=mesh, axis=axis, feature_axis=feature_axis)
    require(x.shape[0] > ddof, "x", f"{x.shape[0]} rows", f"more than ddof = {ddof} rows")
    require_finite("x", total.mean)
    return gaussian_from_covariance(total.mean, covariance(total, ddof=ddof), rank=rank, remainder=remainder)


def fit_gaussian_randomized(
    key: Key[Array, ""],
    x: Float[Array, "n d"],
    rank: int,
    *,
    remainder: bool = False,
    oversample: int = 16,
    iterations: int = 2,
    block: int = 4096,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> Gaussian:
    """As `fit_gaussian`, for dimensions where a (d, d) matrix does not fit: leading directions by subspace iteration.

    Args:
      key: draws the start of the iteration.
      x: data, one row a point.
      rank: directions kept, 1 to d.
      remainder: as in `fit_gaussian`; the total variance is exact.
      oversample: extra directions carried during the iteration.
      iterations: rounds; the data are read `iterations + 2` times.
      block: rows worked on at once.
      mesh: devices; rows split over `axis`.
      axis: mesh axis of the rows.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if `x` is empty or holds NaN or infinity (not seen under `jit`), or a size is out of range.

    Cost: 4 (iterations + 1) n d (r + oversample). Memory: O(d (r + oversample)).

    >>> x = jnp.array([[0.0, 0.0], [2.0, 0.0]])
    >>> fit_gaussian_randomized(jax.random.key(0), x, 1).variances.round(5).tolist()
    [1.0]
    """
    require_array("x", x, (None, None))
    require(x.size > 0, "x", f"shape {x.shape}", "a matrix with at least one row and column")
    count, dim = x.shape
    require_size("rank", rank, 1, dim)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = _row_sum(lambda x, _: x.sum(0), x, jnp.zeros(dim, x.dtype), block, mesh, axis) / count
    require_finite("x", mean)

    def product(q):
        def centred(x, q):
            along = jnp.einsum("nd,dm->nm", x - mean[None], q, precision="highest")
            return jnp.einsum("nd,nm->dm", x - mean[None], along, precision="highest")

        return _row_sum(centred, x, q, block, mesh, axis) / count

    variances, basis = randomized_eigh(
        key, product, dim, rank, oversample=oversample, iterations=iterations, dtype=x.dtype
    )
    if not remainder or rank == dim:
        return Gaussian(mean, basis, variances, jnp.zeros((), x.dtype))
    trace = _row_sum(lambda x, m: jnp.sum((x - m[None]) ** 2), x, mean, block, mesh, axis) / count
    return Gaussian(mean, basis, variances, jnp.maximum(trace - variances.sum(), 0) / (dim - rank))


def mixture_from_labels(
    x: Float[Array, "n d"],
    labels: Int[Array, " n"],
    num_components: int,
    *,
    rank: int | None = None,
    remainder: bool = False,
    ridge: float = 0.0,
    block: int = 4096,
) -> GaussianMixture:
    """One Gaussian a label, weighted by the label's share of the rows.

    Args:
      x: data, one row a point.
      labels: integers in [0, num_components); rows with another label are left out.
      num_components: K.
      rank: directions kept a component, 0 to d; all if None.
      remainder: give the dropped directions their average variance instead of zero.
      ridge: added to every variance, on and off the kept directions.
      block: rows summed at once.

    Returns:
      The mixture. A label without rows has weight 0, mean 0 and variances `ridge`.

    Raises:
      TypeError: if `x` is not floating or `labels` not integer.
      ValueError: if shapes or sizes do not fit, `ridge` is negative, or `x` holds NaN or infinity.

    Cost: 2 n d^2 + K O(d^3), one component after the other. Memory: O(d^2 + K d r).

    >>> mixture = mixture_from_labels(jnp.array([[0.0], [2.0], [9.0]]), jnp.array([0, 0, 1]), 2)
    >>> mixture.components.mean.tolist(), mixture.components.variances.tolist()
    ([[1.0], [9.0]], [[1.0], [0.0]])
    """
    require_array("x", x, (None, None))
    x, labels = jnp.asarray(x), jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must have an integer dtype, got {labels.dtype}")
    require(labels.shape == x.shape[:1], "labels", f"shape {labels.shape}", f"of shape {x.shape[:1]}")
    require_size("num_components", num_components)
    require_nonnegative("ridge", ridge)
    block = min(block, x.shape[0])
    order = jnp.argsort(labels, stable=True)
    counts = jnp.zeros(num_components, jnp.int32).at[labels].add(1, mode="drop")
    first = jnp.searchsorted(labels[order], jnp.arange(num_components))

    def gather(start, count, i):
        offset = i * block + jnp.arange(block)
        rows = x[order[jnp.minimum(start + offset, x.shape[0] - 1)]]
        return moments(rows, (offset < count).astype(jnp.promote_types(x.dtype, jnp.float32)), block=block)

    def fit(member):
        start, count = member
        step = lambda i, total: moments_merge(total, gather(start, count, i))
        total = jax.lax.fori_loop(1, -(-count // block), step, gather(start, count, 0))
        total = Moments(jnp.maximum(total.weight, 1), total.mean, total.scatter)
        gaussian = gaussian_from_covariance(total.mean, covariance(total), rank=rank, remainder=remainder)
        return gaussian._replace(variances=gaussian.variances + ridge, remainder=gaussian.remainder + ridge)

    components = jax.lax.map(fit, (first, counts))
    require_finite("x", components.mean)
    weights = counts / counts.sum()
    return GaussianMixture(weights.astype(components.mean.dtype), components)


def fit_mixture(
    key: Key[Array, ""],
    x: Float[Array, "n d"],
    num_components: int,
    *,
    rank: int | None = None,
    remainder: bool = False,
    ridge: float = 1e-5,
    iterations: int = 100,
    batch_size: int | None = None,
    block: int = 4096,
) -> GaussianMixture:
    """A Gaussian a k-means cluster: cluster shares as weights, cluster covariances plus `ridge` I.

    Args and errors as `mixture_from_labels`; `key`, `iterations` and `batch_size` as `kmeans`.

    >>> x = jnp.array([[0.0], [0.1], [9.0], [9.1]])
    >>> fit_mixture(jax.random.key(0), x, 2).weights.tolist()
    [0.5, 0.5]
    """
    clusters = kmeans(key, x, num_components, iterations=iterations, batch_size=batch_size, block=block)
    return mixture_from_labels(
        x, clusters.labels, num_components, rank=rank, remainder=remainder, ridge=ridge, block=block
    )


def _row_sum(function, x: Array, argument: Array, block: int, mesh: Mesh | None, axis: str) -> Array:
    """The sum of `function(rows, argument)` over blocks of rows and devices; padding must not contribute."""
    add = lambda a, b: a + b
    if mesh is None:
        return reduce_rows(lambda rows: function(rows, argument), add, x, block=block)
    shards = mesh.shape[axis]
    whole = x.shape[0] // shards * shards
    local = lambda x, argument: jax.lax.psum(
        reduce_rows(lambda rows: function(rows, argument), add, x, block=block), axis
    )
    total = jax.shard_map(local, mesh=mesh, in_specs=(P(axis), P()), out_specs=P())(x[:whole], argument)
    return total if whole == x.shape[0] else total + function(x[whole:], argument)
