"""The ridge of least predicted test error, zero included.

The ridge is an explicit function of gamma, delta = gamma (n - z(gamma)) (1 - z(gamma) / k), so the search runs over
gamma from its ridgeless value up and solves no equation: a coarse grid in (log gamma / gamma_0)^(1/2), on which the
error is smooth down to delta = 0, then golden sections, then one Newton step in delta.

Simon, Karkada, Ghosh and Belkin 2023, theorem 1: the least error falls with n and with k.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.generalization.eigenframework import errors_at
from jaxlib_methods.generalization.eigenstructure import Eigenstructure, check_eigenstructure
from jaxlib_methods.generalization.implicit_equations import (
    Solution,
    grid_points,
    mode_sum,
    over_grid,
    solve_gamma,
    spectral_sums,
)
from jaxlib_methods.numerics.checks import require_nonnegative, require_size

__all__ = ["optimal_ridge"]

GOLDEN = (math.sqrt(5) - 1) / 2


def optimal_ridge(
    eigen: Eigenstructure,
    n: ArrayLike,
    k: ArrayLike,
    noise: ArrayLike = 0.0,
    *,
    candidates: int = 64,
    block: int = 64,
    mesh: Mesh | None = None,
    axis: str = "data",
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The optimal ridge and its test error at every point of a grid; ridge 0 where interpolation is best.

    Args:
      eigen: eigenvalues and target power; their dtype is that of the work.
      n: samples, at least 1; n, k and noise broadcast against each other.
      k: features, at least 1; infinite for kernel ridge regression.
      noise: variance of the labels about the target.
      candidates: points of the coarse grid. The error may have several minima; those narrower than the grid are missed.
      block: points worked on together. Memory: O(block m).
      mesh: devices; the eigenvalues are split over `axis`, two to four sums a sweep cross devices.
      axis: mesh axis of the eigenvalues.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if lengths differ, an entry is negative or not finite, or n, k or noise is out of range.

    Cost: candidates + 60 sweeps over the eigenvalues a point. Both results have first derivatives. Without any signal
    in reach (v2 = 0) the best ridge is infinite; a finite one, at which nothing is learned, is returned.

    >>> ridge, test = optimal_ridge(Eigenstructure(jnp.ones(4), jnp.ones(4)), n=2, k=jnp.inf, noise=1.0)
    >>> round(float(ridge), 2), round(float(test), 2)  # isotropic: ridge = noise / v^2
    (1.0, 3.56)
    """
    eigen = check_eigenstructure(eigen)
    require_nonnegative("noise", noise)
    require_size("candidates", candidates, 3)
    n, k, _ = grid_points(eigen, n, k, 0.0)
    noise = jnp.asarray(noise, eigen.lam.dtype)

    def point(eigen, join, n, k, noise):
        def at(gamma):
            """Test error and ridge."""
            z = spectral_sums(join, eigen, gamma)[0]
            solution = Solution(gamma, jnp.maximum(n - z, 0), jnp.maximum(1 - z / k, 0))
            return errors_at(join, eigen, solution, n, k, noise)[0], gamma * solution.slack * solution.shrink

        ridgeless = solve_gamma(join, eigen, n, k, jnp.zeros_like(n))
        gamma = jax.lax.stop_gradient(_search(at, ridgeless.gamma, mode_sum(join, eigen, eigen.lam), candidates))
        slope = lambda gamma: jax.jvp(lambda g: at(g)[0], (gamma,), (jnp.ones_like(gamma),))[1]
        rise, curvature = jax.jvp(slope, (gamma,), (jnp.ones_like(gamma),))
        step = rise / jax.lax.stop_gradient(curvature)
        test, ridge = at(jnp.where((curvature > 0) & (jnp.abs(step) < 0.1 * gamma), gamma - step, gamma))
        test_without = errors_at(join, eigen, ridgeless, n, k, noise)[0]
        better = test < test_without
        return jnp.where(better, ridge, 0), jnp.where(better, test, test_without)

    return over_grid(point, eigen, (n, k, noise), block, mesh, axis)


def _search(at: Callable, ridgeless: Array, trace: Array, candidates: int) -> Array:
    """The gamma of least error by grid and golden sections in u, where gamma = base exp(u^2)."""
    dtype = ridgeless.dtype
    base = jnp.maximum(ridgeless, jnp.finfo(dtype).eps * trace)
    last = jnp.sqrt(jnp.log(jnp.maximum(1e6 * trace / base, 2)))
    gamma = lambda u: base * jnp.exp(u**2)
    error = lambda u: at(gamma(u))[0]
    grid = last * jnp.arange(candidates, dtype=dtype) / (candidates - 1)
    best = jnp.nanargmin(jax.lax.map(error, grid))
    ends = grid[jnp.maximum(best - 1, 0)], grid[jnp.minimum(best + 1, candidates - 1)]

    def section(_, ends):
        low, high = ends
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        worse = error(left) > error(right)
        return jnp.where(worse, left, low), jnp.where(worse, high, right)

    low, high = jax.lax.fori_loop(0, 40 if dtype == jnp.float64 else 20, section, ends)
    return gamma((low + high) / 2)
