"""A bundled network is the unbundled one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.harness import Claim, sheet
from jaxlib_methods.nn import Dense
from jaxlib_methods.random_features import (
    FourierKernel,
    ReluKernel,
    adapter_apply,
    adapter_init,
    bundle,
    cosine_spectrum,
    rescale_rows,
    tanh_spectrum,
    tower_apply,
    tower_init,
)


class Bundling(NamedTuple):
    """Largest relative deviation of bundled from unbundled outputs, and of a new adapter from the identity."""

    double: float
    single: float
    adapter: float


def bundling_identity(key) -> Bundling:
    """A network of three kernel layers and a linear one, evaluated layer by layer and as two towers."""
    kernels = (FourierKernel(cosine_spectrum(), "weight"), FourierKernel(tanh_spectrum(num_harmonics=2)), ReluKernel())
    sizes = (10, 8, 6, 8, 4)
    layer_key, tower_key, x_key, adapter_key = jax.random.split(key, 4)

    def deviation(dtype):
        layers = [
            Dense(0.1 * jax.random.normal(k, (i, o), dtype), jnp.full(o, 0.1, dtype))
            for k, i, o in zip(jax.random.split(layer_key, 4), sizes[:-1], sizes[1:], strict=True)
        ]
        tower = tower_init(tower_key, 10, (32, 32, 32), kernels=kernels, dtype=dtype)
        x = rescale_rows(jax.random.normal(x_key, (64, 10), dtype), 0.7)
        worst = 0.0
        for i in range(1, 4):
            z = tower_apply(tower[:i], x, kernels=kernels[:i])
            apart, merged = (bundle(tower[:i], layers[:count], kernels=kernels[:i]) for count in (i, i + 1))
            outputs = lambda p, z=z: z @ p.psi if p.shift is None else z @ p.psi + p.shift[None]
            unbundled = outputs(apart) @ layers[i].weight + layers[i].bias[None]
            error = jnp.abs(outputs(merged) - unbundled).max() / jnp.abs(unbundled).max()
            worst = max(worst, float(error))
        return worst

    with jax.enable_x64(True):
        double = deviation(jnp.float64)
    h = jax.random.normal(adapter_key, (5, 16, 32))
    params, constants = adapter_init(adapter_key, 32, 8, kernel=ReluKernel())
    change = jnp.abs(adapter_apply(params, constants, h, kernel=ReluKernel()) - h).max()
    return Bundling(double, deviation(jnp.float32), float(change))


def bundling_claims(bundling: Bundling) -> list[Claim]:
    claim = sheet("reproduction (a)4")
    statement = "Bundled and unbundled outputs of a network of three layers agree to {} in {} precision."
    return [
        claim(
            Claim.at_most,
            "bundling-double",
            statement.format("1e-12", "double"),
            expected=1e-12,
            measured=bundling.double,
        ),
        claim(
            Claim.at_most,
            "bundling-single",
            statement.format("1e-5", "single"),
            expected=1e-5,
            measured=bundling.single,
        ),
        claim(
            Claim.at_most, "adapter-identity", "A new adapter changes nothing.", expected=0.0, measured=bundling.adapter
        ),
    ]
