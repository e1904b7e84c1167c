"""Word vectors by CBOW with negative sampling: a linear network of one hidden layer, and its infinite-width limit.

    h = mean over the context of U_w,      f_j = V_j . h,      loss = - log sigmoid(f_0) - sum_(j > 0) log sigmoid(-f_j)

for the word in the middle (j = 0) and words drawn at random. A step reads and moves the rows of these words alone, and
each touch of a row takes from it rate * weight_decay of what it was. Width n starts from entries of U uniform with
variance 1 / n and V = 0; the limit n -> infinity from U = I and V = 0, of width the size of the vocabulary, under the
same steps.

Mikolov et al., "Distributed Representations of Words and Phrases", 2013; Yang and Hu, "Feature Learning in
Infinite-Width Neural Networks", 2020, section 8.1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Key

from jaxlib_methods.numerics.checks import require, require_array, require_nonnegative, require_size

__all__ = ["WordVectors", "cbow_init", "cbow_limit_init", "cbow_step", "negative_samples", "shrunk_windows"]


class WordVectors(NamedTuple):
    """A row for each word: the vector that is kept, and the one that predicts."""

    inner: Float[Array, "v n"]
    outer: Float[Array, "v n"]


def cbow_init(key: Key[Array, ""], vocabulary: int, n: int, *, dtype: str = "float32") -> WordVectors:
    """Vectors of width n before training.

    Args:
      key: draws U.
      vocabulary: number of words v.
      n: width.
      dtype: of the vectors.

    Raises:
      ValueError: if a size is below 1.

    >>> cbow_init(jax.random.key(0), 5, 2).inner.shape
    (5, 2)
    """
    require_size("vocabulary", vocabulary)
    require_size("n", n)
    bound = (3 / n) ** 0.5
    inner = jax.random.uniform(key, (vocabulary, n), dtype, -bound, bound)
    return WordVectors(inner, jnp.zeros_like(inner))


def cbow_limit_init(vocabulary: int, *, dtype: str = "float32") -> WordVectors:
    """The limit before training: width v, which is `linear_limit_init(v, v, 1, 0)`.

    Raises:
      ValueError: if the vocabulary is empty.

    >>> cbow_limit_init(2).inner.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    require_size("vocabulary", vocabulary)
    return WordVectors(jnp.eye(vocabulary, dtype=dtype), jnp.zeros((vocabulary, vocabulary), dtype))


def cbow_step(
    vectors: WordVectors,
    context: Int[ArrayLike, "b w"],
    targets: Int[ArrayLike, "b k"],
    rate: Float[ArrayLike, ""],
    *,
    weight_decay: float = 0.0,
) -> tuple[WordVectors, Float[Array, ""]]:
    """One step of gradient descent on the sum over a batch, and the mean loss before it.

    Args:
      vectors: of any width. Split their rows over a mesh axis to share the vocabulary among devices.
      context: words around; -1 where there is none.
      targets: the word in the middle, then negatives; -1 where there is none. A row without context is left out.
      rate: learning rate.
      weight_decay: of a row each time that it is touched.

    Raises:
      TypeError: if the vectors are not floating.
      ValueError: if shapes do not match or the weight decay is negative.

    Cost: O(b (w + k) n), whatever the vocabulary. Memory: O(b (w + k) n).

    >>> context, targets = jnp.array([[1, -1]]), jnp.array([[0, 2]])
    >>> moved, _ = cbow_step(cbow_limit_init(3), context, targets, 0.5)
    >>> moved.outer.tolist()
    [[0.0, 0.25, 0.0], [0.0, 0.0, 0.0], [0.0, -0.25, 0.0]]
    """
    require_array("vectors.inner", vectors.inner, (None, None))
    require_array("vectors.outer", vectors.outer, vectors.inner.shape)
    require_nonnegative("weight_decay", weight_decay)
    vectors, context, targets = WordVectors(*map(jnp.asarray, vectors)), jnp.asarray(context), jnp.asarray(targets)
    rows = len(context)
    require(context.ndim == 2, "context", f"shape {context.shape}", "a matrix")
    require(targets.ndim == 2 and len(targets) == rows, "targets", f"shape {targets.shape}", f"a matrix of {rows} rows")
    v, dtype = len(vectors.inner), vectors.inner.dtype
    near, counts = context >= 0, jnp.sum(context >= 0, 1)
    there = (targets >= 0) & (counts > 0)[:, None]
    context, targets = jnp.where(near, context, v), jnp.where(there, targets, v)  # v is dropped
    share = (1 / jnp.maximum(counts, 1)).astype(dtype)
    inner = vectors.inner.at[context].get(mode="fill", fill_value=0)
    hidden = share[:, None] * jnp.sum(inner, 1)
    outer = vectors.outer.at[targets].get(mode="fill", fill_value=0)
    f = jnp.einsum("bkn,bn->bk", outer, hidden)
    sign = jnp.where(jnp.arange(f.shape[1]) == 0, 1, -1).astype(dtype)[None]
    chi = jnp.where(there, -sign * jax.nn.sigmoid(-sign * f), 0)
    loss = jnp.sum(jnp.where(there, jax.nn.softplus(-sign * f), 0)) / jnp.maximum(jnp.sum(counts > 0), 1)
    rate = jnp.asarray(rate, dtype)
    back = share[:, None] * jnp.einsum("bk,bkn->bn", chi, outer)

    def move(table: Array, words: Array, rows: Array, gradients: Array) -> Array:
        return table.at[words].add(-rate * (gradients + weight_decay * rows), mode="drop")

    moved = WordVectors(
        move(vectors.inner, context, inner, jnp.broadcast_to(back[:, None], inner.shape)),
        move(vectors.outer, targets, outer, chi[:, :, None] * hidden[:, None]),
    )
    return moved, loss


def negative_samples(
    key: Key[Array, ""], counts: Float[Array, " v"], shape: tuple[int, ...], *, power: float = 0.75
) -> Int[Array, "..."]:
    """Words drawn with probabilities proportional to a power of their counts.

    Args:
      key: draws the words.
      counts: of each word in the corpus; nonnegative, not all 0.
      shape: of the result.
      power: 0.75, in the original.

    Raises:
      TypeError: if the counts are not floating.
      ValueError: if they are not a vector.

    Cost: O(v), and log v a word.

    >>> negative_samples(jax.random.key(0), jnp.array([0.0, 1.0, 0.0]), (4,)).tolist()
    [1, 1, 1, 1]
    """
    require_array("counts", counts, (None,))
    total = jnp.cumsum(jnp.where(counts > 0, counts, 0) ** power)
    uniform = total[-1] * (1 - jax.random.uniform(key, shape, total.dtype))  # in (0, total]
    return jnp.minimum(jnp.searchsorted(total, uniform), len(counts) - 1)


def shrunk_windows(
    key: Key[Array, ""], tokens: Int[ArrayLike, " m"], centers: Int[ArrayLike, " b"], *, window: int
) -> Int[Array, "b w"]:
    """The words within a distance of 1 to `window`, drawn for each center, on both sides of it; -1 where there is none.

    Args:
      key: draws the distances.
      tokens: the corpus, as words; -1 ends a text, and windows see nothing beyond it.
      centers: places in the corpus.
      window: largest distance.

    Raises:
      ValueError: if the window is below 1.

    >>> shrunk_windows(jax.random.key(0), jnp.array([4, 5, 6]), jnp.array([0, 1]), window=1).tolist()
    [[-1, 5], [4, 6]]
    """
    require_size("window", window)
    tokens, centers = jnp.asarray(tokens), jnp.asarray(centers)
    offsets = jnp.concatenate([jnp.arange(-window, 0), jnp.arange(1, window + 1)])
    size = jax.random.randint(key, centers.shape, 1, window + 1)
    at = centers[:, None] + offsets[None]
    inside = (at >= 0) & (at < len(tokens)) & (jnp.abs(offsets)[None] <= size[:, None])
    words = jnp.where(inside, tokens[jnp.clip(at, 0, len(tokens) - 1)], -1)
    out_of_range = (inside & (words < 0)).astype(jnp.int32)
    left = jnp.flip(jnp.cumsum(jnp.flip(out_of_range[:, :window], 1), 1), 1)
    right = jnp.cumsum(out_of_range[:, window:], 1)
    return jnp.where(jnp.concatenate([left, right], 1) == 0, words, -1)
