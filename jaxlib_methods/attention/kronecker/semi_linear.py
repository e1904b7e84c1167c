"""Order 3 with one key axis summed in advance: a feature map in place of the exponential along that axis.

    out[i] = sum_j (phi(scale q_i o k_1j) A_i) o v_1j / sum_j phi(scale q_i o k_1j).B_i,
    A_i = sum_l phi(k_2l) (x) v_2l,   B_i = sum_l phi(k_2l),

a linear attention of the composite query q_i o k_1j over the second axis: cost n m_1 r e instead of 4 n m_1 m_2 d.
With positive random features it approximates the trilinear softmax; other maps make another attention.
"Linearised 2-simplicial attention", 2026, abstract; Choromanski et al. 2021, lemma 1 (positive random features).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxlib_methods.attention.kronecker.heads import check_heads, full_masks, make_windows, over_heads
from jaxlib_methods.attention.kronecker.problem import visible
from jaxlib_methods.attention.kronecker.running_sums import key_sums, map_running_sums
from jaxlib_methods.numerics.checks import require, require_size

__all__ = ["elu_features", "kron_attention_semi_linear", "positive_random_features"]

Heads = tuple[Float[Array, "..."], ...]
FeatureMap = Callable[[Array], Array]


def elu_features(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """1 + elu(x): e^x below zero, 1 + x above; positive.

    >>> elu_features(jnp.array([0.0, 1.0])).tolist()
    [1.0, 2.0]
    """
    return 1 + jax.nn.elu(x)


def positive_random_features(key: Key[Array, ""], dim: int, num_features: int) -> FeatureMap:
    """Draws phi(x) = e^(W x - |x|^2 / 2) / sqrt(r), W standard normal, for which E phi(x).phi(y) = e^(x.y).

    Args:
      key: typed PRNG key.
      dim: width of x.
      num_features: r.

    Raises:
      ValueError: if a size is below 1.

    >>> positive_random_features(jax.random.key(0), 3, 8)(jnp.ones((5, 3))).shape
    (5, 8)
    """
    require_size("dim", dim)
    require_size("num_features", num_features)
    weights = jax.random.normal(key, (dim, num_features))

    def features(x):
        project = jnp.einsum("...d,dr->...r", x, weights.astype(x.dtype), precision="highest")
        return jnp.exp(project - 0.5 * jnp.sum(x**2, -1, keepdims=True)) / num_features**0.5

    return features


def kron_attention_semi_linear(
    q: Float[Array, "*batch n h d"],
    ks: Heads,
    vs: Heads,
    features: FeatureMap,
    *,
    scale: float | None = None,
    causal: bool = False,
    windows: int | tuple[int, int] | None = None,
    key_masks: tuple[Bool[Array, "..."] | None, ...] | None = None,
    block_q: int = 16,
) -> Float[Array, "*batch n h e"]:
    """Order-3 attention that is linear in the second key axis.

    Args:
      q: queries.
      ks: two key axes, each (*batch, m_t, kv, d).
      vs: their values, each (*batch, m_t, kv, e).
      features: positive map of the last axis, (..., d) to (..., r): `elu_features`, `positive_random_features(...)`.
      scale: factor of the composite query; 1 / sqrt(d) if None.
      causal: as in `kron_attention`; needs m_2 >= n.
      windows: as in `kron_attention`; needs m_2 >= n.
      key_masks: as in `kron_attention`.
      block_q: queries worked on at once.

    Returns:
      Averages in the queries' dtype; zero where a query sees no key.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes or sizes do not fit, or the order is not 3.

    Cost: n m_1 r (e + d). Memory: block_q h m_1 (r + e), and block_q h r e if causal.

    >>> x = jnp.arange(4.0).reshape(4, 1, 1)
    >>> kron_attention_semi_linear(0 * x, (x, x), (x, x), lambda z: jnp.ones_like(z))[:, 0, 0].tolist()
    [2.25, 2.25, 2.25, 2.25]
    """
    check_heads(q, ks, vs)
    require(len(ks) == 2, "ks", f"{len(ks)} axes", "two key axes, order 3")
    require_size("block_q", block_q)
    q, ks, vs = jax.tree.map(jnp.asarray, (q, tuple(ks), tuple(vs)))
    n, lengths = q.shape[-3], [k.shape[-3] for k in ks]
    spans = make_windows(windows, causal, n, lengths)
    require(spans is None or lengths[1] >= n, "the length of ks[1]", lengths[1], f"at least that of q, {n}, if causal")
    scale = q.shape[-1] ** -0.5 if scale is None else scale

    def attend(q, ks, vs, masks, offsets):
        wide = jnp.promote_types(q.dtype, jnp.float32)
        q, ks = q.astype(wide), tuple(k.astype(wide) for k in ks)
        first, second = (
            jnp.pad(v.astype(wide), ((0, 0), (0, 1)), constant_values=1) * mask[:, None]
            for v, mask in zip(vs, masks, strict=True)
        )
        keys = jnp.arange(ks[0].shape[0])

        def consume(rows, sums):
            index, q = rows
            seen = visible(index, keys, offsets[0], None if spans is None else spans[0], masks[0])
            composite = features(scale * q[:, :, None] * ks[0][None, None])
            along = jnp.einsum("igjr,ire->igje", composite, sums, precision="highest")
            return jnp.einsum("igje,je,ij->ige", along, first, seen.astype(wide), precision="highest")

        rows = jnp.arange(n), q
        if spans is None:
            table = key_sums(features, ks[1], second, 256)
            each = lambda row: consume(jax.tree.map(lambda x: x[None], row), table[None])[0]
            result = jax.lax.map(jax.checkpoint(each), rows, batch_size=block_q)
        else:
            result = map_running_sums(consume, rows, [(ks[1], second)], features, spans[1:], block_q)
        weighted, total = result[..., :-1], result[..., -1:]
        return jnp.where(total > 0, weighted / jnp.where(total > 0, total, 1), 0).astype(vs[0].dtype)

    return over_heads(attend, q, ks, vs, full_masks(key_masks, ks)).astype(q.dtype)
