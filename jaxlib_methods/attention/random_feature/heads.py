"""Heads with frozen random query-key matrices: features of a set, linear in which is all that is trained.

    f(x) = sum_m <v_m, phi_m(x)>,    phi_m(x) = (1/N) sum_i relu(<x_0, W_m x_i>) x_i,    W_m = alpha J + G_m,

the entries of G_m independent N(0, tau^2). With tokens [x; 1] of unit vectors and tau = 1/2 the pre-activation has
variance 1; J, the identity on the first d coordinates, adds alpha <x_0, x_i> to it (the biased layer). Softmax heads
average the keys with the weights softmax_i <x_0, W_m x_i> instead.

Fu, Guo, Bai and Mei, "What can a Single Attention Layer Learn? A Study Through the Random Features Lens", NeurIPS 2023,
section 3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxlib_methods.attention.random_feature.tokens import key_weights, require_tokens
from jaxlib_methods.numerics.checks import (
    require_array,
    require_choice,
    require_finite,
    require_positive,
    require_size,
)

__all__ = ["RandomHeads", "mean_matrix", "rfa_features", "rfa_init"]

READOUTS = ("relu", "softmax")


class RandomHeads(NamedTuple):
    """M frozen matrices: W_m = `key_m`, or `query_m`^T `key_m` of rank r, plus `mean` where there is one."""

    key: Float[Array, "M r p"]
    query: Float[Array, "M r p"] | None = None
    mean: Float[Array, "p p"] | None = None


def rfa_init(
    key: Key[Array, ""],
    dim: int,
    heads: int,
    *,
    tau: float = 0.5,
    alpha: float = 0.0,
    mean: Float[Array, "p p"] | None = None,
    rank: int | None = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> RandomHeads:
    """Draws the matrices of M heads.

    Args:
      key: typed PRNG key.
      dim: d, of queries and keys; p = d + 1.
      heads: M.
      tau: standard deviation of an entry, positive.
      alpha: strength of the mean; 4 makes a biased layer. It is tied to the size of <x_0, x_i>.
      mean: J; None for the identity without its last entry.
      rank: None draws matrices. A rank draws their factors, N(0, tau / sqrt(rank)) each: entries have the same
        variance, but heavier tails, and another kernel; the one of matrices is their limit of high rank.
      dtype: of the weights.

    Raises:
      ValueError: if a size is below 1, tau is not positive, alpha not finite, or J has not shape (p, p).

    Memory: M p^2, or 2 M r p.

    >>> rfa_init(jax.random.key(0), 3, 8, alpha=4.0).key.shape
    (8, 4, 4)
    """
    require_size("dim", dim)
    require_size("heads", heads)
    require_positive("tau", tau)
    shift = mean_matrix(alpha, mean, dim + 1, dtype)
    if rank is None:
        weights = tau * jax.random.normal(key, (heads, dim + 1, dim + 1), dtype)
        return RandomHeads(weights if shift is None else weights + shift[None])
    require_size("rank", rank)
    draw = lambda key: (tau**2 / rank) ** 0.25 * jax.random.normal(key, (heads, rank, dim + 1), dtype)
    query_key, key_key = jax.random.split(key)
    return RandomHeads(draw(key_key), draw(query_key), shift)


def rfa_features(heads: RandomHeads, x: Float[Array, "*b t p"], *, readout: str = "relu") -> Float[Array, "*b M p"]:
    """The features phi_m of sets.

    Args:
      heads: frozen matrices.
      x: tokens, from `attention_tokens`.
      readout: "relu" or "softmax".

    Returns:
      One vector for each head; 0 for a set without keys.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if shapes do not match or the read-out is unknown.

    Cost: 2 M p (p + 2 N) a set, 4 M r p in place of 2 M p^2 for factors. Memory: O(M (N + p)) a set.

    >>> from jaxlib_methods.attention import sample_sphere_tokens
    >>> x = sample_sphere_tokens(jax.random.key(0), 5, 3, 2)
    >>> rfa_features(rfa_init(jax.random.key(1), 2, 8), x).shape
    (5, 8, 3)
    """
    require_choice("readout", readout, READOUTS)
    require_tokens("x", x, heads.key.shape[-1], rank=None)
    dtype = x.dtype
    x, heads = jax.tree.map(lambda a: a.astype(jnp.promote_types(dtype, jnp.float32)), (x, heads))
    query, keys, weights = x[..., 0, :], x[..., 1:, :], key_weights(x)[..., None, :]
    product = lambda pattern, *a: jnp.einsum(pattern, *a, precision="highest")
    if heads.query is None:
        along = product("...p,mpq->...mq", query, heads.key)
    else:
        along = product("...mr,mrq->...mq", product("...p,mrp->...mr", query, heads.query), heads.key)
    if heads.mean is not None:
        along = along + product("...p,pq->...q", query, heads.mean)[..., None, :]
    logits = product("...mq,...iq->...mi", along, keys)
    if readout == "relu":
        weights = weights * jax.nn.relu(logits)
    else:
        there = jnp.broadcast_to(weights > 0, logits.shape)
        weights = jnp.where(there, jax.nn.softmax(jnp.where(there, logits, jnp.finfo(logits.dtype).min)), 0)
    return product("...mi,...iq->...mq", weights, keys).astype(dtype)


def mean_matrix(alpha: float, mean: Array | None, width: int, dtype: jax.typing.DTypeLike) -> Array | None:
    """alpha J, None where it is 0."""
    require_finite("alpha", alpha)
    if mean is not None:
        require_array("mean", mean, (width, width))
    if alpha == 0:
        return None
    return alpha * (jnp.eye(width, dtype=dtype).at[-1, -1].set(0) if mean is None else mean.astype(dtype))
