"""Sums over many heads, a block at a time and split over devices: features are never stored.

    K_M(x, y) = (1/M) sum_m <phi_m(x), phi_m(y)>,    f(x) = sum_m <v_m, phi_m(x)>,    (1/M) sum_i a_i phi_m(x_i).

Samples are split over one mesh axis, heads over another. A sum over heads crosses devices in one all-reduce along the
axis of the heads; for K_M every device also gets the tokens of all samples, which are few beside its rows of K_M.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, Float

from jaxlib_methods.attention.random_feature.heads import RandomHeads, rfa_features
from jaxlib_methods.attention.random_feature.tokens import require_tokens
from jaxlib_methods.numerics.blocks import reduce_rows
from jaxlib_methods.numerics.checks import require_array, require_choice, require_size
from jaxlib_methods.numerics.padding import pad_rows

__all__ = ["pull_back", "rfa_apply", "rfa_gram"]


def rfa_gram(
    heads: RandomHeads,
    x: Float[Array, "n t p"],
    y: Float[Array, "m u p"] | None = None,
    *,
    readout: str = "relu",
    block: int = 64,
    mesh: Mesh | None = None,
    axis: str = "data",
    head_axis: str | None = None,
) -> Float[Array, "n m"]:
    """The kernel matrix K_M of finitely many heads.

    Args:
      heads: frozen matrices.
      x: tokens, from `attention_tokens`.
      y: tokens of other sets; `x` if None.
      readout: as in `rfa_features`.
      block: heads whose features are held at once on a device; computed again under `grad`.
      mesh: devices; rows of `x` and of the result are split over `axis` (any n: padded).
      axis: mesh axis of the samples.
      head_axis: second mesh axis, over which the heads are split (any M: padded).

    Returns:
      The matrix, in float32 at least.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, an option is unknown or `block` is below 1.

    Cost: the features, and 2 n m M p operations over all devices. Memory: O((n + m) block (p + N) + n m) a device.

    >>> from jaxlib_methods.attention import rfa_init, sample_sphere_tokens
    >>> x = sample_sphere_tokens(jax.random.key(0), 5, 3, 2)
    >>> rfa_gram(rfa_init(jax.random.key(1), 2, 8), x).shape
    (5, 5)
    """
    head_axis = _check(heads, x, block, mesh, axis, head_axis)
    if y is not None:
        require_tokens("y", y, x.shape[-1])
    count = len(heads.key)

    def local(heads, real, x, y):
        def summarise(rows):
            key, query, real = rows
            part = heads._replace(key=key, query=query)
            phi = lambda tokens: _wide(rfa_features(part, tokens, readout=readout)) * real[None, :, None]
            left = phi(x)
            right = left if y is None else phi(y)
            return jnp.einsum("nmp,kmp->nk", left, right, precision="highest")

        rows = heads.key, heads.query, real
        return _across(head_axis, reduce_rows(summarise, jnp.add, rows, block=block)) / count

    if mesh is None:
        return local(heads, jnp.ones(count, jnp.float32), x, y)
    heads, real = _pad_heads(heads, mesh, head_axis)
    rows = pad_rows(x, mesh.shape[axis])[0]
    specs = _head_specs(heads, head_axis), P(head_axis), P(axis), P()
    total = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P(axis))(heads, real, rows, x if y is None else y)
    return total if len(total) == len(x) else total[: len(x)]


def rfa_apply(
    heads: RandomHeads,
    values: Float[Array, "M p *o"],
    x: Float[Array, "n t p"],
    *,
    readout: str = "relu",
    block: int = 64,
    mesh: Mesh | None = None,
    axis: str = "data",
    head_axis: str | None = None,
) -> Float[Array, "n *o"]:
    """The layer f(x) = sum_m <v_m, phi_m(x)>.

    Args:
      heads: frozen matrices.
      values: v, one vector a head, or one for each output.
      x: tokens, from `attention_tokens`.
      readout: as in `rfa_features`.
      block: as in `rfa_gram`.
      mesh: as in `rfa_gram`.
      axis: as in `rfa_gram`.
      head_axis: as in `rfa_gram`.

    Returns:
      The outputs, in the dtype of `x`.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not match, an option is unknown or `block` is below 1.

    Cost: the features, and 2 n M p operations an output. Memory: O(n block (p + N)) a device.

    >>> from jaxlib_methods.attention import rfa_init, sample_sphere_tokens
    >>> x = sample_sphere_tokens(jax.random.key(0), 5, 3, 2)
    >>> rfa_apply(rfa_init(jax.random.key(1), 2, 8), jnp.ones((8, 3)), x).shape
    (5,)
    """
    head_axis = _check(heads, x, block, mesh, axis, head_axis)
    require_array("values", values, (len(heads.key), x.shape[-1], *values.shape[2:]))

    def local(heads, values, x):
        def summarise(rows):
            key, query, values = rows
            phi = _wide(rfa_features(heads._replace(key=key, query=query), x, readout=readout))
            return jnp.einsum("nmp,mp...->n...", phi, _wide(values), precision="highest")

        return _across(head_axis, reduce_rows(summarise, jnp.add, (heads.key, heads.query, values), block=block))

    if mesh is None:
        return local(heads, values, x).astype(x.dtype)
    heads, _ = _pad_heads(heads, mesh, head_axis)
    values = _pad_axis(values, mesh, head_axis)
    specs = _head_specs(heads, head_axis), P(head_axis), P(axis)
    rows = pad_rows(x, mesh.shape[axis])[0]
    out = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P(axis))(heads, values, rows).astype(x.dtype)
    return out if len(out) == len(x) else out[: len(x)]


def pull_back(heads, x, dual, *, readout, block, mesh, axis, head_axis) -> Array:
    """(1/M) sum_i dual_i phi_m(x_i), (M, p, *o)."""
    count = len(heads.key)

    def local(heads, x, dual):
        def one(rows):
            key, query = (None if a is None else a[None] for a in rows)
            phi = _wide(rfa_features(heads._replace(key=key, query=query), x, readout=readout))[:, 0]
            return jnp.einsum("np,n...->p...", phi, dual, precision="highest")

        total = jax.lax.map(one, (heads.key, heads.query), batch_size=block)
        return _across(None if mesh is None else axis, total) / count

    if mesh is None:
        return local(heads, x, dual)
    heads, _ = _pad_heads(heads, mesh, head_axis)
    specs = _head_specs(heads, head_axis), P(axis), P(axis)
    rows, dual = (pad_rows(a, mesh.shape[axis])[0] for a in (x, dual))
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P(head_axis))(heads, rows, dual)[:count]


def _wide(a: Array) -> Array:
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


def _across(axis, total):
    return total if axis is None else jax.lax.psum(total, axis)


def _pad_axis(a, mesh, head_axis):
    return a if head_axis is None or a is None else pad_rows(a, mesh.shape[head_axis])[0]


def _pad_heads(heads, mesh, head_axis):
    """Heads in equal shares, and which of them are real."""
    real = jnp.ones(len(heads.key), jnp.float32)
    key, query, real = (_pad_axis(a, mesh, head_axis) for a in (heads.key, heads.query, real))
    return heads._replace(key=key, query=query), real


def _head_specs(heads, head_axis) -> Any:
    place = lambda a, spec: None if a is None else spec
    return heads._replace(key=P(head_axis), query=place(heads.query, P(head_axis)), mean=place(heads.mean, P()))


def _check(heads, x, block, mesh, axis, head_axis) -> str | None:
    """Checks, and gives the mesh axis of the heads if there is a mesh."""
    require_tokens("x", x, heads.key.shape[-1])
    require_size("block", block)
    if mesh is None:
        return None
    require_choice("axis", axis, mesh.axis_names)
    require_choice("head_axis", head_axis or axis, mesh.axis_names)
    return head_axis
