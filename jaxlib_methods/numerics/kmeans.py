"""k-means clustering with k-means++ seeding, over all rows each round or over random batches.

All rows: Lloyd's rounds, each centre the mean of its rows, until no centre moves. Batches: each centre is the running
mean of every row it was ever given (Sculley, "Web-scale k-means clustering", 2010). Seeding: each new centre is a row
drawn with probability proportional to its squared distance from the centres so far (Arthur and Vassilvitskii, 2007).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxlib_methods.numerics.checks import require, require_array, require_finite, require_size

__all__ = ["Clusters", "kmeans", "nearest_row"]


class Clusters(NamedTuple):
    """`K` centres, and the index of the nearest centre of every row."""

    centres: Float[Array, "K d"]
    labels: Int[Array, " n"]


def kmeans(
    key: Key[Array, ""],
    x: Float[Array, "n d"],
    num_clusters: int,
    *,
    iterations: int = 100,
    batch_size: int | None = None,
    block: int = 4096,
) -> Clusters:
    """Clusters the rows of `x`.

    Args:
      key: draws the seeds and the batches.
      x: rows.
      num_clusters: K, 1 to n.
      iterations: rounds at most (all rows) or exactly (batches).
      batch_size: rows drawn, with replacement, for each round; all rows every round if None.
      block: rows whose distances are held at once. Memory: O(block K + K d).

    Returns:
      The clusters; one that lost all its rows keeps its last centre.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if there are fewer rows than clusters, a size is below 1, or `x` holds NaN or infinity.

    Cost: 2 n K d operations a round.

    >>> x = jnp.array([[0.0], [0.1], [9.0], [9.1]])
    >>> labels = kmeans(jax.random.key(0), x, 2).labels
    >>> bool(labels[0] == labels[1]), bool(labels[2] == labels[3]), bool(labels[0] == labels[2])
    (True, True, False)
    """
    require_array("x", x, (None, None))
    x = jnp.asarray(x)
    require_size("num_clusters", num_clusters)
    require(x.shape[0] >= num_clusters, "x", f"{x.shape[0]} rows", f"at least num_clusters = {num_clusters} rows")
    require_size("iterations", iterations)
    require_finite("x", x.sum(0))
    seed_key, batch_key = jax.random.split(key)
    centres = _seed(seed_key, x, num_clusters)
    if batch_size is None:
        centres = _lloyd(x, centres, iterations, block)
    else:
        require_size("batch_size", batch_size)
        centres = _batches(batch_key, x, centres, iterations, batch_size, block)
    return Clusters(centres, nearest_row(x, centres, block=block))


def nearest_row(x: Float[Array, "n d"], centres: Float[Array, "K d"], *, block: int = 4096) -> Int[Array, " n"]:
    """Index of the centre nearest to each row of `x`; the first one on ties.

    Args:
      x: rows.
      centres: what they are compared with.
      block: rows whose distances are held at once.

    >>> nearest_row(jnp.array([[0.9], [0.1]]), jnp.array([[0.0], [1.0]])).tolist()
    [1, 0]
    """
    half_square = 0.5 * jnp.sum(centres**2, 1)
    score = lambda row: half_square - jnp.einsum("kd,d->k", centres, row, precision="highest")
    return jax.lax.map(lambda row: jnp.argmin(score(row)), x, batch_size=min(block, x.shape[0]))


def _seed(key: Array, x: Array, num_clusters: int) -> Array:
    first_key, key = jax.random.split(key)
    first = x[jax.random.randint(first_key, (), 0, x.shape[0])]
    square = lambda centre: jnp.sum((x - centre[None]) ** 2, 1)

    def add(i, state):
        centres, distance = state
        row = x[jax.random.categorical(jax.random.fold_in(key, i), jnp.log(distance))]
        return centres.at[i].set(row), jnp.minimum(distance, square(row))

    centres = jnp.zeros((num_clusters, x.shape[1]), x.dtype).at[0].set(first)
    return jax.lax.fori_loop(1, num_clusters, add, (centres, square(first)))[0]


def _sums(x: Array, centres: Array, block: int) -> tuple[Array, Array]:
    labels = nearest_row(x, centres, block=block)
    sums = jax.ops.segment_sum(x, labels, centres.shape[0])
    return sums, jax.ops.segment_sum(jnp.ones(x.shape[0], x.dtype), labels, centres.shape[0])


def _lloyd(x: Array, centres: Array, iterations: int, block: int) -> Array:
    def step(state):
        i, centres, _ = state
        sums, counts = _sums(x, centres, block)
        means = jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1)[:, None], centres)
        return i + 1, means, jnp.any(means != centres)

    moving = lambda state: state[2] & (state[0] < iterations)
    return jax.lax.while_loop(moving, step, (0, centres, jnp.array(True)))[1]


def _batches(key: Array, x: Array, centres: Array, iterations: int, batch_size: int, block: int) -> Array:
    def step(i, state):
        centres, seen = state
        rows = x[jax.random.randint(jax.random.fold_in(key, i), (batch_size,), 0, x.shape[0])]
        sums, counts = _sums(rows, centres, block)
        seen = seen + counts
        return centres + (sums - counts[:, None] * centres) / jnp.maximum(seen, 1)[:, None], seen

    return jax.lax.fori_loop(0, iterations, step, (centres, jnp.zeros(centres.shape[0], x.dtype)))[0]
