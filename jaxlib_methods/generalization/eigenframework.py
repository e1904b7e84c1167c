"""Train and test error of random-feature and kernel ridge regression from the kernel's eigenvalues alone.

n samples, k random features (infinity: the kernel itself), ridge delta on the kernel matrix without a factor n, label
noise of variance s. With L_i = lam_i / (lam_i + gamma), z = sum L_i, q = sum L_i^2, kappa and gamma solve

    n = z + delta / kappa,    k = z + k kappa / gamma.

and, with w = z - q, b = kappa / gamma and D = (delta / kappa) b + (delta / (k kappa) + b) w, the errors are

    E_test  = (n / D) [(b + w / k) (sum_i (1 - L_i)^2 v_i^2 + s) + (w / k) sum_i L_i (1 - L_i) v_i^2],
    E_train = (delta / (n kappa))^2 E_test,

the published formula arranged so that no two near numbers are subtracted.

Simon, Karkada, Ghosh and Belkin, "More is Better: when Infinite Overparameterization is Optimal and Overfitting is
Obligatory", 2023, section 4.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.generalization.eigenstructure import Eigenstructure, check_eigenstructure
from jaxlib_methods.generalization.implicit_equations import (
    Solution,
    grid_points,
    mode_sum,
    over_grid,
    solve_gamma,
    spectral_sums,
)
from jaxlib_methods.numerics.checks import require_nonnegative

__all__ = ["FrameworkState", "krr_errors", "learnabilities", "rf_errors", "rf_solve"]


class FrameworkState(NamedTuple):
    """Solution of the implicit equations; `slack` is delta / kappa = n - z, also where kappa = 0."""

    gamma: Float[Array, "..."]
    kappa: Float[Array, "..."]
    z: Float[Array, "..."]
    q: Float[Array, "..."]
    slack: Float[Array, "..."]


def rf_solve(
    eigen: Eigenstructure,
    n: ArrayLike,
    k: ArrayLike,
    ridge: ArrayLike,
    *,
    block: int = 64,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> FrameworkState:
    """Solves the implicit equations at every point of a grid.

    Args:
      eigen: eigenvalues and target power; their dtype is that of the work.
      n: samples, at least 1; n, k and ridge broadcast against each other and need not be whole.
      k: features, at least 1; infinite for kernel ridge regression.
      ridge: delta, nonnegative, on the kernel matrix: K + delta I. At 0 the limit from above is given.
      block: points solved together. Memory: O(block m).
      mesh: devices; the eigenvalues are split over `axis` (any m: padded), two sums a sweep cross devices.
      axis: mesh axis of the eigenvalues.

    Returns:
      The state, each entry of the broadcast shape.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if lengths differ, an entry is negative or not finite, or n, k or ridge is out of range.

    Cost: 5 to 15 sweeps over the eigenvalues a point. Derivatives of every order follow from the implicit function
    theorem. Relative errors: about 1e-14 in float64, 1e-5 in float32, where sums over more than 1e5 modes lose more.

    >>> state = rf_solve(Eigenstructure(jnp.ones(4), jnp.ones(4)), n=2, k=jnp.inf, ridge=1.0)  # 2 = 4/(1+g) + 1/g
    >>> round(float(state.gamma), 4)
    1.7808
    """
    eigen = check_eigenstructure(eigen)

    def point(eigen, join, n, k, ridge):
        gamma, slack, shrink = solve_gamma(join, eigen, n, k, ridge)
        learned = learned_share(eigen.lam, gamma)
        z, q = mode_sum(join, eigen, learned), mode_sum(join, eigen, learned**2)
        return FrameworkState(gamma, gamma * shrink, z, q, slack)

    return over_grid(point, eigen, grid_points(eigen, n, k, ridge), block, mesh, axis)


def rf_errors(
    eigen: Eigenstructure,
    n: ArrayLike,
    k: ArrayLike,
    ridge: ArrayLike,
    noise: ArrayLike = 0.0,
    *,
    block: int = 64,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Predicted mean squared errors (test, train) of random-feature ridge regression at every point of a grid.

    Both count the label noise: the test labels are noisy too, and without samples the error is sum v_i^2 + noise. At
    ridge 0 and n = k <= m the test error diverges: it is returned as inf, with the train error's limit 0.

    Args:
      eigen: eigenvalues and target power; their dtype is that of the work.
      n: samples, at least 1; n, k, ridge and noise broadcast against each other and need not be whole.
      k: features, at least 1; infinite for kernel ridge regression.
      ridge: delta, nonnegative, on the kernel matrix: K + delta I.
      noise: variance of the labels about the target, summed over outputs.
      block: points solved together. Memory: O(block m).
      mesh: devices; the eigenvalues are split over `axis` (any m: padded), two sums a sweep cross devices.
      axis: mesh axis of the eigenvalues.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if lengths differ, an entry is negative or not finite, or n, k, ridge or noise is out of range.

    Cost and accuracy as `rf_solve`. Derivatives with respect to everything, not finite at the divergence.

    >>> test, train = rf_errors(Eigenstructure(jnp.ones(4), jnp.ones(4)), n=2, k=jnp.inf, ridge=jnp.array([0.0, 1.0]))
    >>> [round(float(e), 3) for e in (*test, *train)]
    [2.0, 2.213, 0.0, 0.174]
    """
    eigen = check_eigenstructure(eigen)
    require_nonnegative("noise", noise)

    def point(eigen, join, n, k, ridge, noise):
        return errors_at(join, eigen, solve_gamma(join, eigen, n, k, ridge), n, k, noise)

    points = grid_points(eigen, n, k, ridge)
    return over_grid(point, eigen, (*points, jnp.asarray(noise, eigen.lam.dtype)), block, mesh, axis)


def krr_errors(
    eigen: Eigenstructure,
    n: ArrayLike,
    ridge: ArrayLike,
    noise: ArrayLike = 0.0,
    *,
    block: int = 64,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Predicted mean squared errors (test, train) of kernel ridge regression. Args and errors as `rf_errors`.

    >>> [round(float(e), 3) for e in krr_errors(Eigenstructure(jnp.ones(4), jnp.ones(4)), 2, 1.0)]
    [2.213, 0.174]
    """
    return rf_errors(eigen, n, jnp.inf, ridge, noise, block=block, mesh=mesh, axis=axis)


def learnabilities(eigen: Eigenstructure, n: ArrayLike, k: ArrayLike, ridge: ArrayLike) -> Float[Array, "... m"]:
    """The learned share of each mode, L_i = lam_i / (lam_i + gamma): the mean prediction is sum_i L_i v_i phi_i.

    Over all modes they sum to n - delta / kappa. Args and errors as `rf_solve`; the modes come last.

    >>> learnabilities(Eigenstructure(jnp.ones(4), jnp.ones(4)), 2, jnp.inf, 0.0).round(3).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    lam = check_eigenstructure(eigen).lam
    gamma = rf_solve(eigen, n, k, ridge).gamma[..., None]
    return learned_share(lam.reshape((1,) * (gamma.ndim - 1) + lam.shape), gamma)


def errors_at(
    join: Callable, eigen: Eigenstructure, solution: Solution, n: Array, k: Array, noise: Array
) -> tuple[Array, Array]:
    """Test and train error from a solution of the implicit equations."""
    gamma, slack, shrink = solution
    rho = 1 / k
    forgotten = jnp.where(eigen.lam > 0, gamma / (jnp.where(eigen.lam > 0, eigen.lam, 1) + gamma), 1)
    w = gamma * spectral_sums(join, eigen, gamma)[1]
    bias = join(jnp.sum(forgotten**2 * eigen.v2))
    spread = join(jnp.sum(forgotten * learned_share(eigen.lam, gamma) * eigen.v2))
    error = (shrink + rho * w) * (bias + noise) + rho * w * spread
    bend = slack * shrink + (rho * slack + shrink) * w
    least_squares = jnp.where(slack > 0, n * noise / jnp.where(slack > 0, slack, 1), jnp.inf)
    limit = jnp.where(
        noise > 0, least_squares, 0
    )  # where error / bend is 0 / 0: as many features as modes, or no noise
    test = jnp.where(error > 0, n * error / jnp.where(error > 0, bend, 1), limit)
    return test, jnp.where(slack > 0, (slack / n) ** 2 * test, 0)


def learned_share(lam: Array, gamma: Array) -> Array:
    """L_i, 0 where the eigenvalue is 0."""
    return lam / (jnp.where(lam > 0, lam, 1) + gamma)
