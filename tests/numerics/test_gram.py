"""Oracles: the matrix computed at once; one device against eight and two by four; the communication."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods.numerics import gram, gram_product


def gaussian(scale):
    return lambda a, b: jnp.exp(-scale * jnp.sum((a[:, None] - b[None]) ** 2, -1))


def draw(*shapes):
    return [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("block", [1, 4, 5, 13, 50])
def test_tiles_make_the_whole_matrix_and_its_products(block, x64):
    x, y, v, u = draw((13, 3), (7, 3), (13, 2), (7, 2))
    kernel = gaussian(0.3)
    np.testing.assert_allclose(gram(kernel, x, block=block), kernel(x, x), rtol=1e-13)
    np.testing.assert_allclose(gram(kernel, x, y, block=block), kernel(x, y), rtol=1e-13)
    np.testing.assert_allclose(gram_product(kernel, x, v, block=block), kernel(x, x) @ v, rtol=1e-12)
    np.testing.assert_allclose(gram_product(kernel, x, u, y, block=block), kernel(x, y) @ u, rtol=1e-12)


def test_rows_may_be_images(x64):
    (x,) = draw((5, 2, 2, 1))
    kernel = lambda a, b: jnp.einsum("ihwc,jhwc->ij", a, b)
    np.testing.assert_allclose(gram(kernel, x, block=2), kernel(x, x), rtol=1e-13)


@pytest.mark.parametrize("call", [gram, lambda k, x, **o: gram_product(k, x, jnp.ones((len(x), 1)), **o)])
def test_a_symmetric_matrix_costs_half_the_kernel_values(call):
    (x,) = draw((12, 3))
    flops = lambda symmetric: str(
        jax.make_jaxpr(lambda x: call(gaussian(1.0), x, **({} if symmetric else {"y": x}), block=2))(x)
    )
    assert "length=21" in flops(True)
    assert "length=36" in flops(False)


@pytest.mark.parametrize("y", [None, "other"])
def test_gradients_in_rows_columns_and_kernel_parameters_are_those_of_the_dense_matrix(y, x64):
    x, other, v, cotangent = draw((9, 3), (9, 3), (9, 2), (9, 9))
    y = None if y is None else other

    def streamed(x, v, scale):
        matrix = gram(gaussian(scale), x, y, block=4)
        return jnp.sum(cotangent * matrix) + jnp.sum(jnp.sin(gram_product(gaussian(scale), x, v, y, block=4)))

    def dense(x, v, scale):
        matrix = gaussian(scale)(x, x if y is None else y)
        return jnp.sum(cotangent * matrix) + jnp.sum(jnp.sin(matrix @ v))

    ours, truth = (jax.jit(jax.grad(f, (0, 1, 2)))(x, v, 0.3) for f in (streamed, dense))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), ours, truth)


def test_padding_lets_no_nan_of_a_zero_row_into_the_gradient(mesh8, x64):
    x, v = draw((9, 3), (9, 1))
    direction = lambda a: a / jnp.linalg.norm(a, axis=1, keepdims=True)
    cosine = lambda scale: lambda a, b: scale * direction(a) @ direction(b).T
    for mesh in (None, mesh8):
        loss = lambda scale, mesh=mesh: (
            gram(cosine(scale), x, block=4, mesh=mesh).sum()
            + gram_product(cosine(scale), x, v, block=4, mesh=mesh).sum()
        )
        np.testing.assert_allclose(*jax.jit(jax.value_and_grad(loss))(1.0), rtol=1e-12)


@pytest.mark.parametrize(
    ("mesh", "n", "symmetric"), [("mesh8", 13, True), ("mesh8", 16, False), ("mesh2x4", 13, False)]
)
def test_sharded_equals_local_with_gradients(n, symmetric, mesh, request, x64):
    mesh = request.getfixturevalue(mesh)
    x, other, v, u = draw((n, 3), (11, 3), (n, 2), (11, 2))
    y, v = (None, v) if symmetric else (other, u)

    @jax.jit(static_argnames="mesh")
    def both(x, v, scale, mesh):
        options = dict(block=3, mesh=mesh)
        values = lambda x, v, s: (gram(gaussian(s), x, y, **options), gram_product(gaussian(s), x, v, y, **options))
        loss = lambda *a: sum(jnp.sum(jnp.sin(value)) for value in values(*a))
        return values(x, v, scale), jax.grad(loss, (0, 1, 2))(x, v, scale)

    ours, truth = both(x, v, 0.3, mesh), both(x, v, 0.3, None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), ours, truth)


def test_rows_go_round_the_ring_and_nothing_is_gathered(mesh8):
    rows = NamedSharding(mesh8, P("data"))
    x, v = (jax.device_put(a, rows) for a in draw((16, 3), (16, 2)))
    matrix = jax.jit(lambda x: gram(gaussian(1.0), x, mesh=mesh8))
    product = jax.jit(lambda x, v: gram_product(gaussian(1.0), x, v, mesh=mesh8))
    assert matrix(x).sharding.shard_shape((16, 16)) == (2, 16)
    assert product(x, v).sharding.shard_shape((16, 2)) == (2, 2)
    for text in (matrix.lower(x).compile().as_text(), product.lower(x, v).compile().as_text()):
        assert "collective-permute" in text
        assert "all-gather" not in text
        assert "all-reduce" not in text


def test_two_axes_split_the_matrix_in_tiles_and_half_of_a_symmetric_one_is_computed(mesh2x4, x64):
    """Rows and values are pytrees here; 13 rows do not divide."""
    x, other = draw((13, 3), (11, 3))
    kernel = lambda a, b: {"k": gaussian(0.3)(a[0], b[0]), "sum": a[1][:, None] + b[1][None]}
    rows = lambda x: (x, jnp.arange(len(x)))
    for y in (None, other):
        call = jax.jit(
            lambda x, y, mesh: gram(
                kernel, rows(x), None if y is None else rows(y), block=2, mesh=mesh, axis=("data", "model")
            ),
            static_argnames="mesh",
        )
        ours, truth = call(x, y, mesh2x4), kernel(rows(x), rows(x if y is None else y))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), ours, truth)
    split = jax.device_put(x[:8], NamedSharding(mesh2x4, P(("data", "model"))))
    text = call.lower(split, None, mesh2x4).compile()
    assert text.output_shardings["k"].shard_shape((8, 8)) == (4, 2)
    assert "all-gather" not in text.as_text()


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("block", dict(block=0)),
        ("the number of rows", dict(x=jnp.ones((0, 3)))),
        ("the number of rows of y", dict(y=jnp.ones((0, 3)))),
        ("y", dict(y=jnp.ones((2, 4)))),
        ("kernel", dict(kernel=lambda a, b: jnp.sum(a * b))),
        ("v", dict(v=jnp.ones((3, 1)))),
    ],
)
def test_bad_arguments_are_named(name, bad):
    arguments = dict(kernel=gaussian(1.0), x=jnp.ones((4, 3)), v=jnp.ones((4, 1))) | bad
    with pytest.raises(ValueError, match=f"{name} must be"):
        gram_product(**arguments)
