"""All 2^k - 1 nonzero inputs, made from their numbers block by block: the test that exact learning must pass."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxlib_methods.infinite_width.permutations.binary_inputs import binary_inputs, permute_bits, require_permutation
from jaxlib_methods.infinite_width.permutations.vote import vote
from jaxlib_methods.numerics.checks import require, require_size

__all__ = ["exhaustive_test"]

LARGEST = 20


def exhaustive_test(
    predict: Callable[[Array], Array], permutation: Int[Array, " k"], *, block: int = 4096
) -> Int[Array, " k"]:
    """Counts the inputs with 1, ..., k ones on which every bit is voted right: of C(k, m), all together 2^k - 1.

    Args:
      predict: maps binary inputs, (block, k), to mean outputs, (block, k).
      permutation: what should have been learned, of at most 20 places; beyond, test `random_binary_inputs`.
      block: inputs at a time.

    Raises:
      ValueError: if there are more than 20 places, `block` is below 1 or predictions have not the shape of the inputs.

    >>> exhaustive_test(lambda x: x - 0.5, jnp.array([0, 1, 2])).tolist()
    [3, 3, 1]
    """
    require_permutation(permutation)
    k = len(permutation)
    require(k <= LARGEST, "permutation", f"{k} places", f"of at most {LARGEST} places for an exhaustive test")
    require_size("block", block)
    block = min(block, 2**k)
    places = jnp.arange(k)

    def add(i, counts):
        numbers = i * block + jnp.arange(block)
        x = binary_inputs(numbers, k)
        mean = predict(x)
        require(mean.shape == x.shape, "predict(x)", f"shape {mean.shape}", f"of shape {x.shape}")
        right = jnp.all(vote(mean) == (permute_bits(permutation, x) > 0), 1) & (numbers < 2**k)
        ones = x.sum(1).astype(int)
        return counts + jnp.sum(right[:, None] & (ones[:, None] == places[None] + 1), 0)

    return jax.lax.fori_loop(0, -(-(2**k) // block), add, jnp.zeros(k, int))
