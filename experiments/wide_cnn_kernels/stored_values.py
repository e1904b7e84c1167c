"""Values of kernels that are known to ten digits."""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, sheet
from jaxlib_methods.infinite_width import (
    activation,
    conv,
    dense,
    global_avg_pool,
    hierarchical_kernel,
    network_kernel,
    serial,
)

if TYPE_CHECKING:
    from experiments.wide_cnn_kernels import Result

COSINES = (0.3, -0.5, 0.9, 0.1)

STORED_HIERARCHICAL = {  # NTK and NNGP kernel at COSINES, by filters
    (2,): (0.6768978331, 0.4677958074),
    (2, 2): (1.062149764, 0.5930720403),
    (2, 2, 2): (1.418393542, 0.6726740429),
}

STORED_POOLED = (0.3734545110, 0.3292035149, 0.3493643786)


def stored_kernels() -> np.ndarray:
    """NTK and NNGP kernel of each hierarchical network."""
    return np.array([hierarchical_kernel(jnp.array(COSINES), filters)[::-1] for filters in STORED_HIERARCHICAL])


def stored_network() -> np.ndarray:
    """The NTK of conv-relu-conv-relu-pool-dense on two deterministic images."""
    n = np.arange(150)
    x = jnp.sin(1 + 0.7 * n + 0.013 * n**2).reshape(2, 5, 5, 3)
    std: dict[str, Any] = {"weight_std": 1.3, "bias_std": 0.2}
    layers = [conv(1, (3, 3), padding="SAME", **std), activation("relu")] * 2
    kernel = network_kernel(serial(*layers, global_avg_pool(), dense(1, **std)), x)
    return np.asarray(kernel)[np.triu_indices(2)]


def kernel_claims(result: "Result") -> list[Claim]:
    claim = sheet("reproduction quick (a)")
    return [
        claim(
            Claim.close,
            "kernel-values",
            "Hierarchical kernels (NTK, NNGP) of filters (2), (2,2) and (2,2,2) have the stored values.",
            expected=np.array([*STORED_HIERARCHICAL.values()]),
            measured=result.hierarchical,
            relative=1e-9,
        ),
        claim(
            Claim.close,
            "pooled-values",
            "So has the NTK of a convolutional network with global pooling.",
            expected=STORED_POOLED,
            measured=result.pooled,
            relative=1e-9,
        ),
    ]
