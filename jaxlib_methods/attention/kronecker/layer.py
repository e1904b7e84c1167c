"""Kronecker attention as a layer of a transformer: projections, norms, null tokens, read-out.

    q = x W_q,  k_t = x W_t,  v_t = x U_t,   y = concat_h(attention(q, k, v)) W_o

with weights N(0, 1 / fan_in), and null tokens that start near zero, N(0, 0.02^2): stronger ones keep some layers from
learning, and at zero itself some logits do not move. Parameters are a NamedTuple of arrays, so the layer fits in any
model; a flax module holds them as one parameter each or through its own pytree.
Roy et al. 2025, "Fast and Simplex", section 6; Clift et al. 2019, section 3 (bilinear values, layer norm).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from jaxlib_methods.attention.kronecker.attention import kron_attention
from jaxlib_methods.attention.kronecker.rotary import rotate_chunks
from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = ["KronLayer", "KronLayerConfig", "kron_layer_apply", "kron_layer_init"]


@dataclass(frozen=True)
class KronLayerConfig:
    """What a layer is, apart from its weights; hashable.

    Attributes:
      heads, kv_heads, head_dim: h, kv (divides h) and d.
      order: K.
      value_dim: e; d if None.
      scale, causal, windows, k_bias, v_bias, logits, values: as in `kron_attention`. With "outer" values a learned
        bilinear map brings v_1 (x) v_2 back to e channels, and a layer norm follows.
      normalise: root-mean-square norms with learned gains on queries and keys, which keep trilinear logits in range.
      null: one learned key and value more on each axis; not with causal attention.
      rotary: relative positions, for determinant logits.
      virtual: tuples range over this many last tokens only; 0 for all.
    """

    heads: int
    kv_heads: int
    head_dim: int
    order: int = 3
    value_dim: int | None = None
    scale: float | None = None
    causal: bool = False
    windows: int | tuple[int, ...] | None = None
    k_bias: float = 0.0
    v_bias: float = 0.0
    logits: str = "trilinear"
    values: str = "product"
    normalise: bool = False
    null: bool = False
    rotary: bool = False
    virtual: int = 0

    def __post_init__(self):
        """Refuses combinations that have no meaning."""
        for name in ("heads", "kv_heads", "head_dim"):
            require_size(name, getattr(self, name))
        require_size("order", self.order, 2)
        require_size("virtual", self.virtual, 0)
        require(self.heads % self.kv_heads == 0, "heads", self.heads, f"a multiple of kv_heads={self.kv_heads}")
        seen = self.causal or self.windows is not None
        require(not (self.null and seen), "null", self.null, "False for causal attention")
        require(not (self.virtual and seen), "virtual", self.virtual, "0 for causal attention")
        require(not self.rotary or self.logits == "determinant", "logits", repr(self.logits), "'determinant' if rotary")


class KronLayer(NamedTuple):
    """Weights of a layer; what its configuration does not use is None."""

    query: Float[Array, "i h d"]
    keys: tuple[Float[Array, "i kv d"], ...]
    values: tuple[Float[Array, "i kv e"], ...]
    out: Float[Array, "h e o"]
    gains: tuple[Float[Array, " d"], ...] | None = None
    null_keys: tuple[Float[Array, "kv d"], ...] | None = None
    null_values: tuple[Float[Array, "kv e"], ...] | None = None
    bilinear: Float[Array, "h f e"] | None = None
    norm: tuple[Float[Array, " e"], Float[Array, " e"]] | None = None


def kron_layer_init(key: Key[Array, ""], dim: int, config: KronLayerConfig) -> KronLayer:
    """Draws a layer from `dim` channels to `dim` channels.

    Args:
      key: typed PRNG key.
      dim: channels of the sequence.
      config: the layer.

    Raises:
      ValueError: if `dim` is below 1.

    >>> layer = kron_layer_init(jax.random.key(0), 6, KronLayerConfig(heads=4, kv_heads=2, head_dim=3))
    >>> layer.query.shape, layer.keys[1].shape, layer.out.shape
    ((6, 4, 3), (6, 2, 3), (4, 3, 6))
    """
    require_size("dim", dim)
    axes, d = config.order - 1, config.head_dim
    e = config.value_dim or d
    drawn = iter(jax.random.split(key, 4 * axes + 3))
    draw = lambda shape, fan_in: jax.random.normal(next(drawn), shape) / fan_in**0.5
    each = lambda width: tuple(draw((dim, config.kv_heads, width), dim) for _ in range(axes))
    null = lambda width: tuple(draw((config.kv_heads, width), 2500) for _ in range(axes)) if config.null else None
    outer = config.values == "outer"
    return KronLayer(
        query=draw((dim, config.heads, d), dim),
        keys=each(d),
        values=each(e),
        out=draw((config.heads, e, dim), config.heads * e),
        gains=tuple(jnp.ones(d) for _ in range(config.order)) if config.normalise else None,
        null_keys=null(d),
        null_values=null(e),
        bilinear=draw((config.heads, e**axes, e), e**axes) if outer else None,
        norm=(jnp.ones(e), jnp.zeros(e)) if outer else None,
    )


def kron_layer_apply(
    params: KronLayer,
    x: Float[Array, "*batch n i"],
    *,
    config: KronLayerConfig,
    impl: str = "auto",
    block_q: int = 32,
    block_k: int | tuple[int, ...] | None = None,
    precision: str | None = None,
    mesh: Mesh | None = None,
    axis: str = "data",
    batch_axis: str | None = None,
    head_axis: str | None = None,
) -> Float[Array, "*batch n o"]:
    """Applies the layer to a sequence.

    Args:
      params: from `kron_layer_init` with the same configuration.
      x: sequence.
      config: the layer.
      impl: as in `kron_attention`.
      block_q: as in `kron_attention`.
      block_k: as in `kron_attention`.
      precision: as in `kron_attention`; also of the projections.
      mesh: as in `kron_attention`.
      axis: as in `kron_attention`.
      batch_axis: as in `kron_attention`.
      head_axis: as in `kron_attention`.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if shapes, sizes or names do not fit.

    Cost: that of `kron_attention` and of the projections.

    >>> config = KronLayerConfig(heads=4, kv_heads=2, head_dim=3, causal=True)
    >>> layer = kron_layer_init(jax.random.key(0), 6, config)
    >>> kron_layer_apply(layer, jnp.ones((2, 5, 6)), config=config).shape
    (2, 5, 6)
    """
    x = jnp.asarray(x)
    require(x.ndim >= 2, "x", f"shape {x.shape}", "an array of shape (*batch, n, i)")
    require_array("x", x, (*x.shape[:-1], params.query.shape[0]))
    project = lambda x, weight: jnp.einsum("...ni,ihd->...nhd", x, weight, precision=precision)
    q = project(x, params.query)
    pairs = x[..., -config.virtual :, :] if config.virtual else x
    ks, vs = (tuple(project(pairs, weight) for weight in side) for side in (params.keys, params.values))
    if params.gains is not None:
        q, *ks = (
            _rms_norm(a) * gain.astype(a.dtype) for a, gain in zip((q, *ks), _as_rows(params.gains, q), strict=True)
        )
    if config.rotary:
        n = x.shape[-2]
        positions = jnp.arange(n, dtype=jnp.promote_types(x.dtype, jnp.float32))
        q, ks = rotate_chunks(q, positions), [rotate_chunks(k, positions[n - k.shape[-3] :]) for k in ks]
    if params.null_keys is not None:
        ks, vs = _append(ks, params.null_keys), _append(vs, params.null_values)
    out = kron_attention(
        q,
        tuple(ks),
        tuple(vs),
        scale=config.scale,
        causal=config.causal,
        windows=config.windows,
        k_bias=config.k_bias,
        v_bias=config.v_bias,
        logits=config.logits,
        values=config.values,
        impl=impl,
        block_q=block_q,
        block_k=block_k,
        precision=precision,
        mesh=mesh,
        axis=axis,
        batch_axis=batch_axis,
        head_axis=head_axis,
    )
    if params.bilinear is not None and params.norm is not None:
        mixed = jnp.einsum("...hf,hfe->...he", out, params.bilinear, precision=precision)
        centred = mixed - mixed.mean(-1, keepdims=True)
        gain, shift = _as_rows(params.norm, mixed)
        out = _rms_norm(centred) * gain + shift
    return jnp.einsum("...nhe,heo->...no", out, params.out, precision=precision)


def _rms_norm(x: Array) -> Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (wide * jax.lax.rsqrt(jnp.mean(wide**2, -1, keepdims=True) + 1e-6)).astype(x.dtype)


def _as_rows(vectors, like):
    return [vector.reshape(*[1] * (like.ndim - 1), -1) for vector in vectors]


def _append(side, nulls: Any) -> tuple[Array, ...]:
    full = lambda x, null: jnp.broadcast_to(null.astype(x.dtype), (*x.shape[:-3], 1, *null.shape))
    return tuple(jnp.concatenate([x, full(x, null)], axis=-3) for x, null in zip(side, nulls, strict=True))
