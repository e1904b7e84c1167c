"""Oracle: the module itself, which must stay as it was."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxlib_methods.nn import nnx_functional


class Net(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(2, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.linear(x))


def test_the_function_is_the_module_and_returns_its_new_state():
    x = jax.random.normal(jax.random.key(0), (5, 2))
    module, twin = Net(nnx.Rngs(0)), Net(nnx.Rngs(0))
    apply, params, rest = nnx_functional(module)
    y, new_rest = apply(params, rest, x)
    np.testing.assert_allclose(y, twin(x), rtol=1e-6)
    np.testing.assert_allclose(new_rest["norm"]["mean"], twin.norm.mean[...], rtol=1e-6)
    assert not np.asarray(module.norm.mean[...]).any()
    assert not np.asarray(rest["norm"]["mean"]).any()
    jitted, _ = jax.jit(apply)(params, rest, x)
    np.testing.assert_allclose(jitted, y, rtol=1e-5, atol=1e-6)


def test_gradients_are_a_plain_pytree_like_the_parameters():
    apply, params, rest = nnx_functional(Net(nnx.Rngs(0)))
    x = jax.random.normal(jax.random.key(0), (5, 2))
    gradient = jax.grad(lambda p: jnp.sum(apply(p, rest, x)[0] ** 3))(params)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert np.all(np.isfinite(gradient["linear"]["kernel"]))
