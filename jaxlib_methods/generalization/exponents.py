"""The two exponents of a power-law task, measured: alpha from kernel matrices alone, beta from a learning curve.

    1 / tr K_n^-1 = kappa ~ n^-alpha,    ridgeless test error ~ n^-(beta - 1).

Eigenvalues and coefficients measured on a pool bend away from their laws; these two curves do not.

Simon, Karkada, Ghosh and Belkin, "More is Better: when Infinite Overparameterization is Optimal and Overfitting is
Obligatory", 2023, section 6.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, ArrayLike, Float, Key

from jaxlib_methods.numerics.checks import require, require_array, require_finite, require_nonnegative, require_size

__all__ = ["Exponents", "fit_exponents", "trace_kappa"]


class Exponents(NamedTuple):
    """Fitted exponents, each with its bootstrap interval (low, high)."""

    alpha: Float[Array, ""]
    beta: Float[Array, ""]
    alpha_interval: Float[Array, "2"]
    beta_interval: Float[Array, "2"]


def trace_kappa(kernel: Float[Array, "n n"], ridge: Float[ArrayLike, ""] = 0.0) -> Float[Array, ""]:
    """Estimates kappa at n samples from one kernel matrix: 1 / tr (K + ridge I)^-1.

    Pitfalls: the trace is ruled by the smallest eigenvalues, so at ridge 0 the matrix must be computed and given in
    float64 as soon as its condition exceeds 1e6, and duplicate inputs make it singular. The trace is a sum of squares
    of the inverse Cholesky factor: what is not positive definite fails instead of giving a wrong number.

    Args:
      kernel: symmetric positive definite matrix of the n samples.
      ridge: added to the diagonal.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, the ridge is negative, or the matrix is known and not positive definite to
        rounding; unknown, under a transformation, it gives NaN.

    Cost: (2/3) n^3.

    >>> round(float(trace_kappa(jnp.diag(jnp.array([1.0, 2.0])))), 4)
    0.6667
    """
    require_array("kernel", kernel, (None, None))
    require_array("kernel", kernel, (len(kernel), len(kernel)))
    require_nonnegative("ridge", ridge)
    identity = jnp.eye(len(kernel), dtype=kernel.dtype)
    factor = jnp.linalg.cholesky(kernel + jnp.asarray(ridge, kernel.dtype) * identity)
    require_finite("kernel + ridge I must be positive definite to rounding: its Cholesky factor", factor)
    return 1 / jnp.sum(solve_triangular(factor, identity, lower=True) ** 2)


def fit_exponents(
    key: Key[Array, ""],
    sizes: Float[ArrayLike, " s"],
    kappas: Float[Array, "*t s"],
    errors: Float[Array, "*t s"],
    *,
    resamples: int = 1000,
    level: float = 0.9,
) -> Exponents:
    """Least squares of log kappa and log error on log n, with percentile intervals from resampled points.

    Args:
      key: draws the resamples.
      sizes: numbers of samples, at least three different ones; leave out those below about 100.
      kappas: `trace_kappa` at these sizes, one row a trial.
      errors: ridgeless test errors at these sizes, one row a trial.
      resamples: bootstrap resamples of the points.
      level: probability of the intervals, in (0, 1).

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, there are less than three sizes, or `level` is out of range.

    >>> n = jnp.array([100.0, 200.0, 400.0])
    >>> fit = fit_exponents(jax.random.key(0), n, n**-1.5, n**-0.2)
    >>> round(float(fit.alpha), 3), round(float(fit.beta), 3)
    (1.5, 1.2)
    """
    require_array("sizes", sizes, (None,))
    count = np.shape(sizes)[0]
    require(count >= 3, "sizes", f"{count} entries", "at least three numbers of samples")
    require_array("kappas", kappas, (*kappas.shape[:-1], count))
    require_array("errors", errors, (*errors.shape[:-1], count))
    require_size("resamples", resamples)
    require(0 < level < 1, "level", level, "above 0 and below 1")
    keys = jax.random.split(key)
    alpha, alpha_interval = _slope(keys[0], sizes, kappas, resamples, level)
    beta, beta_interval = _slope(keys[1], sizes, errors, resamples, level)
    return Exponents(-alpha, 1 - beta, -alpha_interval[::-1], 1 - beta_interval[::-1])


def _slope(key, sizes, values, resamples, level) -> tuple[Array, Array]:
    y = jnp.log(values).ravel()
    x = jnp.broadcast_to(jnp.log(jnp.asarray(sizes, y.dtype)), (y.size // len(sizes), len(sizes))).ravel()

    def slope(x, y):
        offset = x - x.mean()
        spread = jnp.sum(offset**2)
        return jnp.where(spread > 0, jnp.sum(offset * y) / jnp.where(spread > 0, spread, 1), jnp.nan)

    drawn = jax.random.randint(key, (resamples, y.size), 0, y.size)
    slopes = jax.vmap(lambda rows: slope(x[rows], y[rows]))(drawn)
    tail = (1 - level) / 2
    return slope(x, y), jnp.nanquantile(slopes, jnp.array([tail, 1 - tail], y.dtype))
