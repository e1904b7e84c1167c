"""The tensors of finite width for one and two inputs, beside stored values; and shares of layers in the NTK."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim
from experiments.harness.claims import sheet
from jaxlib_methods.infinite_width import (
    LayerScales,
    equivalent_layer_rates,
    finite_width_posterior,
    layer_contributions,
    multi_input_recursion,
    pair_matrix,
    single_input_recursion,
)

FIELDS = (
    *("kernel", "vertex", "kernel_shift", "ntk", "ntk_shift", "ntk_kernel", "ntk_outputs", "ntk_variance"),
    *("ntk_off_diagonal", "dntk_p", "dntk_q"),
)
LAYERS = (2, 4, 8)
STORED = np.array(
    [
        [
            *(0.3942945, 0.09752374, 0, 1.590899, 0, -0.06456709),
            *(0.1125764, 0.05648017, 0.7683957, -0.2152923, -0.1027159),
        ],
        [
            *(0.1666564, 0.0501466, -0.05268247, 1.937798, -0.04805828, -0.1058767),
            *(0.1692477, 0.2738901, 2.654282, -0.7602275, -0.3397966),
        ],
        [
            *(0.0744802, 0.02364441, -0.09617699, 2.806279, -0.06464112, -0.1824847),
            *(0.2615447, 1.905576, 11.4487, -2.833878, -1.618676),
        ],
    ]
)
TWO_INPUTS = [
    *(0.560527, 0.361299, 0.548016),
    *(0.206382, 0.138103, 0.057447, 0.354737, 0.138432, 0.202136),
    *(-0.079542, -0.020189, -0.082578),
]


def stored_recursion() -> np.ndarray:
    """The tensors of the table, (layer, tensor)."""
    path = single_input_recursion(LayerScales(0.0, 1.0, 0.5, 1.0), jnp.array(1.0), activation="tanh", depth=8)
    return np.stack([np.asarray(getattr(path, field))[np.array(LAYERS) - 1] for field in FIELDS], 1)


def two_inputs() -> tuple[np.ndarray, np.ndarray]:
    """K, V and G1 of two inputs at layer 4; and the posterior mean with its correction."""
    pair = multi_input_recursion(LayerScales(0.1, 1.5), jnp.array([[1.2, 0.5], [0.5, 0.9]]), activation="tanh", depth=4)
    upper, wide = np.triu_indices(2), np.triu_indices(3)
    kernel, vertex, shift = (np.asarray(a[-1]) for a in (pair.kernel, pair.vertex, pair.kernel_shift))
    values = np.concatenate([kernel[upper], np.asarray(pair_matrix(jnp.asarray(vertex)))[wide], shift[upper]])
    posterior = jax.jit(finite_width_posterior)(
        pair.kernel[-1], pair.vertex[-1], pair.kernel_shift[-1], jnp.array([[1.3]])
    )
    return values, np.array([posterior.mean.item(), posterior.mean_correction.item()])


def layer_shares(depth: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """What each layer of a ReLU network contributes to the NTK: with rates of one, and with equivalent rates."""
    one, kernel = LayerScales(0.0, 2.0, 0.5, 1.0), jnp.array(1.0)
    rates = equivalent_layer_rates(one, kernel, 0.5, 1.0, activation="relu", depth=depth)
    both = (one, LayerScales(0.0, 2.0, rates.bias, rates.weight))
    plain, shared = (np.asarray(layer_contributions(s, kernel, activation="relu", depth=depth)) for s in both)
    return plain, shared


def recursion_claims(result) -> list[Claim]:
    headline, quick = sheet("headline results"), sheet("reproduction quick (e)")
    plain, shared = result.shares
    return [
        sheet("reproduction quick (b)")(
            Claim.close,
            "recursion",
            "All eleven tensors of tanh at layers 2, 4 and 8.",
            expected=STORED,
            measured=result.recursion,
            tolerance=1e-12,
            relative=1e-5,
        ),
        headline(
            Claim.close,
            "two-inputs",
            "Kernel, vertex and its mean's shift of two inputs.",
            expected=TWO_INPUTS,
            measured=result.two_inputs,
            tolerance=1e-6,
        ),
        sheet("oracle 9")(
            Claim.close,
            "posterior",
            "Posterior mean at infinite width, and its correction times the width.",
            expected=[0.837941, 0.07224],
            measured=result.posterior,
            tolerance=[1e-6, 1e-5],
        ),
        quick(
            Claim.close,
            "shares",
            "With rates of one every layer of a ReLU network contributes order one, and together order L.",
            expected=np.ones_like(plain),
            measured=plain,
            tolerance=0.01,
        ),
        quick(
            Claim.close,
            "equivalent-shares",
            "With rates divided by L layers contribute alike, and together order one.",
            expected=np.full_like(shared, 1 / len(shared)),
            measured=shared,
            tolerance=0.01 / len(shared),
        ),
    ]
