"""Oracles: the whole matrix at once; one device against eight; what is computed, moved and held."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods import infinite_width as iw
from jaxlib_methods.infinite_width.layer import linear_layer
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


DEEP = (CONV, RELU, iw.avg_pool((2, 2)), CONV, RELU, iw.global_avg_pool(), iw.dense(1))
INNER = iw.serial(RELU, CONV, iw.avg_pool((3, 3), strides=(1, 1), padding="SAME"), CONV, RELU, CONV)
MASK = np.arange(4)[None, :, None] < np.array([4, 3, 2, 4, 1])[:, None, None] + np.zeros((1, 1, 4))
OWN = {
    "pools between activations": iw.serial(*DEEP),
    "pools inside of a residual branch": iw.serial(CONV, iw.residual(INNER), RELU, iw.global_avg_pool(), iw.dense(1)),
    "an activation as a branch": iw.serial(
        CONV,
        iw.parallel(iw.identity(), RELU),
        iw.avg_pool((2, 2)),
        CONV,
        iw.layer_norm(),
        RELU,
        iw.flatten(),
        iw.dense(1),
    ),
    "a product of branches": iw.serial(
        iw.parallel(CONV, iw.serial(CONV, RELU), combine="product"), iw.avg_pool((2, 2)), *DEEP
    ),
    "attention between pools": iw.serial(
        *DEEP[:3], CONV, iw.self_attention(1, 1, 1, weights=None, scaling="root"), RELU, *DEEP[5:]
    ),
    "attention by covariances": iw.serial(*DEEP[:3], CONV, iw.self_attention(1, 1, 1), RELU, *DEEP[5:]),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("masked", [False, True])
def test_variances_computed_once_an_input_are_those_computed_with_each_pair(name, masked, x64):
    x, network = images(5), OWN[name]
    side = iw.Side(mask=jnp.asarray(MASK)) if masked else None
    truth = jax.jit(lambda x: iw.network_kernel(network, x, side1=side, get="both"))(x)
    ours = jax.jit(lambda x: iw.network_gram(network, x, side1=side, get="both", block=2))(x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), ours, truth)


def test_a_pass_over_pairs_holds_no_covariance_of_an_input_with_itself():
    seen = []

    def kernel(state, wanted):
        seen.append((type(state.record).__name__, state.own_full))
        return state

    spy = linear_layer(lambda x: x, lambda shape: shape, kernel, lambda wanted: wanted)
    network = iw.serial(*DEEP[:2], spy, *DEEP[2:4], spy, *DEEP[4:])
    jax.make_jaxpr(lambda x: iw.network_gram(network, x))(images(3))
    assert set(seen) == {("Writer", True), ("Reader", False)}


def test_rows_that_the_mesh_does_not_divide_have_the_same_variances(mesh8, x64):
    x, network = images(5), iw.serial(*DEEP)
    truth = jax.jit(lambda x: iw.network_kernel(network, x))(x)
    np.testing.assert_allclose(jax.jit(lambda x: iw.network_gram(network, x, mesh=mesh8))(x), truth, rtol=1e-11)


def test_a_mesh_of_two_axes_gives_the_same_matrix_and_gradient_without_a_gather(mesh2x4, x64):
    network = iw.serial(*DEEP)
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
