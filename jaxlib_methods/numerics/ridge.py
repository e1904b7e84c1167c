"""Ridge regression on features or on a kernel: one fit, or the whole path of ridges from one eigendecomposition.

    features:  min_c sum_i w_i |y_i - z_i . c|^2 + r |c|^2        c = (Z^T W Z + r I)^-1 Z^T W y    (k unknowns)
    kernel:    f(x) = sum_i k(x, x_i) a_i, norm |f|^2 = a^T K a    a = (K + r W^-1)^-1 y             (n unknowns)

With K = Z Z^T both are the same fit, c = Z^T a: the smaller system is solved. The ridge is on the unnormalised sums.
There is no intercept: append a column of ones, or centre. With leverages h_i, the errors of leaving out one sample and
of generalised cross-validation are

    y_i - f_(-i)(x_i) = (y_i - f(x_i)) / (1 - h_i) = a_i / [(K + r W^-1)^-1]_ii,    GCV = MSE / (1 - sum_i h_i / n)^2.

Golub, Heath and Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter", 1979, section 2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import require, require_array, require_choice, require_finite, require_nonnegative
from jaxlib_methods.numerics.psd import in_float64, inverse_forms, kept, psd_solve, solve_spectrum, spectrum_of

__all__ = ["RidgePath", "kernel_ridge_fit", "kernel_ridge_path", "predict_path", "ridge_fit", "ridge_path"]


class RidgePath(NamedTuple):
    """A fit for every ridge r; `k` is n for a kernel. Means are weighted, and over the targets `t` too.

    Attributes:
      ridges: the ridges.
      coefficients: c or a.
      predictions: f(x_i).
      left_out: y_i minus the prediction of the fit without sample i; infinite where that is not determined (h_i = 1).
      norm: |c|^2, or a^T K a, summed over targets.
      degrees: degrees of freedom, sum_i h_i.
      loo: mean square of `left_out`: choose the ridge that has the least.
      gcv: generalised cross-validation error, infinite where all samples are interpolated by rank alone.
    """

    ridges: Float[Array, " r"]
    coefficients: Float[Array, "r k *t"]
    predictions: Float[Array, "r n *t"]
    left_out: Float[Array, "r n *t"]
    norm: Float[Array, " r"]
    degrees: Float[Array, " r"]
    loo: Float[Array, " r"]
    gcv: Float[Array, " r"]


def ridge_fit(
    z: Float[Array, "n k"],
    y: Float[Array, "n *t"],
    ridge: Float[ArrayLike, ""],
    weights: Float[Array, " n"] | None = None,
    *,
    method: str = "auto",
    solver: str = "auto",
    rcond: float | None = None,
    float64: bool = False,
) -> Float[Array, "k *t"]:
    """Coefficients of ridge regression on features; for features that do not fit, see `normal_equations`.

    Args:
      z: features, one row a sample.
      y: targets.
      ridge: nonnegative; at 0 the least-norm solution.
      weights: nonnegative, one a sample; ones if None.
      method: "primal" solves k equations, "dual" n; "auto" takes the fewer.
      solver: as in `psd_solve`.
      rcond: eigenvalues of the squared features up to rcond times the largest are dropped (truncated SVD); see
        `psd_solve`.
      float64: sum and solve in double precision, and cast back.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, an option is unknown, or a known ridge or weight is negative or a known array
        not finite.

    Cost: 2 n k min(n, k), and the solver's on min(n, k). Rows may be split over devices: "primal" moves only k x k
    sums. Memory: O(n k).

    >>> ridge_fit(jnp.array([[1.0], [1.0]]), jnp.array([1.0, 3.0]), 2.0).tolist()
    [1.0]
    """
    dual = _check_features(z, y, ridge, weights, method)

    def fit(z, y, weights):
        scaled, right = _scale(z, weights), _scale(y.reshape(len(y), -1), weights)
        if dual:
            return _tall(scaled, psd_solve(_square(scaled.T), right, ridge, solver=solver, rcond=rcond))
        return psd_solve(_square(scaled), _tall(scaled, right), ridge, solver=solver, rcond=rcond)

    return in_float64(fit, float64, z, y, weights).reshape(z.shape[1], *y.shape[1:])


def kernel_ridge_fit(
    gram: Float[Array, "n n"],
    y: Float[Array, "n *t"],
    ridge: Float[ArrayLike, ""],
    weights: Float[Array, " n"] | None = None,
    *,
    solver: str = "auto",
    rcond: float | None = None,
    float64: bool = False,
) -> Float[Array, "n *t"]:
    """Dual coefficients of kernel ridge regression; predictions are k(x, x_i) times them.

    Args:
      gram: kernel matrix of the samples, symmetric positive semidefinite.
      y: targets.
      ridge: nonnegative; at 0 the least-norm solution.
      weights: nonnegative, one a sample; ones if None.
      solver: as in `psd_solve`.
      rcond: as in `psd_solve`.
      float64: solve in double precision, and cast back.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, the solver is unknown, or a known ridge or weight is negative or a known array
        not finite.

    Cost and memory: the solver's on n.

    >>> kernel_ridge_fit(jnp.eye(2), jnp.array([2.0, 4.0]), 3.0).tolist()
    [0.5, 1.0]
    """
    _check_kernel(gram, y, ridge, weights)

    def fit(gram, y, weights):
        matrix, right = _scale(_scale(gram, weights).T, weights), _scale(y.reshape(len(y), -1), weights)
        return _scale(psd_solve(matrix, right, ridge, solver=solver, rcond=rcond), weights)

    return in_float64(fit, float64, gram, y, weights).reshape(y.shape)


def ridge_path(
    z: Float[Array, "n k"],
    y: Float[Array, "n *t"],
    ridges: Float[ArrayLike, " r"],
    weights: Float[Array, " n"] | None = None,
    *,
    method: str = "auto",
    rcond: float | None = None,
    float64: bool = False,
) -> RidgePath:
    """Ridge regression on features for many ridges, with leave-one-out errors, from one eigendecomposition.

    Args:
      z: features, one row a sample.
      y: targets.
      ridges: nonnegative, in any order.
      weights: nonnegative, one a sample; ones if None.
      method: as in `ridge_fit`.
      rcond: as in `ridge_fit`.
      float64: sum and solve in double precision, and cast back.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, the method is unknown, or a known ridge or weight is negative or a known array
        not finite.

    Cost: 2 n k m + 10 m^3 + O(r n m t), m = min(n, k). Memory: O(n k + r n t). Derivatives also of the errors, each
    ridge at a cost of 2 m^3 more.

    >>> path = ridge_path(jnp.array([[1.0], [1.0]]), jnp.array([1.0, 3.0]), jnp.array([0.0, 2.0]))
    >>> path.coefficients.tolist(), path.left_out[0].tolist()
    ([[2.0], [1.0]], [-2.0, 2.0])
    """
    dual = _check_features(z, y, ridges, weights, method)

    def fit(z, y, ridges, weights):
        y = y.reshape(len(y), -1)
        scaled, right = _scale(z, weights), _scale(y, weights)
        if dual:
            alpha, errors = _dual(_square(scaled.T), right, ridges, rcond)
            coefficients = jnp.einsum("nk,rnt->rkt", scaled, alpha, precision="highest")
        else:
            matrix = _square(scaled)
            spectrum = spectrum_of(matrix, rcond)
            coefficients = solve_spectrum(matrix, _tall(scaled, right), ridges, spectrum)
            errors = None, inverse_forms(matrix, scaled, ridges, spectrum)
        predictions = predict_path(z, coefficients)
        return _errors(ridges, coefficients, predictions, y, weights, jnp.sum(coefficients**2, (1, 2)), *errors)

    return _shape(in_float64(fit, float64, z, y, ridges, weights), y)


def kernel_ridge_path(
    gram: Float[Array, "n n"],
    y: Float[Array, "n *t"],
    ridges: Float[ArrayLike, " r"],
    weights: Float[Array, " n"] | None = None,
    *,
    rcond: float | None = None,
    float64: bool = False,
) -> RidgePath:
    """Kernel ridge regression for many ridges, with leave-one-out errors, from one eigendecomposition.

    Args:
      gram: kernel matrix of the samples, symmetric positive semidefinite.
      y: targets.
      ridges: nonnegative, in any order.
      weights: nonnegative, one a sample; ones if None.
      rcond: as in `psd_solve`.
      float64: solve in double precision, and cast back.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, or a known ridge or weight is negative or a known array not finite.

    Cost: 10 n^3 + O(r n^2 t). Memory: O(n^2 + r n t). Derivatives also of the errors, each ridge at 2 n^3 more.

    >>> kernel_ridge_path(jnp.eye(2), jnp.array([2.0, 4.0]), jnp.array([1.0])).predictions.tolist()
    [[1.0, 2.0]]
    """
    _check_kernel(gram, y, ridges, weights)

    def fit(gram, y, ridges, weights):
        y = y.reshape(len(y), -1)
        gram = (gram + gram.T) / 2
        alpha, errors = _dual(_scale(_scale(gram, weights).T, weights), _scale(y, weights), ridges, rcond)
        coefficients = alpha if weights is None else alpha * jnp.sqrt(weights)[None, :, None]
        predictions = predict_path(gram, coefficients)
        norm = jnp.sum(coefficients * predictions, (1, 2))
        return _errors(ridges, coefficients, predictions, y, weights, norm, *errors)

    return _shape(in_float64(fit, float64, gram, y, ridges, weights), y)


def predict_path(z: Float[Array, "m k"], coefficients: Float[Array, "r k *t"]) -> Float[Array, "r m *t"]:
    """Predictions of every fit of a path on new features, or on the kernel k(new, samples): z c for each ridge.

    >>> predict_path(jnp.ones((1, 2)), jnp.array([[1.0, 2.0], [0.0, 1.0]])).tolist()
    [[3.0], [1.0]]
    """
    return jnp.einsum("mk,rk...->rm...", z, coefficients, precision="highest")


def _dual(matrix, right, ridges, rcond):
    """Solutions of (matrix + r I) a = right, and (a / diagonal of the inverse, leverages)."""
    spectrum = spectrum_of(matrix, rcond)
    alpha = solve_spectrum(matrix, right, ridges, spectrum)
    diagonal = inverse_forms(matrix, None, ridges, spectrum)
    keep = jax.vmap(lambda ridge: kept(spectrum, ridge))(ridges)
    inside = jnp.einsum("nk,rk->rn", spectrum.vectors**2, keep.astype(matrix.dtype), precision="highest")
    whole = keep.all(1)[:, None] & (diagonal > 0)
    return alpha, ((alpha, diagonal, whole), inside - ridges[:, None] * diagonal)


def _errors(ridges, coefficients, predictions, y, weights, norm, dual, leverage):
    """Leave-one-out and cross-validation errors; from the dual solution where it has full rank: nothing cancels."""
    root = jnp.ones(len(y), y.dtype) if weights is None else jnp.sqrt(weights)
    present, column = root > 0, root[None, :, None]
    mean = lambda a: jnp.sum(jnp.where(present[None], a, 0), 1) / present.sum()
    residual = y[None] - predictions
    left_out = _divide(residual, (1 - leverage)[:, :, None])
    spread = _divide(jnp.sum((column * residual) ** 2, (1, 2)), mean(1 - leverage) ** 2)
    if dual is not None:
        alpha, diagonal, whole = dual
        direct = alpha / (jnp.where(whole & present[None], diagonal, 1) * jnp.where(present, root, 1)[None])[:, :, None]
        left_out = jnp.where((whole & present[None])[:, :, None], direct, left_out)
        direct = jnp.sum(alpha**2, (1, 2)) / mean(jnp.where(whole, diagonal, 1)) ** 2
        spread = jnp.where(whole.all(1), direct, spread)
    total = jnp.sum(root**2) * y.shape[1]
    loo = jnp.sum(jnp.where(present[None, :, None], column * left_out, 0) ** 2, (1, 2)) / total
    return RidgePath(ridges, coefficients, predictions, left_out, norm, leverage.sum(1), loo, spread / total)


def _divide(a, room):
    """a / room, infinite where rounding leaves no room."""
    enough = room > 100 * jnp.finfo(room.dtype).eps
    return jnp.where(enough, a / jnp.where(enough, room, 1), jnp.inf)


def _scale(a, weights):
    """Rows times the roots of their weights."""
    return a if weights is None else a * jnp.sqrt(weights)[:, None]


def _square(z):
    return jnp.einsum("ni,nj->ij", z, z, precision="highest")


def _tall(z, y):
    return jnp.einsum("nk,nt->kt", z, y, precision="highest")


def _shape(path, y):
    """Gives the path the targets' own trailing shape."""
    unflatten = lambda a: a.reshape(*a.shape[:2], *y.shape[1:])
    return path._replace(
        coefficients=unflatten(path.coefficients),
        predictions=unflatten(path.predictions),
        left_out=unflatten(path.left_out),
    )


def _check_features(z, y, ridge, weights, method) -> bool:
    """Checks, and says whether the dual system is to be solved."""
    require_array("z", z, (None, None))
    require(min(z.shape) > 0, "z", f"shape {z.shape}", "a matrix with at least one row and column")
    require_choice("method", method, ("auto", "primal", "dual"))
    require_finite("z", z)
    _check_targets(y, ridge, weights, len(z))
    return method == "dual" or (method == "auto" and z.shape[0] <= z.shape[1])


def _check_kernel(gram, y, ridge, weights):
    require_array("gram", gram, (None, None))
    require_array("gram", gram, (len(gram), len(gram)))
    require(len(gram) > 0, "gram", f"shape {gram.shape}", "a matrix with at least one row")
    require_finite("gram", gram)
    _check_targets(y, ridge, weights, len(gram))


def _check_targets(y, ridge, weights, count):
    require_array("y", y, (count, *y.shape[1:]))
    require_finite("y", y)
    require_nonnegative("ridge", ridge)
    if weights is not None:
        require_array("weights", weights, (count,))
        require_nonnegative("weights", weights)
