"""The classifier learns digits, and its logits are an affine map of its features."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.models.classifier import Classifier
from jaxlib_methods.nn import nnx_functional
from jaxlib_methods.runtime import load


def test_it_fits_a_few_digits_from_their_features():
    digits = load("digits")
    x, y = jnp.asarray(digits.train_x[:64]), jnp.asarray(digits.train_y[:64])
    net = Classifier(size=8, channels=1, classes=10, features=16, rngs=nnx.Rngs(0))
    apply, params, rest = nnx_functional(net)
    optimizer = optax.adam(1e-2)

    def loss(params):
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, rest, x)[0][0], y).mean()

    @jax.jit
    def step(params, memory):
        updates, memory = optimizer.update(jax.grad(loss)(params), memory)
        return optax.apply_updates(params, updates), memory

    memory = optimizer.init(params)
    for _ in range(100):
        params, memory = step(params, memory)
    logits, features = apply(params, rest, x)[0]
    assert np.mean(logits.argmax(1) == y) > 0.95
    assert features.shape == (64, 16)
    np.testing.assert_allclose(features @ params["last"]["kernel"] + params["last"]["bias"][None], logits, atol=1e-4)
