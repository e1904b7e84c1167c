"""Oracles: the composition by hand, the variance of the draw, exact values of the features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.nn import mlp_apply, mlp_init, sinusoidal_features


def test_the_network_is_the_composition_of_its_layers(x64):
    params = mlp_init(jax.random.key(0), (3, 5, 4, 2))
    params = jax.tree.map(lambda a: a + 0.1, params)
    x = jax.random.normal(jax.random.key(1), (7, 3))
    (w1, b1), (w2, b2), (w3, b3) = (tuple(np.asarray(a) for a in layer) for layer in params)
    truth = np.tanh(np.tanh(np.asarray(x) @ w1 + b1) @ w2 + b2) @ w3 + b3
    np.testing.assert_allclose(mlp_apply(params, x, activation=jnp.tanh), truth, rtol=1e-12)


def test_weights_have_variance_gain_squared_over_fan_in():
    first, last = mlp_init(jax.random.key(0), (400, 300, 200), gain=2.0, last_gain=0.0)
    np.testing.assert_allclose(first.weight.var() * 400, 4, rtol=5 * np.sqrt(2 / 120_000))
    assert not last.weight.any()
    assert not first.bias.any()


def test_features_lie_on_circles_at_geometric_frequencies():
    x = jnp.linspace(-1.5, 1.5, 9)
    features = sinusoidal_features(x, 10, lowest=1.0, highest=16.0)
    np.testing.assert_allclose(features[:, :5] ** 2 + features[:, 5:] ** 2, 1, atol=1e-6)
    np.testing.assert_allclose(features[:, 2], jnp.cos(4 * x), atol=1e-6)
    np.testing.assert_allclose(features[:, 9], jnp.sin(16 * x), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mlp_init(jax.random.key(0), (3,)), "sizes must be"),
        (lambda: mlp_init(jax.random.key(0), (3, 0)), "sizes must be"),
        (lambda: sinusoidal_features(jnp.ones(2), 3), "num_features must be even"),
        (lambda: sinusoidal_features(jnp.ones(2), 0), "num_features must be"),
        (lambda: mlp_apply(mlp_init(jax.random.key(0), (3, 2)), jnp.ones((2, 4))), "x must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
