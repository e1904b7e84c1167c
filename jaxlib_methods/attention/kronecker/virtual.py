"""Virtual entities: a few extra tokens that alone form pairs, so that order 3 costs n M^2 for M of them.

The last M tokens of a sequence are virtual. Ordinary attention: a standard token sees the standard ones, a virtual
token sees all. Order 3: every token attends to tuples of virtual tokens. With M about sqrt(n) both cost n^2.
Clift et al. 2019, "Logic and the 2-Simplicial Transformer", section 4.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlib_methods.attention.kronecker.attention import kron_attention
from jaxlib_methods.attention.kronecker.heads import check_heads
from jaxlib_methods.numerics.checks import require_size

__all__ = ["kron_virtual_attention", "virtual_attention"]

Heads = tuple[Float[Array, "..."], ...]


def virtual_attention(
    q: Float[Array, "*batch n h d"],
    k: Float[Array, "*batch n kv d"],
    v: Float[Array, "*batch n kv e"],
    *,
    virtual: int,
    scale: float | None = None,
) -> Float[Array, "*batch n h e"]:
    """Ordinary attention in which standard tokens do not see the virtual ones.

    Args:
      q: queries of all tokens, the virtual ones last.
      k: their keys.
      v: their values.
      virtual: M, 1 to n - 1.
      scale: factor of the logits; 1 / sqrt(d) if None.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes or sizes do not fit.

    Cost: as two calls of `kron_attention` at order 2.

    >>> x = jnp.array([1.0, 3.0, 8.0]).reshape(3, 1, 1)
    >>> virtual_attention(0 * x, x, x, virtual=1)[:, 0, 0].tolist()
    [2.0, 2.0, 4.0]
    """
    check_heads(q, (k,), (v,))
    require_size("virtual", virtual, 1, q.shape[-3] - 1)
    q, k, v = map(jnp.asarray, (q, k, v))
    cut = q.shape[-3] - virtual
    standard = kron_attention(q[..., :cut, :, :], (k[..., :cut, :, :],), (v[..., :cut, :, :],), scale=scale)
    return jnp.concatenate([standard, kron_attention(q[..., cut:, :, :], (k,), (v,), scale=scale)], axis=-3)


def kron_virtual_attention(
    q: Float[Array, "*batch n h d"],
    ks: Heads,
    vs: Heads,
    *,
    virtual: int,
    scale: float | None = None,
    logits: str = "trilinear",
    values: str = "product",
) -> Float[Array, "*batch n h e"]:
    """Attention of all tokens to tuples of virtual tokens.

    Args:
      q: queries of all tokens, the virtual ones last.
      ks: keys of all tokens on each axis.
      vs: values of all tokens on each axis.
      virtual: M, 1 to n.
      scale: as in `kron_attention`.
      logits: as in `kron_attention`.
      values: as in `kron_attention`.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes, sizes or names do not fit.

    Cost: 4 n M^(K-1) d.

    >>> x = jnp.array([1.0, 3.0, 8.0]).reshape(3, 1, 1)
    >>> kron_virtual_attention(x, (x, x), (x, x), virtual=1)[:, 0, 0].tolist()
    [64.0, 64.0, 64.0]
    """
    check_heads(q, ks, vs, values)
    require_size("virtual", virtual, 1, min(k.shape[-3] for k in ks))
    last = lambda side: tuple(jnp.asarray(x)[..., -virtual:, :, :] for x in side)
    return kron_attention(q, last(ks), last(vs), scale=scale, logits=logits, values=values)
