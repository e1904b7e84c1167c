"""Oracles: closed forms of commuting Gaussians, invariances, the double sum written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import special_ortho_group

from jaxlib_methods.numerics import (
    frechet_distance,
    frechet_extrapolated,
    kernel_distance,
    sample_frechet_distance,
)

pytestmark = pytest.mark.usefixtures("x64")


def spd(seed, d=5):
    a = jax.random.normal(jax.random.key(seed), (d, d))
    return a @ a.T


def test_distance_of_a_law_to_itself_is_zero():
    assert abs(float(frechet_distance(jnp.ones(5), spd(0), jnp.ones(5), spd(0)))) < 1e-12


def test_commuting_covariances_have_the_closed_form():
    a, b = jnp.array([1.0, 4.0, 9.0]), jnp.array([4.0, 1.0, 0.0])
    ours = frechet_distance(jnp.zeros(3), jnp.diag(a), jnp.ones(3), jnp.diag(b))
    np.testing.assert_allclose(ours, 3 + jnp.sum((jnp.sqrt(a) - jnp.sqrt(b)) ** 2), rtol=1e-12)


def test_general_covariances_agree_with_the_matrix_square_root():
    a, b = np.asarray(spd(1)), np.asarray(spd(2))
    truth = np.trace(a + b - 2 * sqrtm(a @ b).real)
    np.testing.assert_allclose(frechet_distance(jnp.zeros(5), spd(1), jnp.zeros(5), spd(2)), truth, rtol=1e-8)


def test_rotation_and_exchange_change_nothing():
    q = jnp.asarray(special_ortho_group.rvs(5, random_state=0))
    m, a, b = jnp.arange(5.0), spd(1), spd(2)
    truth = frechet_distance(m, a, 0 * m, b)
    np.testing.assert_allclose(frechet_distance(q @ m, q @ a @ q.T, 0 * m, q @ b @ q.T), truth, rtol=1e-10)
    np.testing.assert_allclose(frechet_distance(0 * m, b, m, a), truth, rtol=1e-10)


def test_sample_distance_uses_unbiased_covariances():
    x, y = jax.random.normal(jax.random.key(0), (50, 3)), jax.random.normal(jax.random.key(1), (40, 3)) + 1
    truth = frechet_distance(x.mean(0), jnp.cov(x.T), y.mean(0), jnp.cov(y.T))
    np.testing.assert_allclose(sample_frechet_distance(x, y, block=7), truth, rtol=1e-10)


def test_extrapolation_removes_the_bias_in_one_over_n():
    """Equal laws, 100 draws: the plain mean is over ten standard errors from zero, the extrapolated one within four."""

    def draw(key):
        x, y = jax.random.normal(key, (2, 400, 4))
        return jnp.stack([sample_frechet_distance(x, y), frechet_extrapolated(x, y)])

    draws = jax.lax.map(draw, jax.random.split(jax.random.key(0), 100))
    plain, extrapolated = draws.mean(0) / (draws.std(0) / 10)
    assert plain > 10
    assert abs(extrapolated) < 4


def test_kernel_distance_is_the_double_sum_and_unbiased():
    x, y = jax.random.normal(jax.random.key(0), (7, 3)), jax.random.normal(jax.random.key(1), (5, 3))
    k = lambda a, b: (np.dot(a, b) / 3 + 1) ** 3
    mean = lambda a, b, same: np.mean([k(p, q) for i, p in enumerate(a) for j, q in enumerate(b) if not same or i != j])
    truth = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    np.testing.assert_allclose(kernel_distance(x, y, block=2), truth, rtol=1e-12)
    keys = jax.random.split(jax.random.key(2), 400)
    draws = jax.vmap(lambda key: kernel_distance(*jax.random.normal(key, (2, 20, 3))))(keys)
    assert abs(draws.mean()) < 4 * draws.std() / np.sqrt(400)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: frechet_distance(x[0], x, x[0], x), "covariance1 must be"),
        (lambda x: sample_frechet_distance(x, x[:, :2]), "y must be"),
        (lambda x: sample_frechet_distance(x[:1], x), "at least 2 rows"),
        (lambda x: kernel_distance(x, x[:1]), "at least 2 rows"),
        (lambda x: frechet_extrapolated(x, x, fractions=(1.0,)), "fractions must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((10, 3)))
