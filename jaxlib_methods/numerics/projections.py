"""Random rows to project onto: the frozen weights of random features, at unit scale.

Every law has mean zero. Draws at unit scale serve all bandwidths: multiply by a scale, and curves over scales share
their random numbers.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxlib_methods.numerics.checks import require, require_choice, require_size

__all__ = ["orthogonal_rows", "random_rows"]


def random_rows(
    key: Key[Array, ""], count: int, dim: int, *, law: str = "gaussian", dtype: jax.typing.DTypeLike = jnp.float32
) -> Float[Array, "n d"]:
    """Independent rows under a named law; blocks of orthogonal rows under "orthogonal".

    | law | each row | covariance |
    |---|---|---|
    | "gaussian" | N(0, I) | I |
    | "orthogonal" | N(0, I), orthogonal to the others of its block of d | I |
    | "rademacher" | independent signs | I |
    | "sphere" | uniform on the unit sphere | I / d |
    | "ball" | uniform in the unit ball | I / (d + 2) |
    | "box" | uniform in [-1, 1]^d | I / 3 |

    Args:
      key: typed PRNG key.
      count: number of rows n, at least 1.
      dim: d, at least 1.
      law: one of the table.
      dtype: of the rows.

    Raises:
      ValueError: if a size is below 1, the law is unknown, or the dtype is not floating.

    Cost: O(n d); "orthogonal" O(n d min(n, d)).

    >>> random_rows(jax.random.key(0), 5, 3, law="ball").shape
    (5, 3)
    """
    require_choice("law", law, tuple(_LAWS))
    _check(count, dim, dtype)
    return _LAWS[law](key, count, dim, dtype)


def orthogonal_rows(
    key: Key[Array, ""],
    count: int,
    dim: int,
    *,
    norms: str = "chi",
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> Float[Array, "n d"]:
    """Rows in blocks of d: orthogonal within a block, independent between blocks, directions uniform.

    Args:
      key: typed PRNG key.
      count: number of rows n, at least 1.
      dim: d, at least 1.
      norms: lengths of the rows: "chi" as those of N(0, I), drawn independently, so that every row alone is N(0, I);
        "sqrt" all sqrt(d), the root mean square of those; "unit" all 1.
      dtype: of the rows; drawn and orthogonalised in float32 at least.

    Raises:
      ValueError: if a size is below 1, `norms` is unknown, or the dtype is not floating.

    Cost: ceil(n / d) QR decompositions of min(n, d) columns, batched.
    Yu, Suresh, Choromanski, Holtmann-Rice and Kumar, "Orthogonal Random Features", 2016, section 3.

    >>> rows = orthogonal_rows(jax.random.key(0), 2, 3, norms="unit")
    >>> (rows @ rows.T).round(3).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    require_choice("norms", norms, ("chi", "sqrt", "unit"))
    _check(count, dim, dtype)
    work = jnp.promote_types(dtype, jnp.float32)
    direction_key, norm_key = jax.random.split(key)
    width = min(count, dim)
    q, r = jnp.linalg.qr(jax.random.normal(direction_key, (-(-count // dim), dim, width), work))
    q = q * jnp.sign(jnp.diagonal(r, axis1=1, axis2=2))[:, None, :]  # makes the law of q exactly uniform
    rows = q.swapaxes(1, 2).reshape(-1, dim)[:count]
    if norms == "chi":
        rows = rows * jnp.linalg.norm(jax.random.normal(norm_key, (count, dim), work), axis=1, keepdims=True)
    elif norms == "sqrt":
        rows = rows * math.sqrt(dim)
    return rows.astype(dtype)


def _sphere(key, count, dim, dtype):
    rows = jax.random.normal(key, (count, dim), dtype)
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


def _ball(key, count, dim, dtype):
    direction_key, radius_key = jax.random.split(key)
    radius = jax.random.uniform(radius_key, (count, 1), dtype) ** (1 / dim)
    return radius * _sphere(direction_key, count, dim, dtype)


_LAWS: dict[str, Callable[..., Array]] = {
    "gaussian": lambda key, count, dim, dtype: jax.random.normal(key, (count, dim), dtype),
    "orthogonal": lambda key, count, dim, dtype: orthogonal_rows(key, count, dim, dtype=dtype),
    "rademacher": lambda key, count, dim, dtype: jax.random.rademacher(key, (count, dim), dtype),
    "sphere": _sphere,
    "ball": _ball,
    "box": lambda key, count, dim, dtype: jax.random.uniform(key, (count, dim), dtype, -1, 1),
}


def _check(count, dim, dtype):
    require_size("count", count)
    require_size("dim", dim)
    require(jnp.issubdtype(dtype, jnp.floating), "dtype", dtype, "floating")
