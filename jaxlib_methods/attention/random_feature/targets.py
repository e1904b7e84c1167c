"""Functions of a set that do not mind the order of its keys: polynomials of query and keys, averaged over keys.

    f(x) = (1/N) sum_i sum_{r,s} <x_0^(r) (x) x_i^(s), T_rs>,    T_rs a tensor of order r + s,

of which <beta, x_i>^p, <x_0, x_i>^q and <x_0, x_i> <beta, x_i> are the experiments' targets. Keys and queries are
taken without the coordinate of ones.

Fu, Guo, Bai and Mei, "What can a Single Attention Layer Learn?", NeurIPS 2023, section 3.3.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.attention.random_feature.tokens import key_weights, require_tokens
from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = ["key_power", "query_key_power", "query_key_product", "set_polynomial"]


def key_power(x: Float[Array, "*b t p"], beta: Float[Array, " d"], degree: int) -> Float[Array, "*b"]:
    """The mean of <beta, x_i>^degree over the keys.

    Args:
      x: tokens, from `attention_tokens`.
      beta: a direction.
      degree: at least 1.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or the degree is below 1.

    >>> key_power(jnp.array([[5.0, 1.0], [1.0, 1.0], [3.0, 1.0]]), jnp.array([2.0]), 2).tolist()
    20.0
    """
    require_size("degree", degree)
    return _mean(x, _along(x, beta) ** degree)


def query_key_power(x: Float[Array, "*b t p"], degree: int) -> Float[Array, "*b"]:
    """The mean of <x_0, x_i>^degree over the keys.

    Args:
      x: tokens, from `attention_tokens`.
      degree: at least 1.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if `x` is not an array of tokens or the degree is below 1.

    >>> query_key_power(jnp.array([[5.0, 1.0], [1.0, 1.0], [3.0, 1.0]]), 1).tolist()
    10.0
    """
    require_size("degree", degree)
    require_tokens("x", x, rank=None)
    return _mean(x, _inner(x) ** degree)


def query_key_product(x: Float[Array, "*b t p"], beta: Float[Array, " d"]) -> Float[Array, "*b"]:
    """The mean of <x_0, x_i> <beta, x_i> over the keys; arguments and errors as `key_power`.

    >>> query_key_product(jnp.array([[5.0, 1.0], [1.0, 1.0], [3.0, 1.0]]), jnp.array([1.0])).tolist()
    25.0
    """
    return _mean(x, _along(x, beta) * _inner(x))


def set_polynomial(x: Float[Array, "*b t p"], tensors: Mapping[tuple[int, int], Array]) -> Float[Array, "*b"]:
    """The mean over keys of sum_{r,s} <x_0^(r) (x) x_i^(s), T_rs>.

    Args:
      x: tokens, from `attention_tokens`.
      tensors: T_rs of shape (d,) * (r + s) for each (r, s).

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match or a degree is negative.

    Cost: 2 d^(r + s) for each key and tensor.

    >>> set_polynomial(jnp.array([[5.0, 1.0], [1.0, 1.0], [3.0, 1.0]]), {(0, 2): jnp.ones((1, 1))}).tolist()
    5.0
    """
    require_tokens("x", x, rank=None)
    query, keys = x[..., None, 0, :-1], x[..., 1:, :-1]
    total = jnp.zeros(keys.shape[:-1], x.dtype)
    for (r, s), tensor in tensors.items():
        require(min(r, s) >= 0, "tensors", f"degrees {(r, s)}", "of nonnegative degrees")
        require_array(f"tensors[{r}, {s}]", tensor, (x.shape[-1] - 1,) * (r + s))
        value = jnp.broadcast_to(tensor, (*keys.shape[:-1], *tensor.shape))
        for vectors, times in ((keys, s), (query, r)):
            for _ in range(times):
                shaped = vectors.reshape(*vectors.shape[:-1], *[1] * (value.ndim - keys.ndim), vectors.shape[-1])
                value = jnp.sum(value * shaped, -1)
        total = total + value
    return _mean(x, total)


def _mean(x: Array, values: Array) -> Array:
    return jnp.sum(key_weights(x) * values, -1)


def _along(x: Array, beta: Array) -> Array:
    require_tokens("x", x, rank=None)
    require_array("beta", beta, (x.shape[-1] - 1,))
    return jnp.einsum("...id,d->...i", x[..., 1:, :-1], beta, precision="highest")


def _inner(x: Array) -> Array:
    return jnp.einsum("...d,...id->...i", x[..., 0, :-1], x[..., 1:, :-1], precision="highest")
