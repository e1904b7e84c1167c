"""A set of key vectors and a query as one array of tokens, each extended by a coordinate of one.

    x_0 = [query; 1],   x_i = [key_i; 1],   and x_i = 0 for a key that is masked.

The one is the bias of everything that follows, and says which keys there are: a mean over keys divides by their count.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxlib_methods.numerics.checks import require, require_array, require_size
from jaxlib_methods.numerics.projections import random_rows

__all__ = ["attention_tokens", "key_weights", "require_tokens", "sample_sphere_tokens"]


def attention_tokens(
    query: Float[Array, "*b d"], keys: Float[Array, "*b N d"], mask: Bool[Array, "*b N"] | None = None
) -> Float[Array, "*b t p"]:
    """The tokens x_0, ..., x_N of queries and their keys, p = d + 1 coordinates each, t = 1 + N.

    Args:
      query: one vector for each set.
      keys: N vectors for each set.
      mask: False for keys that are padding; None for none.

    Raises:
      TypeError: if `query` or `keys` is not floating, or `mask` not boolean.
      ValueError: if shapes do not match or there is no key.

    >>> attention_tokens(jnp.array([2.0]), jnp.array([[3.0], [9.0]]), jnp.array([True, False])).tolist()
    [[2.0, 1.0], [3.0, 1.0], [0.0, 0.0]]
    """
    require(query.ndim >= 1, "query", f"shape {query.shape}", "an array of shape (*b, d)")
    require_array("query", query, query.shape)
    count = keys.shape[-2] if keys.ndim >= 2 else 0
    require_array("keys", keys, (*query.shape[:-1], count, query.shape[-1]))
    require_size("the number of keys", count)
    one = lambda a: jnp.concatenate([a, jnp.ones((*a.shape[:-1], 1), a.dtype)], -1)
    extended = one(keys)
    if mask is not None:
        if mask.dtype != bool:
            raise TypeError(f"mask must be boolean, got {mask.dtype}")
        require(mask.shape == keys.shape[:-1], "mask", f"shape {mask.shape}", f"an array of shape {keys.shape[:-1]}")
        extended = jnp.where(mask[..., None], extended, 0)
    return jnp.concatenate([one(query)[..., None, :], extended], -2)


def sample_sphere_tokens(
    key: Key[Array, ""], samples: int, keys: int, dim: int, *, dtype: jax.typing.DTypeLike = jnp.float32
) -> Float[Array, "n t p"]:
    """Tokens whose queries and keys are independent and uniform on the unit sphere.

    Args:
      key: typed PRNG key.
      samples: n sets.
      keys: N, keys of a set.
      dim: d, of the vectors.
      dtype: of the tokens.

    Raises:
      ValueError: if a size is below 1.

    >>> sample_sphere_tokens(jax.random.key(0), 5, 3, 2).shape
    (5, 4, 3)
    """
    require_size("samples", samples)
    require_size("keys", keys)
    rows = random_rows(key, samples * (keys + 1), dim, law="sphere", dtype=dtype)
    rows = rows.reshape(samples, keys + 1, dim)
    return attention_tokens(rows[:, 0], rows[:, 1:])


def key_weights(x: Array) -> Array:
    """1 / count on the keys that there are, 0 on masked ones, (*b, N); all 0 where there is none."""
    there = x[..., 1:, -1] != 0
    return jnp.where(there, 1 / jnp.maximum(there.sum(-1, keepdims=True), 1), 0).astype(x.dtype)


def require_tokens(name: str, x: Array, width: int | None = None, rank: int | None = 3) -> None:
    """Checks an array of tokens, (n, t, p) or, with rank None, (*b, t, p)."""
    lead = "*b" if rank is None else "n"
    fits = x.ndim >= 2 and rank in (None, x.ndim)
    require(fits, name, f"shape {x.shape}", f"tokens of shape ({lead}, 1 + N, d + 1)")
    require_array(name, x, (*x.shape[:-1], width))
    require(min(x.shape[-2:]) > 1, name, f"shape {x.shape}", "tokens of a query and at least one key")
