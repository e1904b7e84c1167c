"""Cases of the linear limit, of meta-learning and of word vectors in `jaxlib_methods.infinite_width`."""

import jax.numpy as jnp
import numpy as np
import optax

from contract_cases.case import KEY, X, Y, array, case, normal
from jaxlib_methods import infinite_width as iw

NET = iw.LinearNet(normal(5, 3), normal(2, 5), normal(5), normal(2))
TASKS = iw.Tasks(normal(8, 2, 3), normal(8, 2, 2), normal(8, 2, 3), normal(8, 2, 2))
KERNEL = iw.KernelMaml(normal(20, 3), normal(20, 2), np.array(0, np.int32))
WORDS = iw.WordVectors(normal(6, 4), normal(6, 4))
CONTEXT, TARGETS = array([0, 2, -1], [1, 5, 3]), array([1, 3], [4, -1])
OUTER = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.3))
INNER = dict(inner_rate=0.1, inner_steps=2)


def error(f, y):
    return jnp.sum((f - y) ** 2) / 2


def kernel(x, y):
    return iw.one_hidden_layer_kernel(x, y, kind="gp")


CASES = {
    "infinite_width.cbow_step": case(
        lambda v, c, t, rate: iw.cbow_step(v, c, t, rate, weight_decay=0.1), WORDS, CONTEXT, TARGETS, np.array(0.1)
    ),
    "infinite_width.kernel_maml_predict": case(
        lambda s, t: iw.kernel_maml_predict(kernel, error, s, t, **INNER), KERNEL, TASKS
    ),
    "infinite_width.kernel_maml_step": case(
        lambda s, t: iw.kernel_maml_step(kernel, error, s, t, rate=0.1, clip=0.5, **INNER)[0].coefficients,
        KERNEL,
        TASKS,
        grad=False,
    ),
    "infinite_width.linear_limit_sample": case(lambda p: iw.linear_limit_sample(KEY, p, 7), NET),
    "infinite_width.linear_maml_predict": case(lambda p, t: iw.linear_maml_predict(error, p, t, **INNER), NET, TASKS),
    "infinite_width.linear_maml_step": case(
        lambda p, t: iw.linear_maml_step(error, OUTER, iw.maml_init(p, OUTER), t, **INNER)[0].params, NET, TASKS
    ),
    "infinite_width.linear_net_apply": case(lambda p, x: iw.linear_net_apply(p, x), NET, X, rows=(1,)),
    "infinite_width.maml_predict": case(
        lambda p, t: iw.maml_predict(iw.linear_net_apply, error, p, t, **INNER), NET, TASKS
    ),
    "infinite_width.maml_step": case(
        lambda p, t: iw.maml_step(iw.linear_net_apply, error, OUTER, iw.maml_init(p, OUTER), t, **INNER)[0].params,
        NET,
        TASKS,
    ),
    "infinite_width.negative_samples": case(
        lambda key, c: iw.negative_samples(key, c, (3,)), KEY, array(1.0, 2.0), grad=False
    ),
    "infinite_width.one_hidden_layer_kernel": case(lambda x, y: iw.one_hidden_layer_kernel(x, y, kind="ntk"), X, Y),
    "infinite_width.shrunk_windows": case(
        lambda key, t, c: iw.shrunk_windows(key, t, c, window=2), KEY, array(3, 1, 4, 1), array(0, 2), grad=False
    ),
}

HOST = {
    "infinite_width.cbow_init",
    "infinite_width.cbow_limit_init",
    "infinite_width.kernel_maml_init",
    "infinite_width.linear_limit_init",
    "infinite_width.linear_net_init",
    "infinite_width.maml_init",
}
