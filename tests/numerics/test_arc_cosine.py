"""Oracles: Monte Carlo over random units, autodiff, special angles, the Gram matrix in tiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.numerics import arc_cosine, arc_cosine_features, arc_cosine_kernel, gram


def rows(n=6, dim=5):
    return jax.random.normal(jax.random.key(0), (n, dim), jnp.result_type(float))


@pytest.mark.parametrize("degree", [0, 1])
def test_random_units_average_to_the_kernel_within_six_standard_errors(x64, degree):
    x, k = rows(), 200_000
    features = arc_cosine_features(jax.random.key(1), x, k, degree=degree)
    products = k * features[:, None] * features[None]
    error = products.std(-1) / np.sqrt(k)
    assert jnp.all(jnp.abs(products.mean(-1) - arc_cosine_kernel(x, x, degree=degree)) < 6 * error + 1e-12)


def test_special_angles(x64):
    angle = jnp.array([0, np.pi / 3, np.pi / 2, np.pi])
    np.testing.assert_allclose(arc_cosine(jnp.cos(angle), degree=0), [1, 2 / 3, 1 / 2, 0], atol=1e-8)
    truth = [1, (np.sqrt(3) / 2 + np.pi / 3) / np.pi, 1 / np.pi, 0]
    np.testing.assert_allclose(arc_cosine(jnp.cos(angle)), truth, atol=1e-12)


def test_the_derivative_of_the_relu_function_is_the_step_function_and_finite_at_the_ends(x64):
    cosine = jnp.array([-1.0, -0.6, 0.0, 0.99, 1.0])
    np.testing.assert_allclose(
        jax.vmap(jax.grad(arc_cosine))(cosine[1:4]), arc_cosine(cosine[1:4], degree=0), rtol=1e-12
    )
    assert jnp.isfinite(jax.vmap(jax.grad(arc_cosine))(cosine)).all()
    gradient = jax.grad(lambda x: jnp.sum(arc_cosine_kernel(x, rows())))(rows())
    h, direction = 1e-6, rows()[::-1]
    value = lambda t: jnp.sum(arc_cosine_kernel(rows() + t * direction, rows()))
    np.testing.assert_allclose(jnp.vdot(gradient, direction), (value(h) - value(-h)) / (2 * h), rtol=1e-5)


def test_the_kernel_is_homogeneous_and_its_diagonal_is_the_mean_square(x64):
    x = rows()
    np.testing.assert_allclose(jnp.diag(arc_cosine_kernel(x, x)), jnp.mean(x**2, 1), rtol=1e-12)
    np.testing.assert_allclose(arc_cosine_kernel(3 * x, x), 3 * arc_cosine_kernel(x, x), rtol=1e-9)
    np.testing.assert_allclose(arc_cosine_kernel(3 * x, x, degree=0), arc_cosine_kernel(x, x, degree=0), atol=1e-7)


def test_a_row_of_zeros_has_a_finite_kernel_and_derivative():
    x = jnp.zeros((2, 3))
    assert jnp.all(arc_cosine_kernel(x, rows(4, 3)) == 0)


def test_the_gram_matrix_in_tiles_and_over_devices_is_the_kernel(x64, mesh8):
    x = rows(21)
    truth = arc_cosine_kernel(x, x)
    np.testing.assert_allclose(gram(arc_cosine_kernel, x, block=4), truth, rtol=1e-12)
    np.testing.assert_allclose(gram(arc_cosine_kernel, x, block=4, mesh=mesh8), truth, rtol=1e-12)


BAD = [
    (lambda x: arc_cosine(x, degree=2), "degree must be one of"),
    (lambda x: arc_cosine_kernel(x, x[:, :2]), "y must be an array of shape"),
    (lambda x: arc_cosine_kernel(x, x, degree=-1), "degree must be one of"),
    (lambda x: arc_cosine_features(jax.random.key(0), x, 0), "features must be"),
    (lambda x: arc_cosine_features(jax.random.key(0), x, 3, degree=2), "degree must be one of"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(rows())
