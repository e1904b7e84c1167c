"""The baseline: a two-layer network with random first layer on all tokens, concatenated.

    f(x) = sum_m c_m relu(<w_m, u>),    u = [x_0; ...; x_N; 1],    w_m ~ N(0, I / (N + 2)),

so that pre-activations of unit vectors have variance 1. In the limit of many units, with features scaled by their
number, its kernel is K(x, y) = |u| |u'| / (2 (N + 2)) times the arc-cosine function of the angle. It does not know that
the order of the keys is of no account. A layer of M heads has as many parameters as M (d + 1) units.

Fu, Guo, Bai and Mei, "What can a Single Attention Layer Learn?", NeurIPS 2023, section 3 (there RFMLP).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxlib_methods.attention.random_feature.tokens import require_tokens
from jaxlib_methods.numerics.arc_cosine import arc_cosine_kernel
from jaxlib_methods.numerics.checks import require, require_array, require_size
from jaxlib_methods.numerics.projections import random_rows

__all__ = ["rfmlp_features", "rfmlp_init", "rfmlp_kernel"]


def rfmlp_init(
    key: Key[Array, ""], keys: int, dim: int, width: int, *, dtype: jax.typing.DTypeLike = jnp.float32
) -> Float[Array, "M D"]:
    """Draws the first layer.

    Args:
      key: typed PRNG key.
      keys: N, keys of a set.
      dim: d, of the vectors.
      width: number of units.
      dtype: of the weights.

    Raises:
      ValueError: if a size is below 1.

    >>> rfmlp_init(jax.random.key(0), 3, 2, 10).shape
    (10, 9)
    """
    require_size("keys", keys)
    require_size("dim", dim)
    require_size("width", width)
    return random_rows(key, width, (keys + 1) * dim + 1, dtype=dtype) / (keys + 2) ** 0.5


def rfmlp_features(weights: Float[Array, "M D"], x: Float[Array, "*b t p"]) -> Float[Array, "*b M"]:
    """The units' outputs, linear in which is what is trained: give them to `numerics.ridge_fit`.

    Args:
      weights: from `rfmlp_init`.
      x: tokens, from `attention_tokens`; a masked key counts as zeros.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if shapes do not match.

    Cost: 2 (N + 1) d a unit and set.

    >>> from jaxlib_methods.attention import sample_sphere_tokens
    >>> x = sample_sphere_tokens(jax.random.key(0), 5, 3, 2)
    >>> rfmlp_features(rfmlp_init(jax.random.key(1), 3, 2, 10), x).shape
    (5, 10)
    """
    require_tokens("x", x, rank=None)
    flat = _flat(x)
    require_array("weights", weights, (None, flat.shape[-1]))
    return jax.nn.relu(jnp.einsum("...d,md->...m", flat, weights.astype(x.dtype), precision="highest"))


def rfmlp_kernel(x: Float[Array, "n t p"], y: Float[Array, "m t p"]) -> Float[Array, "n m"]:
    """The kernel of infinitely many units, for `numerics.gram` and `kernel_ridge_cg` as `rfa_kernel`.

    Args:
      x: tokens, from `attention_tokens`.
      y: tokens of other sets, of as many keys.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match.

    Cost: 2 (N + 1) d and an arc cosine a pair.

    >>> from jaxlib_methods.attention import sample_sphere_tokens
    >>> x = sample_sphere_tokens(jax.random.key(0), 2, 3, 4)
    >>> rfmlp_kernel(x, x).diagonal().round(4).tolist()
    [0.5, 0.5]
    """
    require_tokens("x", x)
    require_tokens("y", y, x.shape[-1])
    require(y.shape[1] == x.shape[1], "y", f"{y.shape[1]} tokens a set", f"as many as x, {x.shape[1]}")
    u, v = _flat(x), _flat(y)
    return arc_cosine_kernel(u, v) * (u.shape[1] / (2 * (x.shape[1] + 1)))


def _flat(x: Array) -> Array:
    flat = x[..., :-1].reshape(*x.shape[:-2], -1)
    return jnp.concatenate([flat, jnp.ones((*flat.shape[:-1], 1), x.dtype)], -1)
