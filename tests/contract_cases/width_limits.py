"""Cases of `jaxlib_methods.infinite_width.abc` and of the limits of deep networks."""

import jax
import jax.numpy as jnp
import numpy as np

from contract_cases.case import KEY, case, normal
from jaxlib_methods import infinite_width as iw

INPUTS, TARGETS = normal(2, 3), normal(2, 2)
ETA = np.array(0.2)
SIZES = dict(inputs=3, outputs=2, depth=2, capacity=4)


def trained(x, y, eta):
    state = iw.deep_linear_limit_init(**SIZES, dtype=jnp.result_type(x).name)
    return iw.deep_linear_limit_step(state, x, lambda f: f - y, eta)[0]


def particles(key, x, y, eta):
    state = iw.particle_limit_init(key, particles=16, **SIZES, dtype=jnp.result_type(x).name)
    state, _ = iw.particle_limit_step(state, x, lambda f: f - y, eta, activation=jnp.tanh)
    return iw.particle_limit_step(state, x, lambda f: f - y, eta, activation=jnp.tanh)[1]


CASES = {
    "infinite_width.deep_linear_limit_apply": case(
        lambda x, y, eta: iw.deep_linear_limit_apply(trained(x, y, eta), x), INPUTS, TARGETS, ETA
    ),
    "infinite_width.deep_linear_limit_step": case(trained, INPUTS, TARGETS, ETA),
    "infinite_width.particle_limit_init": case(
        lambda key: jax.tree.leaves(
            iw.particle_limit_init(key, particles=4, **SIZES, dtype="float64")._replace(key=None)
        ),
        KEY,
        grad=False,
    ),
    "infinite_width.particle_limit_step": case(particles, KEY, INPUTS, TARGETS, ETA, grad=False),
}

HOST = {
    f"infinite_width.{name}"
    for name in (
        *("abc_classify", "abc_mlp", "abc_parametrization", "abc_sgd", "abc_shardings", "abc_shift"),
        "deep_linear_limit_init",
    )
}
