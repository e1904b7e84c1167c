"""Kernels of deep convolutional networks on inputs made of patches of unit length (the multisphere).

Filters (s_1, ..., s_L) move by their own size, the activation is 2^(1/2) ReLU, there are no biases, and a linear
readout averages the positions that remain. With t_i the inner product of patch i of two inputs, and the arc-cosine
functions kappa_0 and kappa_1 of degree 0 and 1, R = T = t at first and then for l = 1, ..., L

    r = kappa_1(R),    n = kappa_0(R) T + r,    R, T = means of r and n over groups of s_(l+1) neighbours,

the last time over all that remain. Overlapping filters move by one patch instead, on a circle, and average all windows
of s_(l+1) patches; the first layer sees single patches in both. T is the NTK and R the kernel of random features
(NNGP). Sharing weights between positions changes neither.

Cagnetta, Favero and Wyart, "What Can Be Learnt With Wide Convolutional Neural Networks?", 2023, section 2.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxlib_methods.infinite_width.network_kernel import KernelPair
from jaxlib_methods.numerics.arc_cosine import arc_cosine
from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = ["HierarchicalExponents", "hierarchical_exponents", "hierarchical_kernel", "multisphere", "patch_cosines"]


class HierarchicalExponents(NamedTuple):
    """Rates of a hierarchical kernel, and of regression with it on targets of another.

    Attributes:
      dimensions: d_l, degrees of freedom seen by a unit of layer l, for l = 1, ..., L of the student.
      alpha: the eigenvalue of rank r falls as r^-alpha.
      beta: the test error without ridge falls as n^-beta.
    """

    dimensions: tuple[int, ...]
    alpha: float
    beta: float


def multisphere(
    key: Key[Array, ""], count: int, patches: int, dim: int, *, dtype: jax.typing.DTypeLike = jnp.float32
) -> Float[Array, "n p s"]:
    """Inputs whose patches are independent and uniform on the unit sphere.

    Args:
      key: draws the inputs.
      count: n.
      patches: p, patches of an input.
      dim: s_1, coordinates of a patch, at least 2.
      dtype: of the result.

    Raises:
      ValueError: if a size is out of range.

    >>> jnp.linalg.norm(multisphere(jax.random.key(0), 2, 3, 4), axis=2).round(4).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    require_size("count", count)
    require_size("patches", patches)
    require_size("dim", dim, 2)
    x = jax.random.normal(key, (count, patches, dim), dtype)
    return x / jnp.linalg.norm(x, axis=2, keepdims=True)


def patch_cosines(x: Float[Array, "n p s"], y: Float[Array, "m p s"]) -> Float[Array, "n m p"]:
    """Inner products of corresponding patches of all pairs of inputs.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match.

    >>> patch_cosines(jnp.ones((1, 2, 3)), jnp.ones((1, 2, 3))).tolist()
    [[[3.0, 3.0]]]
    """
    require_array("x", x, (None, None, None))
    require_array("y", y, (None, *x.shape[1:]))
    return jnp.einsum("nps,mps->nmp", x, y, precision="highest")


def hierarchical_kernel(t: Float[Array, "*b p"], filters: Sequence[int], *, overlapping: bool = False) -> KernelPair:
    """Both kernels at inner products of patches. At equal inputs the NTK is L + 1 and the other 1.

    Args:
      t: inner products of corresponding patches, in [-1, 1].
      filters: (s_1, ..., s_L); s_1, the size of a patch, is given for the record.
      overlapping: whether filters behind the first move by one patch instead of their own size.

    Returns:
      Kernels of shape b. For a matrix use `gram` with `patch_cosines`.

    Raises:
      TypeError: if `t` is not floating.
      ValueError: if there is no filter, a size is below 1, or the sizes s_2, ..., s_L do not divide the patches, or are
        above their number where they overlap.

    Cost: 2 p (1 + 1/s_2 + ...) arc-cosine functions a pair, 2 p L if filters overlap. Memory: a few times `t`.

    >>> [float(k) for k in hierarchical_kernel(jnp.ones(4), (2, 2, 2))]
    [1.0, 4.0]
    """
    require_array("t", t, (None,) * max(jnp.ndim(t), 1))
    *groups, rest = _groups(filters, t.shape[-1], overlapping)
    average = _window_means if overlapping else _group_means
    nngp = ntk = t
    for group in groups:
        nngp, ntk = (average(k, group) for k in _layer(nngp, ntk))
    nngp, ntk = (_group_means(k, rest)[..., 0] for k in _layer(nngp, ntk))
    return KernelPair(nngp, ntk)


def hierarchical_exponents(
    teacher: Sequence[int], student: Sequence[int], *, teacher_nu: float = 0.5, student_nu: float = 0.5
) -> HierarchicalExponents:
    """Rates of the eigenvalues and of ridgeless regression, for targets drawn from a teacher's kernel.

        d_l = (s_1 - 1) s_2 ... s_l,    alpha = 1 + 2 nu_S / d_L,
        beta = 2 nu_T (2 nu_S + d_L) / (d_L (2 nu_S + d_l)),    where this is below 2 (2 nu_S + d_L) / d_L,

    l the depth of the teacher and L that of the student.

    Args:
      teacher: filters of the teacher, the student's first l.
      student: filters of the student.
      teacher_nu: smoothness, 1/2 for the NTK and 3/2 for the kernel of random features.
      student_nu: the same, of the student.

    Raises:
      ValueError: if the teacher's filters are not the student's first, or a smoothness is not positive.

    >>> hierarchical_exponents((2,), (2, 2)).beta
    0.75
    """
    _groups(student, math.prod(student[1:]), overlapping=False)
    fits = len(teacher) > 0 and tuple(teacher) == tuple(student)[: len(teacher)]
    require(fits, "teacher", tuple(teacher), f"filters with which {tuple(student)} begins")
    require(teacher_nu > 0, "teacher_nu", teacher_nu, "positive")
    require(student_nu > 0, "student_nu", student_nu, "positive")
    dimensions = []
    for i, size in enumerate(student):
        dimensions.append(size - 1 if i == 0 else dimensions[-1] * size)
    own, deepest = dimensions[len(teacher) - 1], dimensions[-1]
    decay = (2 * student_nu + deepest) / deepest
    beta = min(2 * teacher_nu / (2 * student_nu + own), 2) * decay
    return HierarchicalExponents(tuple(dimensions), 1 + 2 * student_nu / deepest, beta)


def _layer(nngp: Array, ntk: Array) -> tuple[Array, Array]:
    """Both kernels behind the activation of a layer."""
    slope, value = arc_cosine(nngp, degree=0), arc_cosine(nngp)
    return value, slope * ntk + value


def _group_means(k: Array, size: int) -> Array:
    return jnp.mean(k.reshape(*k.shape[:-1], -1, size), -1)


def _window_means(k: Array, size: int) -> Array:
    return sum((jnp.roll(k, -i, -1) for i in range(1, size)), start=k) / size


def _groups(filters: Sequence[int], patches: int, overlapping: bool) -> list[int]:
    """Sizes of the groups that are averaged after each layer."""
    require(len(filters) > 0, "filters", "none", "the size of a patch at least")
    require_size("filters", filters[0], 2)
    for size in filters[1:]:
        require_size("filters", size)
    if overlapping:
        fits = all(size <= patches for size in filters[1:])
        require(fits, "filters", f"{tuple(filters)} for {patches} patches", "no larger than their number")
        return [*filters[1:], patches]
    left = patches
    for size in filters[1:]:
        require(left % size == 0, "filters", f"{tuple(filters)} for {patches} patches", "of sizes that divide them")
        left //= size
    return [*filters[1:], left]
