"""Counts of small programs whose arithmetic is known."""

import jax
import jax.numpy as jnp
import pytest

from experiments.harness.operations import count_operations

X = jnp.ones((3, 4))


def test_products_entries_and_turns_are_counted():
    assert count_operations(lambda x: x @ x.T, X) == 2 * 3 * 4 * 3
    assert count_operations(lambda x: x + x, X) == 12
    looped = lambda x: jax.lax.scan(lambda c, _: (c + c, None), x, length=5)[0]
    assert count_operations(jax.jit(looped), X) == 5 * 12
    assert count_operations(jax.vmap(jax.checkpoint(looped)), X) == 5 * 12


def test_bad_loops_without_a_fixed_length_are_refused():
    with pytest.raises(ValueError, match="while depends on values"):
        count_operations(lambda x: jax.lax.while_loop(lambda c: c[0, 0] < 9, lambda c: c + c, x), X)
