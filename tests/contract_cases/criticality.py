"""Cases of `jaxlib_methods.infinite_width.criticality`."""

import jax.numpy as jnp
import numpy as np

from contract_cases.case import KEY, array, case, normal
from jaxlib_methods import infinite_width as iw

SCALES = iw.LayerScales(*map(np.array, (0.1, 1.5, 0.7, 0.9)))
ONE = np.array(1.2)
PAIR = array([1.2, 0.5], [0.5, 0.9])
ROOT = normal(3, 3)
KERNEL = ROOT @ ROOT.T + np.eye(3)
PAIRS = normal(3, 3, 3, 3)
PARAMS = {"w": normal(3, 2), "b": normal(2)}
RATES = {"w": np.array(0.5), "b": np.array(2.0)}
TANH = dict(activation="tanh", depth=3)

CASES = {
    "infinite_width.dntk_contraction": case(
        lambda p, r, a, b, c: iw.dntk_contraction(lambda p: jnp.tanh(p["b"] + jnp.sin(p["w"]).sum(0)), p, r, a, b, c),
        PARAMS,
        RATES,
        normal(2),
        normal(2),
        normal(2),
    ),
    "infinite_width.ensemble_check": case(
        lambda key, s, k: (
            iw.ensemble_check(
                key, s, k, width=3, networks=3, chunk=2, activation="relu", depth=2, tensors="kernel"
            ).mean.vertex
        ),
        KEY,
        SCALES,
        ONE,
        grad=False,
    ),
    "infinite_width.equivalent_layer_rates": case(
        lambda s, k, b, w: iw.equivalent_layer_rates(s, k, b, w, **TANH), SCALES, ONE, np.array(0.5), np.array(2.0)
    ),
    "infinite_width.finite_width_posterior": case(iw.finite_width_posterior, KERNEL, PAIRS, normal(3, 3), normal(2, 1)),
    "infinite_width.gaussian_expectation": case(lambda k: iw.gaussian_expectation(k, activation="relu"), ONE),
    "infinite_width.layer_contributions": case(lambda s, k: iw.layer_contributions(s, k, **TANH), SCALES, ONE),
    "infinite_width.minimal_model_apply": case(
        iw.minimal_model_apply, normal(2), normal(3, 2), normal(3, 2, 2), np.array(0.3)
    ),
    "infinite_width.minimal_model_fit": case(
        lambda k, m, y: iw.minimal_model_fit((k + k.T) / 2, m, y), KERNEL, normal(3, 3, 3), normal(2)
    ),
    "infinite_width.multi_input_recursion": case(
        lambda s, k, w: iw.multi_input_recursion(s, k, None, w, activation="tanh", depth=2, degree=8),
        SCALES,
        PAIR,
        array(1.5),
    ),
    "infinite_width.mutual_information": case(lambda v: iw.mutual_information(v, 3), array(0.1, 0.2)),
    "infinite_width.nearby_inputs": case(
        lambda s, k, d, q: iw.nearby_inputs(s, k, d, q, **TANH), SCALES, ONE, np.array(0.1), np.array(0.2)
    ),
    "infinite_width.pair_matrix": case(iw.pair_matrix, PAIRS),
    "infinite_width.residual_recursion": case(
        lambda s, k, g: iw.residual_recursion(s, k, g, activation="relu", depth=3), SCALES, ONE, np.array(0.8)
    ),
    "infinite_width.single_input_recursion": case(
        lambda s, k, w: iw.single_input_recursion(s, k, w, **TANH), SCALES, ONE, array(1.5, 0.5)
    ),
    "infinite_width.susceptibilities": case(
        lambda k, w: iw.susceptibilities(k, w, activation="gelu"), ONE, np.array(1.5)
    ),
}

HOST = {
    "infinite_width.activation_function",
    "infinite_width.asymptotic_layer_rates",
    "infinite_width.critical_point",
    "infinite_width.ensemble_init",
    "infinite_width.layer_rate_tree",
    "infinite_width.optimal_aspect_ratio",
    "infinite_width.residual_growth",
    "infinite_width.residual_weight_for_depth",
    "infinite_width.scale_by_layer_rates",
}
