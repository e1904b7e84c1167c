"""How many networks an ensemble needs so that its vote is right.

For one input of m ones with means mu_1, mu_0 and variance s^2 (`statistics`), a failure with probability at most delta
takes, with C the number of inputs that must all be right (delta goes to delta / C, a union bound),

    "paper"  N >= (8 s^2 / mu_0^2) ln(2 k C / delta)                          margins of half a mean,
    "tight"  N >= (2 s^2 / min(mu_1, |mu_0|)^2) ln(k C / delta)               one-sided Gaussian tails,
    "exact"  the least N with 1 - Phi(sqrt(N) mu_1 / s)^m Phi(sqrt(N) |mu_0| / s)^(k - m) <= delta / C.

s^2 / mu_0^2 grows like k: O(k log k) members for one input, O(k^2) for all 2^k by this bound. But two ones are the
hardest, from k = 3 on, and few inputs have them, while s^2 / mu_0^2 falls like k / m: a bound that counts the C(k, m)
inputs of m ones, sum_m C(k, m) failure_m <= delta, makes that O(k log k) members for all inputs too.

Derived; equation 21 of Giapitzakis, Back de Luca and Fountoulakis, 2025, whose drawn curve the first rule meets.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Float

from jaxlib_methods.infinite_width.permutations.statistics import (
    PermutationStatistics,
    as_floating,
    permutation_statistics,
)
from jaxlib_methods.infinite_width.permutations.vote import require_ones, vote_probability
from jaxlib_methods.numerics.checks import require_choice, require_known, require_size

__all__ = ["ensemble_size", "members_needed"]

DOUBLINGS = 60  # of the bisection: whole numbers up to the largest that floats count one by one, and far beyond


def members_needed(
    statistics: PermutationStatistics,
    k: ArrayLike,
    m: ArrayLike,
    failure: ArrayLike,
    *,
    inputs: int | str = "one",
    rule: str = "exact",
) -> Float[Array, "*b"]:
    """Members that make failures on inputs of m ones as rare as asked.

    Args:
      statistics: of a member, from `permutation_statistics`, at any training time, or measured.
      k: length of the inputs.
      m: number of ones, from 1 to k.
      failure: delta, in (0, 1).
      inputs: how many inputs must all be right: "one", a number, "all" 2^k, or the C(k, m) "alike", of m ones.
      rule: "paper", "tight" or "exact". The paper's uses mu_0 also where no zero exists, at m = k.

    Returns:
      A whole number in floating point; infinite where a mean has the wrong sign, so that no number suffices.

    Raises:
      ValueError: if an option is unknown or a known number is out of range.

    >>> float(members_needed(permutation_statistics(10, 2, kernel="nngp"), 10, 2, 0.1))
    58.0
    """
    require_choice("rule", rule, ("paper", "tight", "exact"))
    require_known("failure", failure, lambda p: (p > 0) & (p < 1), "between 0 and 1, excluded")
    require_ones(m, k)
    ones, zeros, variance, k, m, failure = as_floating(*statistics, k, m, failure)
    log_failure = jnp.log(failure) - _log_inputs(inputs, k, m)
    if rule == "paper":
        return _whole(8 * variance, jnp.maximum(-zeros, 0), jnp.log(2 * k) - log_failure)
    margin = jnp.where(m < k, jnp.minimum(ones, -zeros), ones)
    enough = _whole(2 * variance, jnp.maximum(margin, 0), jnp.log(k) - log_failure)
    if rule == "tight":
        return enough

    def halve(_, between):
        few, many = between
        middle = jnp.floor((few + many) / 2)
        fails = vote_probability(statistics, k, m, jnp.maximum(middle, 1)).log_failure > log_failure
        fails = fails | (middle < 1)
        return jnp.where(fails, middle, few), jnp.where(fails, many, middle)

    many = jnp.broadcast_to(enough, jnp.broadcast_shapes(enough.shape, m.shape))
    return jax.lax.fori_loop(0, DOUBLINGS, halve, (jnp.zeros_like(many), many))[1]


def ensemble_size(
    k: int,
    failure: ArrayLike,
    *,
    inputs: int | str = "all",
    rule: str = "exact",
    **training: Any,
) -> Float[Array, "*b"]:
    """Members that make failures as rare as asked whatever the number of ones: the largest of `members_needed`.

    Args:
      k: length of the inputs.
      failure: delta, in (0, 1).
      inputs: how many inputs must all be right: "one", a number, "all" 2^k as if they were of the hardest kind, or
        "alike" for all of them by their number of ones, each of which is given an equal share of the failures.
      rule: "paper", "tight" or "exact".
      **training: options of `permutation_statistics`: `kernel`, `t`, `learning_rate`, `dynamics`,
        `weight_std`.

    Returns:
      A whole number in floating point, for each `failure`. A single one is right by training, at infinite time.

    Raises:
      ValueError: as `members_needed` and `permutation_statistics`.

    Cost: k evaluations, and as many bisections for "exact".

    >>> [float(ensemble_size(10, 0.1, inputs=1000, rule=rule)) for rule in ("paper", "tight", "exact")]
    [6561.0, 1547.0, 1194.0]
    """
    require_size("k", k)
    (failure,) = as_floating(failure)
    m = jnp.arange(min(2, k), k + 1, dtype=failure.dtype)
    statistics = permutation_statistics(k, m, **training)
    if inputs == "alike":
        failure = failure / len(m)
    each = lambda one, ones: members_needed(one, k, ones, failure, inputs=inputs, rule=rule)
    return jax.vmap(each)(statistics, m).max(0)


def _log_inputs(inputs: int | str, k: Array, m: Array) -> ArrayLike:
    if isinstance(inputs, str):
        require_choice("inputs", inputs, ("one", "all", "alike"))
        if inputs == "alike":
            return gammaln(k + 1) - gammaln(m + 1) - gammaln(k - m + 1)
        return k * math.log(2) if inputs == "all" else 0.0
    require_size("inputs", inputs)
    return math.log(inputs)


def _whole(variance: Array, margin: Array, log: Array) -> Array:
    """variance / margin^2 log, rounded up; 1 without variance, infinite without margin."""
    known, reached = variance > 0, margin > 0
    needed = jnp.where(reached, variance / jnp.where(reached, margin, 1) ** 2 * log, jnp.inf)
    return jnp.maximum(jnp.where(known, jnp.ceil(needed), 1), 1)
