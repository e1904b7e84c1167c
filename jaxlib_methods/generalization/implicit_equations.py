"""The implicit equations of the eigenframework as one convex equation, solved at the points of a grid.

With z(gamma) = sum_i lam_i / (lam_i + gamma), elimination of kappa from

    n = z + delta / kappa,    k = z + k kappa / gamma

leaves one equation in gamma, which we solve in the form

    Phi(gamma) = gamma (min(n, k) - z(gamma)) - gamma a(delta / gamma) = 0,    a(d) (|1 - n/k| + a(d) / k) = d.

gamma (min(n, k) - z) is convex, and gamma a(delta / gamma) is concave, the perspective of a square root; so Phi is
convex, and Newton's steps from the right descend to the root without a bracket, also at delta = 0 and at n = k.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, ArrayLike

from jaxlib_methods.generalization.eigenstructure import Eigenstructure
from jaxlib_methods.numerics.checks import require_known, require_nonnegative, require_size
from jaxlib_methods.numerics.padding import pad_rows

MAX_SWEEPS = 500  # reached only if rounding noise outweighs the spectrum; ordinary spectra take 5 to 15


class Solution(NamedTuple):
    """gamma, slack = delta / kappa = n - z, and shrink = kappa / gamma = 1 - z / k."""

    gamma: Array
    slack: Array
    shrink: Array


def grid_points(eigen: Eigenstructure, n: ArrayLike, k: ArrayLike, ridge: ArrayLike) -> tuple[Array, Array, Array]:
    """n, k and the ridge, checked, in the dtype of the eigenvalues."""
    require_known("n", n, lambda v: (v >= 1) & (v < math.inf), "at least 1 and finite")
    require_known("k", k, lambda v: v >= 1, "at least 1, or infinite")
    require_nonnegative("ridge", ridge)
    n, k, ridge = (jnp.asarray(value, eigen.lam.dtype) for value in (n, k, ridge))
    return n, k, ridge


def over_grid(point: Callable, eigen: Eigenstructure, scalars: tuple, block: int, mesh: Mesh | None, axis: str):
    """Maps `point(eigen, join, *scalars)` over the broadcast scalars; `join` adds what the devices summed."""
    require_size("block", block)
    shape = jnp.broadcast_shapes(*map(jnp.shape, scalars))
    size = math.prod(shape)
    flat = tuple(jnp.broadcast_to(scalar, shape).reshape(size) for scalar in scalars)

    def local(eigen, flat, join=lambda total: total):
        one = lambda scalars: point(eigen, join, *scalars)
        return jax.lax.map(one, flat, batch_size=block) if size > block else jax.vmap(one)(flat)

    if mesh is None:
        result = local(eigen, flat)
    else:
        eigen = jax.tree.map(lambda leaf: pad_rows(leaf, mesh.shape[axis])[0], eigen)
        sharded = functools.partial(local, join=lambda total: jax.lax.psum(total, axis))
        result = jax.shard_map(sharded, mesh=mesh, in_specs=(P(axis), P()), out_specs=P())(eigen, flat)
    return jax.tree.map(lambda leaf: leaf.reshape(shape), result)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def solve_gamma(join: Callable, eigen: Eigenstructure, n: Array, k: Array, ridge: Array) -> Solution:
    """The root of Phi."""
    lam, rho = eigen.lam, 1 / k
    least = jnp.minimum(n, k)
    gap = jnp.where(jnp.isinf(k), 1, jnp.abs(k - n) * rho)
    modes = mode_sum(join, eigen, (lam > 0).astype(lam.dtype))

    def small_slack(gamma):
        """a and |1 - n/k| + 2 a/k."""
        per = ridge / gamma
        root = jnp.sqrt(gap**2 + 4 * rho * per)
        return jnp.where(ridge > 0, 2 * per / (gap + root), 0), root

    def ratio(gamma):
        """Phi over the rest of gamma Phi', in which Newton's step is gamma / (1 + ratio)."""
        z, slope = spectral_sums(join, eigen, gamma)
        a, root = small_slack(gamma)
        bend = jnp.where(ridge > 0, ridge / (gamma * root), 0)
        return (least - z - a) / (gamma * slope + bend)

    def sweep(carry):
        sweeps, gamma, _ = carry
        step = ratio(gamma)
        return sweeps + 1, gamma / (1 + jnp.maximum(step, -0.5)), step

    tolerance = math.sqrt(jnp.finfo(lam.dtype).eps) / 4  # the step that is this small leaves an error of its square
    unfinished = lambda carry: (carry[0] < MAX_SWEEPS) & (carry[2] > tolerance)
    interpolates = (ridge == 0) & (modes <= least)  # gamma = 0
    start = 2 * mode_sum(join, eigen, lam) / least + 4 * ridge / n
    first = (0, jnp.where(interpolates, 1, start), jnp.where(interpolates, 0, jnp.inf).astype(lam.dtype))
    gamma = jax.lax.while_loop(unfinished, sweep, first)[1]
    a, root = small_slack(gamma)
    large = (gap + root) / 2
    slack, shrink = jnp.where(n <= k, a, large * k), jnp.where(n <= k, large, rho * a)
    choose = lambda exact, iterated: jnp.where(interpolates, exact, iterated)
    return Solution(choose(0, gamma), choose(n - modes, slack), choose(1 - rho * modes, shrink))


@solve_gamma.defjvp
def _solve_jvp(join, primals, tangents):
    """Implicit function theorem for gamma (n - z) (1 - rho z) = ridge, with rho = 1 / k."""
    (eigen, _, k, _), (eigen_dot, n_dot, k_dot, ridge_dot) = primals, tangents
    rho, rho_dot = 1 / k, -k_dot / k**2
    gamma, slack, shrink = solution = solve_gamma(join, *primals)
    spectrum, spectrum_dot = eigen._replace(v2=None), eigen_dot._replace(v2=None)
    z, z_dot = jax.jvp(lambda spectrum: spectral_sums(join, spectrum, gamma)[0], (spectrum,), (spectrum_dot,))
    slope = spectral_sums(join, eigen, gamma)[1]
    bend = slack * shrink + (rho * slack + shrink) * gamma * slope
    gamma_dot = (
        ridge_dot - gamma * shrink * n_dot + gamma * slack * z * rho_dot + gamma * (shrink + rho * slack) * z_dot
    )
    gamma_dot = gamma_dot / bend
    z_dot = z_dot - slope * gamma_dot
    return solution, Solution(gamma_dot, n_dot - z_dot, -rho * z_dot - z * rho_dot)


def spectral_sums(join: Callable, eigen: Eigenstructure, gamma: Array) -> tuple[Array, Array]:
    """z and -dz/dgamma."""
    inverse = 1 / (jnp.where(eigen.lam > 0, eigen.lam, 1) + gamma)
    weights = eigen.lam if eigen.multiplicity is None else eigen.lam * eigen.multiplicity
    dot = functools.partial(jnp.dot, precision="highest")
    return join(dot(inverse, weights)), join(dot(inverse**2, weights))


def mode_sum(join: Callable, eigen: Eigenstructure, values: Array) -> Array:
    """Sum over modes of one value an eigenspace."""
    return join(jnp.sum(values if eigen.multiplicity is None else values * eigen.multiplicity))
