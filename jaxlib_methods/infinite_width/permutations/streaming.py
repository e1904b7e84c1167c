"""Ensembles of any size, a chunk of members at a time: moments of their outputs, and the first size that will do.

Groups of N_a and N_b members with means m_a, m_b and squared deviations S_a, S_b merge as

    m = m_a + (N_b / N) (m_b - m_a),    S = S_a + S_b + (N_a N_b / N) (m_b - m_a)^2,    N = N_a + N_b,

so that the rounding of a mean is relative to the mean itself, and not to a sum that grows with the ensemble: float32
resolves means of true zeros, 0.15 / k, among any number of members.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from jaxlib_methods.infinite_width.permutations.vote import vote_accuracy
from jaxlib_methods.numerics.checks import require_known, require_size

__all__ = ["EnsembleMoments", "ensemble_moments", "members_until"]

Draw = Callable[[Array], Array]


class EnsembleMoments(NamedTuple):
    """Number of members, mean of each output, and its variance between members."""

    members: Float[Array, ""]
    mean: Float[Array, "t k"]
    variance: Float[Array, "t k"]


def ensemble_moments(draw: Draw, members: int, *, chunk: int = 16) -> EnsembleMoments:
    """Mean and variance of the outputs of members 0, ..., N - 1, of which no more than a chunk is held.

    Args:
      draw: maps numbers of members, (c,), to their outputs, (c, t, k): `trained_predictions` or `limit_predictions`
        with all but the numbers filled in. On a mesh it draws a chunk on all devices at once.
      members: N.
      chunk: members drawn at a time.

    Returns:
      The moments; the variance is the unbiased one, 0 for one member.

    Raises:
      ValueError: if a number is below 1.

    Memory: that of `draw` for a chunk, and O(chunk t k).

    >>> moments = ensemble_moments(lambda numbers: numbers[:, None, None].astype(float), 5, chunk=2)
    >>> float(moments.mean[0, 0]), float(moments.variance[0, 0])
    (2.0, 2.5)
    """
    require_size("members", members)
    require_size("chunk", chunk)
    chunk = min(chunk, members)
    first = jnp.arange(chunk)

    def add(i, sums):
        count, mean, squares = sums
        numbers = i * chunk + first
        drawn = draw(numbers)
        real = (numbers < members).astype(drawn.dtype)[:, None, None]
        size = jnp.minimum(chunk, members - i * chunk).astype(drawn.dtype)
        middle = jnp.sum(real * drawn, 0) / size
        gap, share = middle - mean, size / (count + size)
        squares += jnp.sum(real * (drawn - middle[None]) ** 2, 0) + count * share * gap**2
        return count + size, mean + share * gap, squares

    shape = jax.eval_shape(draw, first)
    zeros = jnp.zeros(shape.shape[1:], shape.dtype)
    count, mean, squares = jax.lax.fori_loop(0, -(-members // chunk), add, (jnp.zeros((), shape.dtype), zeros, zeros))
    return EnsembleMoments(count, mean, squares / jnp.maximum(count - 1, 1))


def members_until(
    draw: Draw,
    permutation: Int[Array, " k"],
    x: Shaped[Array, "t k"],
    accuracy: Float[Array, " a"],
    *,
    limit: int,
    chunk: int = 16,
) -> Float[Array, " a"]:
    """Adds members one by one until the vote on given inputs is as accurate as asked.

    Args:
      draw: as in `ensemble_moments`.
      permutation: what is learned.
      x: the inputs that `draw` predicts at.
      accuracy: shares of the inputs that must come out right; drawing ends when the highest is met.
      limit: most members.
      chunk: members drawn at a time; the result does not depend on it.

    Returns:
      For each accuracy the first number of members whose vote has it; infinite if none has up to the limit.

    Raises:
      ValueError: if a number is below 1, a known accuracy is not in (0, 1] or shapes do not match.

    Memory: that of `draw` for a chunk, and O(chunk t k).

    >>> draw = lambda numbers: (numbers[:, None, None] - 2.0) * jnp.array([[[1.0, -1.0]]])
    >>> members_until(draw, jnp.array([0, 1]), jnp.array([[1, 0]]), jnp.array([1.0]), limit=9).tolist()  # -2-1+0+1+2+3
    [6.0]
    """
    require_size("limit", limit)
    require_size("chunk", chunk)
    require_known("accuracy", accuracy, lambda a: (a > 0) & (a <= 1), "above 0 and at most 1")
    first = jnp.arange(chunk)
    accuracy = jnp.asarray(accuracy)

    def unfinished(state):
        count, _, reached = state
        return jnp.any(jnp.isinf(reached)) & (count < limit)

    def add(state):
        count, mean, reached = state
        drawn = draw(count + first)
        sizes = count + 1 + first
        means = mean[None] + jnp.cumsum(drawn - mean[None], 0) / sizes[:, None, None].astype(drawn.dtype)
        right = vote_accuracy(means, permutation, x).astype(accuracy.dtype)
        enough = (right[:, None] >= accuracy[None]) & (sizes <= limit)[:, None]
        now = jnp.where(enough, sizes.astype(accuracy.dtype)[:, None], jnp.inf).min(0)
        return count + chunk, means[-1], jnp.minimum(reached, now)

    shape = jax.eval_shape(draw, first)
    start = jnp.int32(0), jnp.zeros(shape.shape[1:], shape.dtype), jnp.full(accuracy.shape, jnp.inf, accuracy.dtype)
    return jax.lax.while_loop(unfinished, add, start)[2]
