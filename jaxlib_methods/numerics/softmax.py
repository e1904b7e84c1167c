"""Online softmax: averages under softmax weights when the logits come in blocks or live on several devices.

    sum_i softmax(l)_i v_i = (sum_i e^(l_i - m) v_i) / (sum_i e^(l_i - m)),   any m; m = max l keeps it finite.

A partial result holds m, the denominator and the numerator of a subset of i; two of them merge exactly.
Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, algorithm 3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["SoftmaxPart", "softmax_merge", "softmax_part", "softmax_psum", "softmax_result"]


class SoftmaxPart(NamedTuple):
    """Softmax sums over a subset of the logits, relative to that subset's maximum."""

    maximum: Float[Array, " b"]
    total: Float[Array, " b"]
    weighted: Float[Array, "b k"]


def softmax_part(logits: Float[Array, "b n"], values: Float[Array, "n k"] | Float[Array, "b n k"]) -> SoftmaxPart:
    """Sums `n` values under unnormalised softmax weights, for each of `b` rows of logits.

    Args:
      logits: any real numbers; -inf leaves an entry out.
      values: shared by all rows (n, k), or one set a row (b, n, k).

    >>> part = softmax_part(jnp.zeros((1, 2)), jnp.array([[1.0], [3.0]]))
    >>> softmax_result(part)[0].tolist()
    [[2.0]]
    """
    maximum = jax.lax.stop_gradient(logits.max(-1))
    weights = jnp.exp(logits - _finite(maximum)[:, None])
    pattern = "bn,nk->bk" if values.ndim == 2 else "bn,bnk->bk"
    return SoftmaxPart(maximum, weights.sum(-1), jnp.einsum(pattern, weights, values, precision="highest"))


def softmax_merge(a: SoftmaxPart, b: SoftmaxPart) -> SoftmaxPart:
    """Joins the sums of two disjoint subsets.

    >>> one, two = (softmax_part(jnp.zeros((1, 1)), jnp.full((1, 1), v)) for v in (1.0, 3.0))
    >>> softmax_result(softmax_merge(one, two))[0].tolist()
    [[2.0]]
    """
    maximum = jnp.maximum(a.maximum, b.maximum)
    a, b = _rescale(a, maximum), _rescale(b, maximum)
    return SoftmaxPart(maximum, a.total + b.total, a.weighted + b.weighted)


def softmax_psum(part: SoftmaxPart, axis: str) -> SoftmaxPart:
    """Joins the subsets held by the devices along a mesh axis; call it inside `jax.shard_map`.

    One maximum and one sum of `b (k + 1)` numbers cross the devices.

    >>> from jax.sharding import AxisType, PartitionSpec as P
    >>> mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,))
    >>> local = lambda l, v: softmax_result(softmax_psum(softmax_part(l, v), "i"))[0]
    >>> average = jax.shard_map(local, mesh=mesh, in_specs=(P(None, "i"), P("i")), out_specs=P())
    >>> average(jnp.zeros((1, 2)), jnp.array([[1.0], [3.0]])).tolist()
    [[2.0]]
    """
    maximum = jax.lax.pmax(jax.lax.stop_gradient(part.maximum), axis)
    part = _rescale(part, maximum)
    return SoftmaxPart(maximum, *jax.lax.psum((part.total, part.weighted), axis))


def softmax_result(part: SoftmaxPart) -> tuple[Float[Array, "b k"], Float[Array, " b"]]:
    """The softmax average of the values and log sum_i exp(l_i).

    A row whose logits are all -inf has no average: it comes out NaN, with -inf beside it.

    >>> float(softmax_result(softmax_part(jnp.zeros((1, 2)), jnp.ones((2, 1))))[1][0])  # log 2
    0.6931471824645996
    """
    return part.weighted / part.total[:, None], part.maximum + jnp.log(part.total)


def _rescale(part: SoftmaxPart, maximum: Array) -> SoftmaxPart:
    scale = jnp.exp(part.maximum - _finite(maximum))
    return SoftmaxPart(maximum, part.total * scale, part.weighted * scale[:, None])


def _finite(maximum: Array) -> Array:
    return jnp.where(jnp.isneginf(maximum), 0, maximum)
