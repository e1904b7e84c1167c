"""Measured errors of kernel and random-feature ridge regression, all ridges from one eigendecomposition.

    f(x) = K(x, X) (K(X, X) + delta I)^-1 y,    errors: means over points of |y - f(x)|^2, summed over outputs.

These are the simulations that `rf_errors` predicts.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, ArrayLike, Float, Int

from jaxlib_methods.numerics.checks import (
    require_array,
    require_choice,
    require_finite,
    require_known,
    require_nonnegative,
    require_positive,
    require_size,
)
from jaxlib_methods.numerics.psd import psd_solve_path
from jaxlib_methods.numerics.ridge import predict_path

__all__ = ["krr_learning_curve", "krr_path_errors", "rf_curve_errors", "rf_path_errors"]


def krr_path_errors(
    kernel: Float[Array, "n n"],
    cross: Float[Array, "m n"],
    targets: Float[Array, "n *c"],
    test_targets: Float[Array, "m *c"],
    ridges: Float[ArrayLike, " r"],
    *,
    float64: bool = False,
) -> tuple[Float[Array, " r"], Float[Array, " r"]]:
    """Test and train error of kernel ridge regression for each ridge.

    Args:
      kernel: K(x_i, x_j) of the training points.
      cross: K(test point, training point).
      targets: of the training points, any number of outputs.
      test_targets: of the test points.
      ridges: delta, nonnegative; at 0 the least-norm interpolant.
      float64: solve in double precision. Ridges below about 1e-6 of the largest eigenvalue need it.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, or a known ridge is negative or a known array not finite.

    Cost: about 10 n^3 + 2 r (n + m) n c. Memory: O(n^2 + r n c).

    >>> one = jnp.ones((1, 1))
    >>> [e.tolist() for e in krr_path_errors(one, one, one, one, jnp.array([0.0, 1.0]))]
    [[0.0, 0.25], [0.0, 0.25]]
    """
    _check(kernel, cross, targets, test_targets)
    coefficients = psd_solve_path(kernel, targets, ridges, float64=float64)
    return _mean_square(cross, coefficients, test_targets), _mean_square(kernel, coefficients, targets)


def rf_path_errors(
    features: Float[Array, "n k"],
    test_features: Float[Array, "m k"],
    targets: Float[Array, "n *c"],
    test_targets: Float[Array, "m *c"],
    ridges: Float[ArrayLike, " r"],
    *,
    float64: bool = False,
) -> tuple[Float[Array, " r"], Float[Array, " r"]]:
    """Test and train error of random-feature ridge regression for each ridge, from the smaller of two systems.

    Args:
      features: one row a training point; inner products of rows are the kernel, the 1/k included.
      test_features: one row a test point, scaled likewise.
      targets: of the training points, any number of outputs.
      test_targets: of the test points.
      ridges: delta, nonnegative; at 0 the least-norm solution.
      float64: solve in double precision.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, or a known ridge is negative or a known array not finite.

    Cost: 2 n k s + 10 s^3 + 2 r (n + m) k c with s = min(n, k). Memory: O((n + m) k + s^2).

    >>> one = jnp.ones((1, 1))
    >>> [e.tolist() for e in rf_path_errors(one, one, one, one, jnp.array([0.0, 1.0]))]
    [[0.0, 0.25], [0.0, 0.25]]
    """
    _check(features, test_features, targets, test_targets)
    product = lambda a, b: jnp.einsum("ik,k...->i...", a, b, precision="highest")
    if features.shape[0] <= features.shape[1]:
        kernel = product(features, features.T)
        dual = psd_solve_path(kernel, targets, ridges, float64=float64)
        coefficients = jnp.einsum("nk,rn...->rk...", features, dual, precision="highest")
    else:
        square, right = product(features.T, features), product(features.T, targets)
        coefficients = psd_solve_path(square, right, ridges, float64=float64)
    return _mean_square(test_features, coefficients, test_targets), _mean_square(features, coefficients, targets)


def rf_curve_errors(
    features: Float[Array, "n k"],
    test_features: Float[Array, "m k"],
    targets: Float[Array, "n *c"],
    test_targets: Float[Array, "m *c"],
    ridges: Float[ArrayLike, " r"],
    sizes: Int[ArrayLike, " s"],
    *,
    over: str = "features",
    float64: bool = False,
) -> tuple[Float[Array, "s r"], Float[Array, "s r"]]:
    """Test and train errors over the number of features, or of samples, of one draw: the first few of them are used.

    Args:
      features: one row a training point, scaled so that inner products of rows estimate the kernel.
      test_features: one row a test point, scaled likewise.
      targets: of the training points, any number of outputs.
      test_targets: of the test points.
      ridges: delta, positive: a left-out sample is one without features, which ridge 0 would not ignore in float32.
      sizes: numbers of features or samples used, from 1 to all; features are scaled up for their number.
      over: "features" or "samples".
      float64: solve in double precision.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, `over` is unknown, a known size out of range, or a known ridge not positive.

    Cost: that of `rf_path_errors` with all features and samples, for each size. Compiled once, whatever the sizes.

    >>> rows, y = jnp.array([[1.0, 0.0]]), jnp.ones((1, 1))
    >>> test = rf_curve_errors(rows, rows, y, y, jnp.array([2.0]), jnp.array([1, 2]))[0]
    >>> [round(float(error), 3) for error in test.ravel()]
    [0.25, 0.444]
    """
    _check(features, test_features, targets, test_targets)
    require_choice("over", over, ("features", "samples"))
    require_positive("ridges", ridges)
    n, k = features.shape
    most = k if over == "features" else n
    require_known("sizes", sizes, lambda v: (v >= 1) & (v <= most), f"at least 1 and at most {most}")

    def at(size):
        kept = jnp.arange(most) < size
        if over == "features":
            scale = jnp.where(kept, jnp.sqrt(k / size), 0).astype(features.dtype)[None]
            parts = features * scale, test_features * scale, targets
        else:
            parts = features * kept[:, None], test_features, targets * kept.reshape(n, *[1] * (targets.ndim - 1))
        test, train = rf_path_errors(*parts, test_targets, ridges, float64=float64)
        return test, train if over == "features" else train * (n / size).astype(train.dtype)

    return jax.lax.map(at, jnp.asarray(sizes))


def krr_learning_curve(
    kernel: Float[Array, "n n"],
    cross: Float[Array, "m n"],
    targets: Float[Array, "n *c"],
    test_targets: Float[Array, "m *c"],
    ridge: Float[ArrayLike, ""] = 0.0,
    *,
    sizes: tuple[int, ...],
) -> tuple[Float[Array, " s"], Float[Array, " s"]]:
    """kappa = 1 / tr (K + ridge I)^-1 and test error of the first samples, at every size from one factorisation.

    The inverse W of the Cholesky factor is triangular, so that its leading blocks belong to the leading samples:
    tr K_s^-1 is the sum of the first s squared row norms, and predictions are partial sums of (cross W^T)(W y).

    Args:
      kernel: K(x_i, x_j) of the training points in random order, positive definite; float64 at ridge 0.
      cross: K(test point, training point).
      targets: of the training points, any number of outputs.
      test_targets: of the test points.
      ridge: delta, nonnegative.
      sizes: numbers of leading samples, each from 1 to n.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, a size is out of range, the ridge is negative, or the matrix is known and not
        positive definite to rounding; unknown, under a transformation, it gives NaN.

    Cost: n^3 + 2 m n^2, whatever the number of sizes. Memory: O((n + m) n).

    >>> one, y = jnp.eye(2), jnp.ones((2, 1))
    >>> [a.tolist() for a in krr_learning_curve(one, one, y, y, sizes=(1, 2))]
    [[1.0, 0.5], [0.5, 0.0]]
    """
    _check(kernel, cross, targets, test_targets)
    require_array("kernel", kernel, (len(kernel), len(kernel)))
    require_nonnegative("ridge", ridge)
    for size in sizes:
        require_size("sizes", size, 1, len(kernel))
    identity = jnp.eye(len(kernel), dtype=kernel.dtype)
    factor = jnp.linalg.cholesky(kernel + jnp.asarray(ridge, kernel.dtype) * identity)
    require_finite("kernel + ridge I must be positive definite to rounding: its Cholesky factor", factor)
    inverse = solve_triangular(factor, identity, lower=True)
    product = lambda a, b: jnp.einsum("ik,k...->i...", a, b, precision="highest")
    rows, right = product(cross, inverse.T), product(inverse, targets)
    traces = jnp.cumsum(jnp.sum(inverse**2, 1))
    errors = [
        jnp.mean(jnp.sum((product(rows[:, :s], right[:s]) - test_targets).reshape(len(cross), -1) ** 2, 1))
        for s in sizes
    ]
    return 1 / traces[jnp.array(sizes) - 1], jnp.stack(errors)


def _mean_square(rows: Array, coefficients: Array, targets: Array) -> Array:
    squares = (predict_path(rows, coefficients) - targets[None]) ** 2
    return squares.reshape(*squares.shape[:2], -1).sum(2).mean(1)


def _check(rows, test_rows, targets, test_targets) -> None:
    require_array("the training rows", rows, (None, None))
    require_array("the test rows", test_rows, (None, rows.shape[1]))
    require_array("targets", targets, (rows.shape[0], *targets.shape[1:]))
    require_array("test_targets", test_targets, (test_rows.shape[0], *targets.shape[1:]))
