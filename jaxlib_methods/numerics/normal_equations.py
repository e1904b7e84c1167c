"""Ridge regression on features that are never stored: the sums over samples that a fit needs, block by block.

    G = sum_i w_i z_i z_i^T,    b = sum_i w_i z_i y_i^T,    c(r) = (G + r I)^-1 b,    z_i = features(x_i).

The sums of disjoint sets of samples add. A million samples of 4,096 features need one block of features and G, 64 MiB.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float, Shaped

from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import require, require_array, require_finite, require_nonnegative
from jaxlib_methods.numerics.padding import pad_rows
from jaxlib_methods.numerics.psd import in_float64, inverse_forms, kept, psd_solve, solve_spectrum, spectrum_of
from jaxlib_methods.numerics.symmetric_product import assemble_symmetric, symmetric_parts

__all__ = [
    "FeaturePath",
    "NormalEquations",
    "normal_equations",
    "normal_equations_merge",
    "normal_equations_path",
    "normal_equations_solve",
]


class NormalEquations(NamedTuple):
    """Sums over samples: G, b, sum w |y|^2 and sum w; float32 or wider."""

    gram: Float[Array, "k k"]
    cross: Float[Array, "k *t"]
    square: Float[Array, ""]
    weight: Float[Array, ""]


class FeaturePath(NamedTuple):
    """A fit for every ridge r, known by its sums alone.

    Attributes:
      ridges: the ridges.
      coefficients: c(r).
      norm: |c|^2, summed over targets.
      degrees: degrees of freedom, tr G (G + r I)^-1.
      train: weighted mean square error on the samples, over targets too; a difference of sums, so no smaller than
        their rounding.
      gcv: generalised cross-validation error, train / (1 - degrees / weight)^2; infinite where degrees reach weight.
    """

    ridges: Float[Array, " r"]
    coefficients: Float[Array, "r k *t"]
    norm: Float[Array, " r"]
    degrees: Float[Array, " r"]
    train: Float[Array, " r"]
    gcv: Float[Array, " r"]


def normal_equations(
    features: Callable[[Array], Array],
    x: Shaped[Array, "n *rest"],
    y: Float[Array, "n *t"],
    weights: Float[Array, " n"] | None = None,
    *,
    block: int = 4096,
    mesh: Mesh | None = None,
    axis: str = "data",
    feature_axis: str | None = None,
) -> NormalEquations:
    """Sums z z^T and z y^T over samples; the features are computed for one block of samples at a time.

    Args:
      features: maps rows (b, ...) to features (b, k), row by row; differentiable in what it closes over, too.
      x: samples.
      y: targets.
      weights: nonnegative, one a sample; ones if None.
      block: samples whose features are held at once on a device; computed again under `grad`.
      mesh: devices; samples are split over `axis` (any n: padded and masked), and the sums cross devices in one
        all-reduce.
      axis: mesh axis of the samples.
      feature_axis: second mesh axis, over which the columns of G are computed and stay split.

    Raises:
      TypeError: if `y` is not floating.
      ValueError: if there are no samples, shapes do not match, or `features` does not give a row a sample.

    Cost: the features, and about n k^2 operations over all devices, or 2 n k^2 with a `feature_axis`. Memory: O(block k
    + k^2 / tiles).

    >>> sums = normal_equations(lambda x: x[:, None], jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0]))
    >>> sums.gram.tolist(), sums.cross.tolist()
    ([[5.0]], [3.0])
    """
    dtype, width = _check(features, x, y, weights)
    targets = y.reshape(len(y), -1).astype(dtype)
    weights = jnp.ones(len(y), dtype) if weights is None else weights.astype(dtype)
    shards = 1 if mesh is None else mesh.shape[axis]
    tiles = 1 if mesh is None or feature_axis is None else mesh.shape[feature_axis]
    share = -(-width // tiles)

    def products(weighted, z):
        """Columns of this device, or the parts of the whole where columns are not split."""
        if tiles == 1:
            return symmetric_parts(weighted, z)
        z = jnp.pad(z, ((0, 0), (0, share * tiles - width)))
        z = jax.lax.dynamic_slice_in_dim(z, jax.lax.axis_index(feature_axis) * share, share, 1)
        return jnp.einsum("ni,nj->ij", weighted, z, precision="highest")

    def summarise(rows):
        x, y, w = rows
        z = features(x).astype(dtype)
        weighted = w[:, None] * z
        cross = jnp.einsum("nt,ni->it", y, weighted, precision="highest")  # in this order five times as fast on CPUs
        return products(weighted, z), cross, jnp.sum(w[:, None] * y**2), w.sum()

    def local(*rows):
        return reduce_rows(summarise, lambda a, b: jax.tree.map(jnp.add, a, b), rows, block=block)

    if mesh is None:
        parts, cross, square, weight = local(x, targets, weights)
    else:
        padding = -len(y) % shards
        x = jnp.pad(x, ((0, padding), *[(0, 0)] * (x.ndim - 1)), mode="edge") if padding else x
        targets, weights = (pad_rows(a, shards)[0] for a in (targets, weights))
        total = lambda *rows: jax.lax.psum(local(*rows), axis)
        specs = P(None, feature_axis), P(), P(), P()
        sums = jax.shard_map(total, mesh=mesh, in_specs=(P(axis),) * 3, out_specs=specs)(x, targets, weights)
        parts, cross, square, weight = sums
    gram = assemble_symmetric(parts) if tiles == 1 else parts[:, :width]
    return NormalEquations(gram, cross.reshape(width, *y.shape[1:]), square, weight)


def normal_equations_merge(a: NormalEquations, b: NormalEquations) -> NormalEquations:
    """The sums over two disjoint sets of samples together: how a stream that fits nowhere is summed.

    >>> part = normal_equations(lambda x: x, jnp.ones((3, 1)), jnp.ones(3))
    >>> normal_equations_merge(part, part).gram.tolist()
    [[6.0]]
    """
    return jax.tree.map(jnp.add, a, b)


def normal_equations_solve(
    sums: NormalEquations,
    ridge: Float[ArrayLike, ""],
    *,
    solver: str = "auto",
    rcond: float | None = None,
    float64: bool = False,
) -> Float[Array, "k *t"]:
    """Coefficients of the ridge fit.

    Args:
      sums: of all samples.
      ridge: nonnegative; at 0 the least-norm solution.
      solver: as in `psd_solve`.
      rcond: as in `psd_solve`.
      float64: solve in double precision, and cast back; sums made in single precision keep their rounding.

    Raises:
      ValueError: if the solver is unknown, or a known ridge is negative or known sums not finite.

    Cost and memory: the solver's on k.

    >>> sums = normal_equations(lambda x: x, jnp.ones((3, 1)), jnp.ones(3))
    >>> normal_equations_solve(sums, 1.0).round(6).tolist()
    [0.75]
    """
    return psd_solve(sums.gram, sums.cross, ridge, solver=solver, rcond=rcond, float64=float64)


def normal_equations_path(
    sums: NormalEquations, ridges: Float[ArrayLike, " r"], *, rcond: float | None = None, float64: bool = False
) -> FeaturePath:
    """Coefficients, norms and errors for many ridges from one eigendecomposition.

    Args:
      sums: of all samples.
      ridges: nonnegative, in any order.
      rcond: as in `psd_solve`.
      float64: solve in double precision, and cast back.

    Raises:
      ValueError: if a known ridge is negative or known sums not finite.

    Cost: 10 k^3 + O(r k^2 t). Memory: O(k^2 + r k t).

    >>> sums = normal_equations(lambda x: x, jnp.ones((3, 1)), jnp.ones(3))
    >>> normal_equations_path(sums, jnp.array([0.0, 1.0])).coefficients.round(6).tolist()
    [[1.0], [0.75]]
    """
    require_nonnegative("ridges", ridges)
    require_finite("sums", sums.gram)
    require_finite("sums", sums.cross)
    shape = sums.cross.shape

    def path(gram, cross, square, weight, ridges):
        cross, gram = cross.reshape(len(cross), -1), (gram + gram.T) / 2
        spectrum = spectrum_of(gram, rcond)
        coefficients = solve_spectrum(gram, cross, ridges, spectrum)
        norm = jnp.sum(coefficients**2, (1, 2))
        rank = jax.vmap(lambda ridge: kept(spectrum, ridge).sum())(ridges)
        degrees = rank - ridges * inverse_forms(gram, None, ridges, spectrum).sum(1)
        fitted = jnp.einsum("rkt,kl,rlt->r", coefficients, gram, coefficients, precision="highest")
        train = square - 2 * jnp.einsum("rkt,kt->r", coefficients, cross, precision="highest") + fitted
        train = jnp.maximum(train, 0) / (weight * cross.shape[1])
        room = 1 - degrees / weight
        enough = room > 100 * jnp.finfo(room.dtype).eps
        gcv = jnp.where(enough, train / jnp.where(enough, room, 1) ** 2, jnp.inf)
        return FeaturePath(ridges, coefficients.reshape(-1, *shape), norm, degrees, train, gcv)

    return in_float64(path, float64, *sums, ridges)


def _check(features, x, y, weights):
    """Checks, and gives the dtype of the sums and the number of features."""
    require(len(x) > 0, "x", f"shape {x.shape}", "an array with at least one row")
    require_array("y", y, (len(x), *y.shape[1:]))
    if weights is not None:
        require_array("weights", weights, (len(x),))
        require_nonnegative("weights", weights)
    z = jax.eval_shape(features, x[:1])
    require(z.ndim == 2 and z.shape[0] == 1, "features", f"shape {z.shape} for one row", "a map to one row a sample")
    return jnp.promote_types(jnp.promote_types(z.dtype, y.dtype), jnp.float32), z.shape[1]
