"""Binary inputs: bits of numbers, random inputs of m ones, and what a permutation makes of them.

A permutation pi of {0, ..., k - 1} moves entry i to place pi(i): (P x)_pi(i) = x_i, the matrix P with P e_i = e_pi(i).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key, Shaped

from jaxlib_methods.numerics.checks import require, require_known, require_size

__all__ = ["binary_inputs", "permute_bits", "random_binary_inputs"]


def binary_inputs(
    numbers: Int[Array, "*b"], k: int, *, dtype: jax.typing.DTypeLike = jnp.float32
) -> Float[Array, "*b k"]:
    """The lowest k bits of whole numbers, the least first: 1, ..., 2^k - 1 give all nonzero inputs.

    Args:
      numbers: nonnegative.
      k: at most 31.
      dtype: of the result.

    Raises:
      ValueError: if `k` is not between 1 and 31 or a known number is negative.

    >>> binary_inputs(jnp.arange(1, 4), 2).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    require_size("k", k, 1, 31)
    require_known("numbers", numbers, lambda n: n >= 0, "nonnegative")
    return ((jnp.asarray(numbers)[..., None] >> jnp.arange(k).reshape(*(1,) * jnp.ndim(numbers), k)) & 1).astype(dtype)


def random_binary_inputs(
    key: Key[Array, ""], count: int, k: int, m: int, *, dtype: jax.typing.DTypeLike = jnp.float32
) -> Float[Array, "n k"]:
    """Independent inputs of m ones among k places, all places equally likely.

    Args:
      key: typed PRNG key.
      count: number of inputs n.
      k: length of an input.
      m: ones of each, from 1 to k.
      dtype: of the result.

    Raises:
      ValueError: if a size is out of range.

    >>> random_binary_inputs(jax.random.key(0), 5, 4, 2).sum(1).tolist()
    [2.0, 2.0, 2.0, 2.0, 2.0]
    """
    require_size("count", count)
    require_size("k", k)
    require_size("m", m, 1, k)
    rows = jnp.broadcast_to((jnp.arange(k) < m).astype(dtype), (count, k))
    return jax.random.permutation(key, rows, axis=1, independent=True)


def permute_bits(permutation: Int[Array, " k"], x: Shaped[Array, "*b k"]) -> Shaped[Array, "*b k"]:
    """P x: entry i comes to place `permutation[i]`.

    Raises:
      ValueError: if a known `permutation` is none, or lengths differ.

    >>> permute_bits(jnp.array([2, 0, 1]), jnp.array([5, 6, 7])).tolist()
    [6, 7, 5]
    """
    require_permutation(permutation)
    require_length("x", x, len(permutation))
    return jnp.asarray(x)[..., jnp.argsort(permutation)]


def require_permutation(permutation: Any) -> None:
    """Checks that a known vector holds each of 0, ..., k - 1 once."""
    shape, dtype = np.shape(permutation), jnp.result_type(permutation)
    whole = len(shape) == 1 and shape[0] > 0 and jnp.issubdtype(dtype, jnp.integer)
    require(whole, "permutation", f"shape {shape} of {dtype}", "a vector of whole numbers")
    if not isinstance(permutation, Tracer):
        given = np.asarray(permutation)
        needed = f"each of 0, ..., {len(given) - 1} once"
        require(np.array_equal(np.sort(given), np.arange(len(given))), "permutation", given.tolist(), needed)


def require_length(name: str, x: Any, k: int) -> None:
    """Checks that rows have k entries."""
    require(np.ndim(x) > 0 and np.shape(x)[-1] == k, name, f"shape {np.shape(x)}", f"rows of {k} entries")


def require_bits(name: str, x: Any, k: int) -> None:
    """Checks rows of k entries, of which known ones are 0 or 1."""
    require_length(name, x, k)
    require_known(name, x, lambda v: (v == 0) | (v == 1), "0 or 1 in every entry")
