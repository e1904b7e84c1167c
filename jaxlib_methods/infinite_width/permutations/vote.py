"""The vote of an ensemble: bit j is 1 where the mean of the members' outputs is positive.

N members that are Gaussian with mean mu and variance s^2 vote right on an input of m ones, out of k, with probability

    Phi(sqrt(N) mu_1 / s)^m Phi(-sqrt(N) mu_0 / s)^(k - m),

Phi the normal distribution function. The threshold is 0 and not 1/2: mu_1 falls below 1/2 from four ones on.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Shaped

from jaxlib_methods.infinite_width.permutations.binary_inputs import permute_bits
from jaxlib_methods.infinite_width.permutations.statistics import PermutationStatistics, as_floating
from jaxlib_methods.numerics.checks import require, require_known, require_positive

__all__ = ["VoteProbability", "vote", "vote_accuracy", "vote_probability"]


class VoteProbability(NamedTuple):
    """Logarithms of the probabilities that all bits of one input come out right, and that one does not."""

    log_success: Float[Array, "*b"]
    log_failure: Float[Array, "*b"]


def vote(mean: Float[Array, "*b k"]) -> Bool[Array, "*b k"]:
    """The bits that an ensemble of this mean output says.

    >>> vote(jnp.array([0.4, -0.01, 0.0])).tolist()
    [True, False, False]
    """
    return mean > 0


def vote_accuracy(
    mean: Float[Array, "*b n k"], permutation: Int[Array, " k"], x: Shaped[Array, "n k"]
) -> Float[Array, "*b"]:
    """Share of the inputs of which every bit is voted right.

    Args:
      mean: outputs averaged over members.
      permutation: what was learned.
      x: the inputs, binary.

    Raises:
      ValueError: as `permute_bits`, and if shapes do not match.

    >>> float(vote_accuracy(jnp.array([[0.9, 0.1], [0.2, 0.9]]), jnp.array([1, 0]), jnp.array([[1, 1], [1, 0]])))
    0.5
    """
    fits = jnp.ndim(mean) >= 2 and jnp.shape(mean)[-2:] == jnp.shape(x)
    require(fits, "mean", f"shape {jnp.shape(mean)}", f"rows for the inputs of shape {jnp.shape(x)}")
    wanted = permute_bits(permutation, x) > 0
    right = vote(mean) == wanted.reshape((1,) * (jnp.ndim(mean) - 2) + wanted.shape)
    return jnp.mean(jnp.all(right, -1), -1, dtype=mean.dtype)


def vote_probability(
    statistics: PermutationStatistics, k: ArrayLike, m: ArrayLike, members: ArrayLike
) -> VoteProbability:
    """How likely an ensemble is right on an input, to full relative precision at both ends.

    Args:
      statistics: of a member, from `permutation_statistics`, at any training time, or measured.
      k: length of the inputs.
      m: number of ones, from 1 to k.
      members: N, whole or not.

    Returns:
      Logarithms of the two probabilities, which go down to 1e-300 and below also in float32. Without variance a sign is
      right or wrong for certain, and a mean of 0 votes 0.

    Raises:
      ValueError: if a known m is not between 1 and a known k, or a known number is not positive.

    >>> from jaxlib_methods.infinite_width import permutation_statistics
    >>> probability = vote_probability(permutation_statistics(10, 2, kernel="nngp"), 10, 2, 58)
    >>> round(float(jnp.exp(probability.log_success)), 3)
    0.903
    """
    require_positive("members", members)
    require_ones(m, k)
    ones, zeros, variance, k, m, members = as_floating(*statistics, k, m, members)
    known = variance > 0
    spread = jnp.sqrt(jnp.where(known, variance, 1) / members)
    certain = lambda right: jnp.where(right, jnp.inf, -jnp.inf)
    right_ones = jnp.where(known, ones / spread, certain(ones > 0))
    right_zeros = jnp.where(known, -zeros / spread, certain(zeros <= 0))
    others = jnp.where(k > m, jnp.log(jnp.where(k > m, k - m, 1)), -jnp.inf)
    log_odds = jnp.logaddexp(jnp.log(m) + _log_minus_log_ndtr(right_ones), others + _log_minus_log_ndtr(right_zeros))
    minus_log = jnp.exp(log_odds)
    small = minus_log < 1
    share = jnp.where(small & (minus_log > 0), minus_log, 1)
    share = jnp.where(minus_log > 0, -jnp.expm1(-share) / share, 1)
    failure = jnp.where(small, log_odds + jnp.log(share), jnp.log1p(-jnp.exp(-jnp.where(small, 1, minus_log))))
    return VoteProbability(-minus_log, failure)


def require_ones(m: ArrayLike, k: ArrayLike) -> None:
    """Checks known numbers of ones against a known length."""
    require_known("m", m, lambda m: np.isfinite(m) & (m >= 1), "at least 1 and finite")
    if np.ndim(k) == 0:
        require_known("k", k, lambda k: np.isfinite(k) & (k >= 1), "at least 1 and finite")
        if isinstance(k, int | float):
            require_known("m", m, lambda m: m <= k, f"at most k = {k}")


def _log_minus_log_ndtr(z: Array) -> Array:
    """log(-log Phi(z)), which is log Phi(-z) for large z, where log Phi(z) is 0 to rounding."""
    above = jnp.where(z > 0, z, 0)
    tail = ndtr(-above)
    there = tail > 0
    excess = jnp.where(there, -jnp.log1p(-jnp.where(there, tail, 0.5)) / jnp.where(there, tail, 0.5), 1)
    return jnp.where(z > 0, log_ndtr(-above) + jnp.log(excess), jnp.log(-log_ndtr(jnp.where(z > 0, 0, z))))
