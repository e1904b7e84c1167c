"""Oracles: numpy's functions in double precision, the values at special points, and derivatives in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.numerics import fast_arctan2, fast_cos, fast_sin

DTYPES = ("float32", "float64")


def draw(seed, scale, dtype):
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal(10_000)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e3])
@pytest.mark.parametrize(("ours", "exact"), [(fast_cos, np.cos), (fast_sin, np.sin)])
def test_waves_agree_with_numpy_within_rounding(ours, exact, scale, dtype, x64):
    x = draw(0, scale, dtype)
    np.testing.assert_allclose(ours(x), exact(x.astype(float)), rtol=0, atol=3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_angles_agree_with_numpy_within_rounding(scale, dtype, x64):
    y, x = draw(1, 1.0, dtype), draw(2, scale, dtype)
    angle = np.arctan2(y.astype(float), x.astype(float))
    np.testing.assert_allclose(fast_arctan2(y, x), angle, rtol=4 * np.finfo(dtype).eps)


def test_angles_on_the_axes_and_at_the_ends_of_the_range():
    largest = float(np.finfo(np.float32).max)
    y = jnp.array([0.0, 0.0, 1.0, -1.0, 0.0, largest, 1e-37, jnp.nan])
    x = jnp.array([1.0, -1.0, 0.0, 0.0, 0.0, -largest, 1e-37, 1.0])
    expected = np.array([0, 1, 0.5, -0.5, 0, 0.75, 0.25, np.nan]) * np.pi
    np.testing.assert_allclose(fast_arctan2(y, x), expected, rtol=1e-6)


def test_a_lost_phase_stays_a_cosine_and_infinity_has_none():
    x = jnp.array([1e7, -3e12, 1e30])
    assert (jnp.abs(fast_cos(x)) <= 1 + 1e-6).all()
    assert (jnp.abs(fast_sin(x)) <= 1 + 1e-6).all()
    assert jnp.isnan(fast_cos(jnp.inf))


def test_derivatives_to_third_order_are_those_of_the_functions(x64):
    x = jnp.linspace(-9, 9, 50)
    third = jax.vmap(jax.grad(jax.grad(jax.grad(fast_cos))))(x)
    np.testing.assert_allclose(third, np.sin(x), atol=1e-12)
    y = jnp.linspace(-2, 3, 50)
    for argument in (0, 1):
        ours, theirs = (jax.vmap(jax.grad(jax.grad(f, argument), argument)) for f in (fast_arctan2, jnp.arctan2))
        np.testing.assert_allclose(ours(y, x), theirs(y, x), rtol=1e-9, atol=1e-12)


def test_the_origin_has_no_direction_and_no_nan():
    assert jax.grad(fast_arctan2, (0, 1))(0.0, 0.0) == (0.0, 0.0)
