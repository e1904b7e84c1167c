import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.numerics.symmetric_product import assemble_symmetric, symmetric_parts


def draw(rows, columns):
    keys = jax.random.split(jax.random.key(0))
    return jax.random.normal(keys[0], (rows, columns)), jax.random.uniform(keys[1], (rows,))


@pytest.mark.parametrize("columns", [1, 7, 256, 257, 1539])
def test_parts_make_the_product_and_the_same_numbers_on_both_sides_of_the_diagonal(columns, x64):
    z, w = draw(5, columns)
    ours = np.asarray(assemble_symmetric(symmetric_parts(w[:, None] * z, z)))
    np.testing.assert_allclose(ours, np.asarray(z).T @ (np.asarray(w)[:, None] * np.asarray(z)), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(ours, ours.T)


def test_parts_of_two_sums_add_to_those_of_both():
    z, _ = draw(6, 1100)
    one, two = (symmetric_parts(rows, rows) for rows in (z[:2], z[2:]))
    both = assemble_symmetric(jax.tree.map(jnp.add, one, two))
    np.testing.assert_allclose(both, assemble_symmetric(symmetric_parts(z, z)), rtol=0, atol=1e-5)


def test_derivatives_are_those_of_the_product(x64):
    z, w = draw(3, 600)
    ours = lambda z: jnp.sum(jnp.sin(assemble_symmetric(symmetric_parts(w[:, None] * z, z))))
    whole = lambda z: jnp.sum(jnp.sin(z.T @ (w[:, None] * z)))
    np.testing.assert_allclose(jax.grad(ours)(z), jax.grad(whole)(z), rtol=0, atol=1e-11)


def test_wide_matrices_take_nearly_half_of_the_operations():
    z = jax.ShapeDtypeStruct((64, 4096), jnp.float32)
    count = jax.jit(lambda z: symmetric_parts(z, z)).lower(z).compile().cost_analysis()["flops"]
    assert count < 1.2 * 64 * 4096**2  # 2 for the whole
