"""Cases of `jaxlib_methods.infinite_width.abc` and of the limits of deep networks."""

import jax
import jax.numpy as jnp
import numpy as np

from contract_cases.case import KEY, X, case, normal
from jaxlib_methods import infinite_width as iw

INPUTS, TARGETS, MET = normal(2, 3), normal(2, 2), normal(4, 16)
ETA = np.array(0.2)
SIZES = dict(inputs=3, outputs=2, depth=2, capacity=4)


def start(x):
    return iw.deep_linear_limit_init(**SIZES, dtype=jnp.result_type(x).name)


def trained(x, y, eta):
    return iw.deep_linear_limit_step(start(x), x, lambda f: f - y, eta)[0]


def cloud(key, x):
    return iw.particle_limit_init(key, particles=16, **SIZES, dtype=jnp.result_type(x).name)


def particles(key, x, y, eta):
    state = cloud(key, x)
    state, _ = iw.particle_limit_step(state, x, lambda f: f - y, eta, activation=jnp.tanh)
    return iw.particle_limit_step(state, x, lambda f: f - y, eta, activation=jnp.tanh)[1]


GRAM = MET @ MET.T / 16
PARTICLES = iw.ParticleLimit(
    normal(3, 16),
    (iw.ParticleMatrix(MET, normal(4, 16), normal(4, 16), normal(4, 16), GRAM, GRAM + np.eye(4), normal(4)),),
    normal(2, 16),
    np.array(4, np.int32),
    KEY,
)

CASES = {
    "infinite_width.deep_linear_limit_apply": case(
        lambda x, y, eta: iw.deep_linear_limit_apply(trained(x, y, eta), x), INPUTS, TARGETS, ETA
    ),
    "infinite_width.deep_linear_limit_sample": case(
        lambda x, y, eta: iw.deep_linear_limit_sample(KEY, trained(x, y, eta), 9), INPUTS, TARGETS, ETA
    ),
    "infinite_width.deep_linear_limit_step": case(trained, INPUTS, TARGETS, ETA),
    "infinite_width.deep_linear_limit_train": case(
        lambda x, y, eta: iw.deep_linear_limit_train(start(x), x[None], y[None], jnp.subtract, eta),
        INPUTS,
        TARGETS,
        ETA,
    ),
    "infinite_width.particle_limit_apply": case(
        lambda state, x: iw.particle_limit_apply(state, x, activation=jnp.tanh), PARTICLES, X, rows=(1,)
    ),
    "infinite_width.particle_limit_init": case(
        lambda key: jax.tree.leaves(
            iw.particle_limit_init(key, particles=4, **SIZES, dtype="float64")._replace(key=None)
        ),
        KEY,
        grad=False,
    ),
    "infinite_width.particle_limit_step": case(particles, KEY, INPUTS, TARGETS, ETA, grad=False),
    "infinite_width.particle_limit_train": case(
        lambda key, x, y, eta: iw.particle_limit_train(
            cloud(key, x), jnp.stack([x, x]), jnp.stack([y, y]), jnp.subtract, eta, activation=jnp.tanh
        )[1],
        KEY,
        INPUTS,
        TARGETS,
        ETA,
        grad=False,
    ),
}

HOST = {
    f"infinite_width.{name}"
    for name in (
        *("abc_classify", "abc_mlp", "abc_parametrization", "abc_sgd", "abc_shardings", "abc_shift"),
        "deep_linear_limit_init",
    )
}
