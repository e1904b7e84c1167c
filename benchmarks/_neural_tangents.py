"""The peer's side of `wide_cnn_kernels.py`, in an interpreter of its own, which need not have this library.

    python _neural_tangents.py CASE SIZES [float64]

The last line says what is spoken: after it, each line on standard input is answered by one on standard output, when
the work is done; a line with a path also saves the result there.
"""

import json
import sys

import jax

if sys.argv[3:] == ["float64"]:
    jax.config.update("jax_enable_x64", True)

import neural_tangents as nt
import numpy as np
from jax._src import source_info_util
from jax.interpreters import ad
from neural_tangents import stax

ad.source_info_util, ad.config = source_info_util, jax.config  # names that its structured derivatives look for

RELU = stax.Relu()
WEIGHTS = {"W_std": 2**0.5, "b_std": 0.1}


def inputs(*shape):
    """The same numbers as on our side."""
    return np.random.default_rng(0).standard_normal(shape).astype(jax.numpy.zeros(()).dtype)


def body(width, layers):
    """Convolutions and rectifiers."""
    return [stax.Conv(width, (3, 3), padding="SAME", **WEIGHTS), RELU] * layers


def dense_kernel(inputs_, depth):
    layers = [stax.Dense(1, **WEIGHTS), RELU] * depth
    return of_network([*layers, stax.Dense(1, **WEIGHTS)], inputs(inputs_, 784))


def flattened(images, size, channels, depth):
    network = [*body(1, depth), stax.Flatten(), stax.Dense(1, **WEIGHTS)]
    return of_network(network, inputs(images, size, size, channels))


def pooled(images, size, channels, depth):
    network = [*body(1, depth), stax.GlobalAvgPool(), stax.Dense(1, **WEIGHTS)]
    return of_network(network, inputs(images, size, size, channels))


def of_network(layers, x):
    kernel = stax.serial(*layers)[2]
    compiled = jax.jit(lambda x: kernel(x, None, "ntk"))
    return lambda: compiled(x)


def empirical_filters(images, size, width, method):
    network = [*body(width, 3), stax.Flatten(), stax.Dense(10, **WEIGHTS)]
    return empirical(network, inputs(images, size, size, 3), method)


def empirical_dense(inputs_, method):
    hidden = [stax.Dense(512, **WEIGHTS), RELU] * 2
    return empirical([*hidden, stax.Dense(10, **WEIGHTS)], inputs(inputs_, 256), method)


def empirical(layers, x, method):
    init, apply, _ = stax.serial(*layers)
    params = init(jax.random.PRNGKey(0), x.shape)[1]
    kernel = nt.empirical_ntk_fn(apply, trace_axes=(), vmap_axes=0, implementation=method)
    compiled = jax.jit(lambda x, params: kernel(x, None, params))
    return lambda: compiled(x, params)


CASES = {
    "dense": dense_kernel,
    "flattened": flattened,
    "pooled": pooled,
    "empirical_filters": empirical_filters,
    "empirical_dense": empirical_dense,
}


def main(case, sizes):
    """Makes the inputs, and works whenever a line comes in."""
    work = CASES[case](*json.loads(sizes))
    print(f"neural-tangents {nt.__version__} on JAX {jax.__version__}", flush=True)
    for line in sys.stdin:
        result = jax.block_until_ready(work())
        if line.strip():
            np.save(line.strip(), np.asarray(result))
        del result
        print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
