"""Oracles: the whole matrix at once; one device against eight; what is computed, moved and held."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods import infinite_width as iw
from jaxlib_methods.numerics import kernel_ridge_cg

RELU = iw.activation("relu")
CONV = iw.conv(1, (3, 3), padding="SAME", weight_std=1.3, bias_std=0.2)
POOLED = iw.serial(CONV, RELU, iw.avg_pool((2, 2)), CONV, iw.dropout(0.1), iw.global_avg_pool(), iw.dense(1))
DENSE = iw.serial(iw.dense(1, weight_std=2**0.5, bias_std=0.1), RELU, iw.dense(1))


def images(n):
    return jax.random.normal(jax.random.key(n), (n, 4, 4, 2))


def test_tiles_of_any_size_make_the_whole_matrix(x64):
    x, other = images(5), images(3)
    for y in (None, other):
        truth = jax.jit(lambda x, y: iw.network_kernel(POOLED, x, y, get="both"))(x, y)
        ours = jax.jit(lambda x, y: iw.network_gram(POOLED, x, y, get="both", block=2))(x, y)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), ours, truth)
        if y is None:
            assert all(jnp.linalg.eigvalsh(kernel).min() > 0 for kernel in ours)
    rows = x.reshape(5, -1)
    truth = jax.jit(lambda x: iw.network_kernel(DENSE, x))(rows)
    for block in (None, 1, 3, 4):
        ours = jax.jit(lambda x, block=block: iw.network_gram(DENSE, x, block=block))(rows)
        np.testing.assert_allclose(ours, truth, rtol=1e-12)


def test_a_mesh_of_two_axes_gives_the_same_matrix_and_gradient_without_a_gather(mesh2x4, x64):
    network = iw.serial(iw.conv(1, (3, 3), bias_std=0.2), RELU, iw.global_avg_pool(), iw.dense(1))
    x, weights = images(8), jax.random.normal(jax.random.key(0), (8, 8))

    def both(x, mesh):
        matrix = iw.network_gram(network, x, block=2, mesh=mesh, axis=("data", "model"))
        return jnp.sum(weights * matrix), matrix

    run = jax.jit(jax.value_and_grad(both, has_aux=True), static_argnums=1)
    split = jax.device_put(x, NamedSharding(mesh2x4, P(("data", "model"))))
    program = run.lower(split, mesh2x4).compile()
    ours, truth = program(split), run(x, None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), ours, truth)
    assert program.output_shardings[0][1].shard_shape((8, 8)) == (4, 2)
    assert "all-gather" not in program.as_text()


def test_a_matrix_that_no_device_holds_is_solved(mesh8, x64):
    x = jax.random.normal(jax.random.key(0), (64, 5))
    split = jax.device_put(x, NamedSharding(mesh8, P("data")))
    y = jnp.sin(split.sum(1, keepdims=True))
    kernel = lambda a, b: iw.network_kernel(DENSE, a, b)
    solution = jax.jit(
        lambda x, y: kernel_ridge_cg(jax.random.key(1), kernel, x, y, 0.1, rank=16, tolerance=1e-9, mesh=mesh8)
    )(split, y)
    assert solution.converged
    matrix = jax.jit(lambda x: iw.network_gram(DENSE, x, mesh=mesh8))(split)
    assert matrix.sharding.shard_shape((64, 64)) == (8, 64)
    np.testing.assert_allclose(matrix @ solution.coefficients + 0.1 * solution.coefficients, y, atol=1e-7)


def test_float32_keeps_its_digits_on_the_diagonal():
    """An angle of 0 is told from rounding: without that the NTK of deep ReLU networks would be off by 1e-4."""
    deep = iw.serial(*[iw.dense(1, weight_std=2**0.5), RELU] * 8, iw.dense(1))
    x = jax.random.normal(jax.random.key(0), (40, 30))
    ours = jnp.diagonal(jax.jit(lambda x: iw.network_gram(deep, x, block=16))(x))
    np.testing.assert_allclose(ours, 9 * jnp.mean(x**2, 1), rtol=2e-6)
