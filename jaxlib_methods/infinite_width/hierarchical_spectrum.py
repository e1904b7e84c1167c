"""Eigenvalues of hierarchical kernels on the multisphere, by quadrature in the angles between patches.

Eigenfunctions are products of spherical harmonics of the patches, of degrees k = (k_1, ..., k_p), with

    Lambda_k = int K(t) prod_i P_(k_i)(t_i) dw(t_i),    P_k(1) = 1,    w ~ (1 - t^2)^((s - 3) / 2),    int dw = 1,

P_k the Legendre polynomials in s dimensions; Lambda_k has multiplicity prod_i N(k_i),

    N(k) = (2 k + s - 2) / k binom(s + k - 3, k - 1),    N(0) = 1,

and the sum over all eigenvalues is K(1). On circles (s = 2) P_k = cos(k theta) and the rule is that of the fast
Fourier transform: eigenvalues of degree k alias with those of 2 m - k, m the intervals of a half circle.

Cagnetta, Favero and Wyart, "What Can Be Learnt With Wide Convolutional Neural Networks?", 2023, section 3.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import roots_gegenbauer

from jaxlib_methods.infinite_width.hierarchical import hierarchical_kernel
from jaxlib_methods.infinite_width.network_kernel import KernelPair
from jaxlib_methods.numerics.checks import require_size

__all__ = ["HierarchicalSpectrum", "harmonic_multiplicity", "hierarchical_spectrum"]


class HierarchicalSpectrum(NamedTuple):
    """Eigenvalues of both kernels and their multiplicity, indexed by the degrees k_1, ..., k_p of the patches."""

    nngp: Float[Array, "..."]
    ntk: Float[Array, "..."]
    multiplicity: Float[Array, "..."]


def hierarchical_spectrum(
    filters: Sequence[int],
    patches: int,
    degree: int,
    *,
    overlapping: bool = False,
    nodes: int | None = None,
    dtype: jax.typing.DTypeLike | None = None,
) -> HierarchicalSpectrum:
    """Eigenvalues of the kernels of `hierarchical_kernel` for all degrees up to `degree`.

    Args:
      filters: (s_1, ..., s_L), s_1 at least 2.
      patches: p.
      degree: largest degree of a patch.
      overlapping: as in `hierarchical_kernel`.
      nodes: points of the rule for each patch; 2 `degree` + 2 if None. More nodes alias less: the error is that of the
        eigenvalues at degrees beyond `nodes`.
      dtype: of the work; the default float if None. Small eigenvalues need float64.

    Returns:
      Arrays of shape (degree + 1,)^p.

    Raises:
      ValueError: if a size is out of range, `nodes` is not above `degree`, or filters do not fit the patches.

    Cost: nodes^p kernel values, and p products with a matrix of nodes by degrees. Memory: O(p nodes^p).

    >>> spectrum = hierarchical_spectrum((2, 2), 2, 40)
    >>> round(float((spectrum.nngp * spectrum.multiplicity).sum()), 2)  # K(1) = 1
    1.0
    """
    require_size("patches", patches)
    require_size("degree", degree)
    nodes = 2 * degree + 2 if nodes is None else nodes
    require_size("nodes", nodes, degree + 2)
    dtype = jnp.zeros((), dtype).dtype
    points, polynomials = _rule(filters[0], nodes, degree)
    axes = jnp.meshgrid(*[jnp.asarray(points, dtype)] * patches, indexing="ij")
    kernel = hierarchical_kernel(jnp.stack(axes, -1), filters, overlapping=overlapping)
    weights = jnp.asarray(polynomials, dtype)
    counts = [harmonic_multiplicity(k, filters[0]) for k in range(degree + 1)]
    multiplicity = np.ones((1,) * patches)
    for axis in range(patches):
        multiplicity = multiplicity * np.reshape(counts, [-1 if i == axis else 1 for i in range(patches)])

    def project(values):
        for _ in range(patches):  # the first axis is summed, and its degrees come last
            values = jnp.tensordot(values, weights, (0, 1), precision="highest")
        return values

    nngp, ntk = KernelPair(*map(project, kernel))
    return HierarchicalSpectrum(nngp, ntk, jnp.asarray(multiplicity, dtype))


def harmonic_multiplicity(degree: int, dim: int) -> int:
    """Number of spherical harmonics of a degree in `dim` dimensions.

    Raises:
      ValueError: if the degree is negative or the dimension below 2.

    >>> harmonic_multiplicity(3, 2), harmonic_multiplicity(2, 3)
    (2, 5)
    """
    require_size("degree", degree, 0)
    require_size("dim", dim, 2)
    return 1 if degree == 0 else (2 * degree + dim - 2) * math.comb(dim + degree - 3, degree - 1) // degree


def _rule(dim: int, nodes: int, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [-1, 1], and weights times Legendre polynomials at them, (degree, node)."""
    if dim == 2:
        angles = np.linspace(0, math.pi, nodes)
        weights = np.full(nodes, 1 / (nodes - 1))
        weights[[0, -1]] /= 2
        return np.cos(angles), weights * np.cos(np.arange(degree + 1)[:, None] * angles)
    points, weights = roots_gegenbauer(nodes, dim / 2 - 1)
    rows = [np.ones(nodes), points]
    for k in range(1, degree):
        rows.append(((2 * k + dim - 2) * points * rows[k] - k * rows[k - 1]) / (k + dim - 2))
    return points, np.stack(rows[: degree + 1]) * (weights / weights.sum())
