"""Logits and value products of one tile: a block of queries against a block of keys on every axis.

With a query q and keys k_1, ..., k_(K-1), one from each axis, the logit families are

    trilinear    sum_c q_c k_1c ... k_(K-1)c                             any order K
    separable    q.k_1 + ... + q.k_(K-1)                                 any order K
    strassen     q.k_1 + k_1.k_2 + k_2.q                                 order 3
    determinant  sum over chunks of 3 channels of det[q; k_1; k_2],
                 and the trilinear form of the d mod 3 channels left     order 3
    norm         |(q.k_1) k_2 - (q.k_2) k_1 + (k_1.k_2) q|               order 3

Each is written so that a tile, times a scale, is one tall matrix product with the last axis. The determinant is
invariant under one rotation of all chunks, so that rotary positions make it relative; the trilinear form is not.
Clift et al. 2019, "Logic and the 2-Simplicial Transformer", section 3 (norm); Roy et al. 2025, "Fast and Simplex",
section 5 (determinant); Kozachinskiy et al. 2025, "Strassen attention", section 2.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["FAMILIES", "VALUES", "Family"]


class Family(NamedTuple):
    """A logit family: tile(q, ks, scale, precision), the order it needs (None: any), whether keys may change axes."""

    tile: Callable[..., Array]
    order: int | None
    symmetric: bool


def dot(a: Array, b: Array, precision=None) -> Array:
    """Contracts the last axes of `a` (..., d) and `b` (m, d); bfloat16 operands, accumulated in float32.

    As a product of two matrices, whose derivative by `b` is one too: with several axes to contract, XLA would transpose
    the whole tile first.
    """
    dtype = jnp.promote_types(b.dtype, jnp.float32)
    rows = a.astype(b.dtype).reshape(-1, a.shape[-1])
    result = jax.lax.dot_general(rows, b, (((1,), (1,)), ((), ())), precision=precision, preferred_element_type=dtype)
    return result.reshape(*a.shape[:-1], len(b))


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _pairs(a: Array, b: Array, combine: Callable) -> Array:
    """`combine(a, b)` for every entry of a (..., d) with every row of b (m, d): (..., m, d)."""
    return combine(a[..., None, :], b.reshape(*[1] * (a.ndim - 1), *b.shape))


def _trilinear(q, ks, scale, precision):
    product = scale * _wide(q)
    for k in ks[:-1]:
        product = _pairs(product, _wide(k), jnp.multiply)
    return dot(product, ks[-1], precision)


def _separable(q, ks, scale, precision):
    total = scale * dot(q, ks[0], precision)
    for k in ks[1:]:
        other = scale * dot(q, k, precision)
        total = total[..., None] + other.reshape(-1, *[1] * (total.ndim - 1), other.shape[-1])
    return total


def _strassen(q, ks, scale, precision):
    """(q + k_1).k_2 + q.k_1."""
    sums = scale * _pairs(_wide(q), _wide(ks[0]), jnp.add)
    return dot(sums, ks[1], precision) + scale * dot(q, ks[0], precision)[..., None]


def _determinant(q, ks, scale, precision):
    """(q x k_1).k_2 on each chunk: det[q; k_1; k_2] is the scalar triple product."""
    whole = q.shape[-1] // 3 * 3

    def combine(a, b):
        chunks = lambda x: x[..., :whole].reshape(*x.shape[:-1], whole // 3, 3)
        cross = jnp.cross(chunks(a), chunks(b))
        return jnp.concatenate([cross.reshape(*cross.shape[:-2], whole), a[..., whole:] * b[..., whole:]], axis=-1)

    return dot(_pairs(scale * _wide(q), _wide(ks[0]), combine), ks[1], precision)


def _norm(q, ks, scale, precision):
    """Square root of (a.b)^2 c.c + (b.c)^2 a.a + (a.c)^2 b.b - 2 (a.b)(a.c)(b.c)."""
    k1, k2 = ks
    ab, ac, bc = dot(q, k1, precision)[:, :, None], dot(q, k2, precision)[:, None], dot(k1, k2, precision)[None]
    aa, bb, cc = (jnp.sum(_wide(x) ** 2, -1) for x in (q, k1, k2))
    square = ab**2 * cc[None, None] + bc**2 * aa[:, None, None] + ac**2 * bb[None, :, None] - 2 * ab * ac * bc
    positive = square > 0
    return scale * jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)


FAMILIES = {
    "trilinear": Family(_trilinear, None, True),
    "separable": Family(_separable, None, True),
    "strassen": Family(_strassen, 3, True),
    "determinant": Family(_determinant, 3, False),
    "norm": Family(_norm, 3, True),
}


def _product(p, vs, precision):
    """sum over tuples of p v_1 o ... o v_(K-1): (rows, e)."""
    total = dot(p, vs[-1].T, precision)
    for v in vs[-2::-1]:
        total = jnp.sum(total * _wide(v).reshape(*[1] * (total.ndim - 2), *v.shape), axis=-2)
    return total


def _outer(p, vs, precision):
    """sum over tuples of p v_1 (x) ... (x) v_(K-1), flattened: (rows, e_1 ... e_(K-1))."""
    total = dot(p, vs[-1].T, precision)
    for v in vs[-2::-1]:
        total = jnp.einsum("...jf,je->...ef", total, _wide(v), precision=precision)
        total = total.reshape(*total.shape[:-2], -1)
    return total


VALUES = {"product": _product, "outer": _outer}
