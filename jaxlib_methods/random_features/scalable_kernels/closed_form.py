"""A fully bundled network is one matrix on frozen features, y = Z(x) A: its optimum for four losses.

    squares            min sum_i w_i |y_i - z_i A|^2 + r |A|^2       A = (Z^T W Z + r I)^-1 Z^T W Y
    linear margin      max sum_i w_i <y_i, z_i A>, |A|_F <= r        A = r Z^T W Y / |Z^T W Y|_F
    logistic           min sum_i w_i (log(1 + e^(z_i a)) - y_i z_i a) + r |a|^2 / 2 for each column a, by Newton

Newton for the logistic loss is iteratively reweighted least squares with halved steps where the loss would rise.

Sehanobish, Choromanski, Zhao, Dubey and Likhosherstov, "Scalable Neural Network Kernels", ICLR 2024, section 3.2.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float, PyTree

from jaxlib_methods.numerics.checks import require_array, require_nonnegative, require_positive, require_size
from jaxlib_methods.numerics.normal_equations import normal_equations, normal_equations_solve
from jaxlib_methods.random_features.scalable_kernels.bundling import tower_apply
from jaxlib_methods.random_features.scalable_kernels.layer import Kernel, SnnkParams

__all__ = ["fit_bundled", "fit_logistic", "fit_margin"]


def fit_bundled(
    tower: Sequence[PyTree],
    x: Float[Array, "n d"],
    y: Float[Array, "n o"],
    ridge: Float[ArrayLike, ""],
    weights: Float[Array, " n"] | None = None,
    *,
    kernels: Sequence[Kernel],
    block: int = 4096,
    mesh: Mesh | None = None,
    axis: str = "data",
    feature_axis: str | None = None,
    float64: bool = False,
) -> SnnkParams:
    """The fully bundled network of least squares, in one pass over the samples whose features are never stored.

    Args:
      tower: from `tower_init`.
      x: inputs.
      y: targets.
      ridge: r, nonnegative, on the unnormalised sums.
      weights: nonnegative, one a sample; ones if None. An integer weight counts as so many copies.
      kernels: those of the tower.
      block: samples whose features are held at once on a device.
      mesh: devices; samples are split over `axis` and the sums cross devices in one all-reduce.
      axis: mesh axis of the samples.
      feature_axis: second mesh axis, over which the columns of Z^T W Z are computed.
      float64: solve in double precision.

    Returns:
      Parameters for `snnk_apply` on the tower's last layer, or y = `tower_apply(tower, x, kernels=...)` @ psi.

    Raises:
      TypeError, ValueError: as `normal_equations` and `tower_apply`.

    Cost: the features, 2 n p^2 and p^3 / 3 operations. Memory: O(block p + p^2).

    >>> from jaxlib_methods.random_features import ReluKernel, tower_init
    >>> kernels = (ReluKernel(),)
    >>> tower = tower_init(jax.random.key(0), 1, (8,), kernels=kernels)
    >>> x = jnp.linspace(-1.0, 1.0, 20)[:, None]
    >>> params = fit_bundled(tower, x, jnp.abs(x), 1e-3, kernels=kernels)
    >>> params.psi.shape
    (8, 1)
    """
    features = lambda rows: tower_apply(tower, rows, kernels=kernels)
    sums = normal_equations(features, x, y, weights, block=block, mesh=mesh, axis=axis, feature_axis=feature_axis)
    return SnnkParams(normal_equations_solve(sums, ridge, float64=float64), None)


def fit_margin(
    z: Float[Array, "n p"],
    y: Float[Array, "n o"],
    radius: Float[ArrayLike, ""],
    weights: Float[Array, " n"] | None = None,
) -> Float[Array, "p o"]:
    """The matrix of Frobenius norm at most `radius` whose outputs agree most with the targets.

    Args:
      z: features, `tower_apply` of the inputs.
      y: targets, signs for a margin.
      radius: r, positive.
      weights: nonnegative, one a sample; ones if None.

    Returns:
      A; 0, one of many optima, where Z^T W Y is 0.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, the known radius is not positive or a known weight is negative.

    >>> fit_margin(jnp.array([[3.0, 4.0]]), jnp.array([[1.0]]), 10.0).tolist()
    [[6.0], [8.0]]
    """
    require_positive("radius", radius)
    weights = _check(z, y, weights)
    cross = jnp.einsum("np,no->po", z * weights[:, None], y, precision="highest")
    square = jnp.sum(cross**2)
    return jnp.asarray(radius) * cross * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


def fit_logistic(
    z: Float[Array, "n p"],
    y: Float[Array, "n o"],
    ridge: Float[ArrayLike, ""],
    weights: Float[Array, " n"] | None = None,
    *,
    iterations: int = 20,
) -> Float[Array, "p o"]:
    """Logistic regression of each column of `y` on the features: Newton's method, from 0.

    Args:
      z: features, `tower_apply` of the inputs.
      y: targets in [0, 1], one column a class.
      ridge: r, positive; without it separable classes have no optimum.
      weights: nonnegative, one a sample; ones if None.
      iterations: Newton steps; the error squares in each of the last.

    Returns:
      A, one column a class; log-odds are z A. Derivatives pass through the steps and are exact at the optimum.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, a known ridge is not positive, a weight is negative, or `iterations` below 1.

    Cost: `iterations` times o (n p^2 + p^3 / 3). Memory: O(o p^2 + n p).

    >>> a = fit_logistic(jnp.array([[1.0], [-1.0]]), jnp.array([[1.0], [0.0]]), 0.5)
    >>> round(float(a[0, 0]), 4)
    1.0426
    """
    require_positive("ridge", ridge)
    require_size("iterations", iterations)
    weights = _check(z, y, weights)
    return jax.vmap(lambda column: _newton(z, column, ridge, weights, iterations), 1, 1)(y)


def _newton(z: Array, y: Array, ridge: ArrayLike, weights: Array, iterations: int) -> Array:
    scales = 0.5 ** jnp.arange(10, dtype=z.dtype)
    product = lambda *operands: jnp.einsum(*operands, precision="highest")

    def step(_, a):
        odds = product("np,p->n", z, a)
        share = jax.nn.sigmoid(odds)
        gradient = product("np,n->p", z, weights * (share - y)) + ridge * a
        curvature = product("np,nq->pq", z * (weights * share * (1 - share))[:, None], z)
        factor = jax.scipy.linalg.cho_factor(curvature + ridge * jnp.eye(len(a), dtype=z.dtype))
        direction = -jax.scipy.linalg.cho_solve(factor, gradient)
        tried = odds[None] + scales[:, None] * product("np,p->n", z, direction)[None]
        fit = jnp.sum(weights[None] * (jax.nn.softplus(tried) - y[None] * tried), 1)
        length = jnp.sum((a[None] + scales[:, None] * direction[None]) ** 2, 1)
        loss = fit + ridge * length / 2
        least = jnp.min(loss)
        rounding = 10 * jnp.finfo(z.dtype).eps * least  # at the optimum only this tells the scales apart
        return a + scales[jnp.argmax(loss <= least + rounding)] * direction

    return jax.lax.fori_loop(0, iterations, step, jnp.zeros(z.shape[1], z.dtype))


def _check(z: Array, y: Array, weights: Array | None) -> Array:
    require_array("z", z, (None, None))
    require_array("y", y, (len(z), None))
    if weights is None:
        return jnp.ones(len(z), z.dtype)
    require_array("weights", weights, (len(z),))
    require_nonnegative("weights", weights)
    return weights
