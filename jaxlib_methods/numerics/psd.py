"""Systems (A + r I) x = b with a positive semidefinite A: one ridge by Cholesky, many from one eigendecomposition.

    A = V diag(s) V^T,    (A + r I)^-1 = V diag(phi_r(s)) V^T,    phi_r(s) = 1 / (s + r), or 0 on dropped directions.

At r = 0, and at ridges lost in the rounding of A, directions with s <= rcond max(s) are dropped, which gives the
pseudoinverse: the least-norm solution, never NaN. Derivatives come from

    d x = (A + r I)^-1 (d b - d A x - d r x),

so that equal eigenvalues do no harm.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.numerics.checks import (
    require_array,
    require_choice,
    require_finite,
    require_nonnegative,
    require_positive,
)

__all__ = ["in_float64", "psd_solve", "psd_solve_path"]

Result = TypeVar("Result")


def psd_solve(
    a: Float[Array, "n n"],
    b: Float[Array, "n *t"],
    ridge: Float[ArrayLike, ""],
    *,
    solver: str = "auto",
    rcond: float | None = None,
    float64: bool = False,
) -> Float[Array, "n *t"]:
    """Solves (A + ridge I) x = b for a symmetric positive semidefinite A.

    Args:
      a: A; only its symmetric part counts.
      b: right-hand sides.
      ridge: nonnegative; at 0 the least-norm least-squares solution is given.
      solver: "cholesky", for which the ridge must be large enough against the rounding of A, else NaN; "eigh", which
        takes any ridge; "auto" factorises by Cholesky and goes over to the eigendecomposition where a squared pivot is
        below 4 rounding units of the largest diagonal entry, as for a singular A at ridge 0 (under `vmap` both are
        computed).
      rcond: eigenvalues up to rcond times the largest are dropped, at any ridge, which needs "eigh". If None, only at
        ridges up to the rounding unit times the largest eigenvalue, with rcond = 4 sqrt(n) rounding units.
      float64: compute in double precision, and cast back.

    Returns:
      x, in float32 at least. Derivatives take the dropped directions as fixed.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, the solver is unknown or cannot drop directions, or a known ridge is negative,
        or a known array not finite.

    Cost: n^3 / 3 by Cholesky, about 10 n^3 by eigendecomposition. Memory: O(n^2).

    >>> psd_solve(jnp.diag(jnp.array([3.0, 0.0])), jnp.array([3.0, 1.0]), 0.0).tolist()
    [1.0, 0.0]
    """
    _check(a, b, ridge, rcond, solver)
    if solver == "auto":
        solver = "guarded" if rcond is None else "eigh"
    shape, by = b.shape, {"cholesky": _by_cholesky, "guarded": _by_guarded_cholesky, "eigh": _by_eigh}[solver]

    def solve(a, b, ridge):
        a = (a + a.T) / 2
        inverse = by(*jax.lax.stop_gradient((a, ridge)), rcond)
        return _implicit(a, b.reshape(len(b), -1), ridge, inverse).reshape(shape)

    return in_float64(solve, float64, a, b, ridge)


def psd_solve_path(
    a: Float[Array, "n n"],
    b: Float[Array, "n *t"],
    ridges: Float[ArrayLike, " r"],
    *,
    rcond: float | None = None,
    float64: bool = False,
) -> Float[Array, "r n *t"]:
    """The solutions of `psd_solve` for many ridges, from one eigendecomposition: each costs O(n^2).

    Args:
      a: A.
      b: right-hand sides.
      ridges: nonnegative, in any order.
      rcond: as in `psd_solve`.
      float64: compute in double precision, and cast back.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, or a known ridge is negative or a known array not finite.

    >>> psd_solve_path(jnp.eye(1), jnp.ones(1), jnp.array([0.0, 1.0])).tolist()
    [[1.0], [0.5]]
    """
    _check(a, b, ridges, rcond)
    shape = b.shape

    def solve(a, b, ridges):
        a = (a + a.T) / 2
        flat = solve_spectrum(a, b.reshape(len(b), -1), ridges, spectrum_of(a, rcond))
        return flat.reshape(-1, *shape)

    return in_float64(solve, float64, a, b, ridges)


def in_float64(function: Callable[..., Result], enabled: bool, *arrays: ArrayLike | None) -> Result:
    """Calls a function on its arrays in double precision and casts what it gives back to their own dtype.

    Their own is the widest among their dtypes and float32. Without `enabled` they are only brought to that.

    Args:
      function: maps arrays to a pytree of floating arrays.
      enabled: whether to use double precision.
      *arrays: what it is called on; scalars follow the others, None stays.

    >>> in_float64(lambda x: x + 1e-12 - x, True, jnp.ones(())).dtype
    dtype('float32')
    """
    dtypes = (jnp.result_type(a) for a in jax.tree.leaves(arrays) if jnp.ndim(a))
    dtype = functools.reduce(jnp.promote_types, dtypes, jnp.float32)
    cast = lambda tree, dtype: jax.tree.map(lambda a: jnp.asarray(a).astype(dtype), tree)
    if not enabled:
        return function(*cast(arrays, dtype))
    with jax.enable_x64(True):
        return cast(function(*cast(arrays, jnp.float64)), dtype)


class Spectrum(NamedTuple):
    """Eigenvalues, none below zero, and eigenvectors; those up to `cut` are dropped at ridges up to `small_ridge`."""

    values: Float[Array, " n"]
    vectors: Float[Array, "n n"]
    cut: Float[Array, ""]
    small_ridge: Float[Array, ""]


def spectrum_of(a: Array, rcond: float | None) -> Spectrum:
    """Eigendecomposition without derivatives; the rules of this module do not need them."""
    values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(a))
    values, unit = jnp.maximum(values, 0), jnp.finfo(a.dtype).eps
    if rcond is None:
        return Spectrum(values, vectors, 4 * math.sqrt(len(a)) * unit * values[-1], unit * values[-1])
    return Spectrum(values, vectors, jnp.asarray(rcond, a.dtype) * values[-1], jnp.full((), jnp.inf, a.dtype))


def kept(spectrum: Spectrum, ridge: Array) -> Array:
    """Which directions are not dropped at this ridge."""
    return (spectrum.values > spectrum.cut) | (ridge > spectrum.small_ridge)


def inverse_values(spectrum: Spectrum, ridge: Array) -> Array:
    """phi_r(s), from 1 / (s + r) and the dropped directions."""
    keep = kept(spectrum, ridge)
    return jnp.where(keep, 1 / jnp.where(keep, spectrum.values + ridge, 1), 0)


def solve_spectrum(a: Array, b: Array, ridges: Array, spectrum: Spectrum) -> Array:
    """(A + r I)^-1 b for all ridges, (r, n, t)."""

    def solve(ridge):
        phi = inverse_values(spectrum, jax.lax.stop_gradient(ridge))
        return _implicit(a, b, ridge, lambda rhs: _rotate(spectrum.vectors, phi, rhs))

    return jax.vmap(solve)(ridges)


@jax.custom_jvp
def inverse_forms(a: Array, z: Array | None, ridges: Array, spectrum: Spectrum) -> Array:
    """z_i^T (A + r I)^-1 z_i for all ridges and rows, (r, m); rows of the identity if `z` is None."""
    along = spectrum.vectors if z is None else jnp.einsum("mn,nk->mk", z, spectrum.vectors, precision="highest")
    phi = jax.vmap(lambda ridge: inverse_values(spectrum, ridge))(ridges)
    return jnp.einsum("mk,rk->rm", along**2, phi, precision="highest")


@inverse_forms.defjvp
def _inverse_forms_jvp(primals, tangents):
    a, z, ridges, spectrum = primals
    da, dz, dridges, _ = tangents

    def one(pair):
        ridge, dridge = pair
        phi = inverse_values(spectrum, ridge)
        columns = spectrum.vectors.T if z is None else jnp.einsum("nk,mn->km", spectrum.vectors, z, precision="highest")
        rows = jnp.einsum("nk,km->mn", spectrum.vectors, phi[:, None] * columns, precision="highest")
        change = -jnp.sum(jnp.einsum("mn,nk->mk", rows, da, precision="highest") * rows, 1)
        change -= dridge * jnp.sum(rows**2, 1)
        return change if z is None else change + 2 * jnp.sum(rows * dz, 1)

    return inverse_forms(a, z, ridges, spectrum), jax.lax.map(one, (ridges, dridges))


def _implicit(a, b, ridge, inverse):
    matvec = lambda x: jnp.einsum("ij,jt->it", a, x, precision="highest") + ridge * x
    return jax.lax.custom_linear_solve(matvec, b, lambda _, rhs: inverse(rhs), symmetric=True)


def _rotate(vectors, phi, rhs):
    along = phi[:, None] * jnp.einsum("ij,it->jt", vectors, rhs, precision="highest")
    return jnp.einsum("ij,jt->it", vectors, along, precision="highest")


def _by_cholesky(a, ridge, rcond):
    factor = jax.scipy.linalg.cho_factor(a + ridge * jnp.eye(len(a), dtype=a.dtype), lower=True)
    return lambda rhs: jax.scipy.linalg.cho_solve(factor, rhs)


def _by_guarded_cholesky(a, ridge, rcond):
    factor, lower = jax.scipy.linalg.cho_factor(a + ridge * jnp.eye(len(a), dtype=a.dtype), lower=True)
    pivots = jnp.diagonal(factor) ** 2
    sound = (pivots > 4 * jnp.finfo(a.dtype).eps * jnp.max(jnp.diagonal(a))).all() | ~jnp.isfinite(a).all()
    by_cholesky = lambda rhs: jax.scipy.linalg.cho_solve((factor, lower), rhs)
    return lambda rhs: jax.lax.cond(sound, by_cholesky, lambda rhs: _by_eigh(a, ridge, rcond)(rhs), rhs)


def _by_eigh(a, ridge, rcond):
    spectrum = spectrum_of(a, rcond)
    return lambda rhs: _rotate(spectrum.vectors, inverse_values(spectrum, ridge), rhs)


def _check(a, b, ridge, rcond, solver="eigh"):
    require_array("a", a, (None, None))
    require_array("a", a, (a.shape[0],) * 2)
    require_array("b", b, (a.shape[0], *b.shape[1:]))
    require_choice("solver", solver, ("auto", "cholesky", "eigh"))
    if rcond is not None:
        require_positive("rcond", rcond)
        require_choice("solver (with rcond)", solver, ("auto", "eigh"))
    require_nonnegative("ridge", ridge)
    require_finite("a", a)
    require_finite("b", b)
