"""A kernel matrix computed and solved on eight simulated devices, in a process of its own, for `wide_cnn_kernels.py`.

    python -m benchmarks._eight_devices INPUTS

Each line on standard input is answered by one on standard output, when the work is done: how far the solution is from
solving its system, and the share of the matrix that a device holds.
"""

import os
import sys

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods.infinite_width import activation, dense, network_gram, serial
from jaxlib_methods.numerics import psd_solve_sharded
from jaxlib_methods.runtime import make_mesh

RIDGE = 0.1  # of kernel values of about 2


def main(inputs: int) -> None:
    """Makes the inputs, and works whenever a line comes in."""
    mesh = make_mesh({"data": 8})
    weights = {"weight_std": 2**0.5, "bias_std": 0.1}
    network = serial(*[dense(1, **weights), activation("relu")] * 3, dense(1, **weights))
    rng = np.random.default_rng(0)
    split = lambda *shape: jax.device_put(rng.standard_normal(shape, np.float32), NamedSharding(mesh, P("data")))
    x, y = split(inputs, 784), split(inputs, 10)
    compute = jax.jit(lambda x: network_gram(network, x, mesh=mesh))
    solve = jax.jit(lambda kernel, y: psd_solve_sharded(kernel, y, RIDGE, mesh=mesh))
    residual = jax.jit(lambda kernel, a, y: jnp.linalg.norm(kernel @ a + RIDGE * a - y) / jnp.linalg.norm(y))
    print(f"{len(mesh.devices)} devices", flush=True)
    for _ in sys.stdin:
        kernel = compute(x)
        error = float(residual(kernel, solve(kernel, y), y))
        share = max(shard.data.nbytes for shard in kernel.addressable_shards) / kernel.nbytes
        print(f"residual {error:.1e}, share {share:.3f}", flush=True)
        del kernel


if __name__ == "__main__":
    main(int(sys.argv[1]))
