"""Cases of `jaxlib_methods.infinite_width.permutations`."""

import jax.numpy as jnp
import numpy as np

from contract_cases.case import KEY, array, case, normal
from jaxlib_methods import infinite_width as iw

PI = np.array([2, 0, 3, 1])
BITS = np.array([[1, 0, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 0]])
INPUTS = np.concatenate([BITS, BITS])
ONES = array(1.5, 2.0, 3.5)
SEVERAL = array(2.0, 3.0, 4.0)
TIME = np.array(3.0)
STATISTICS = iw.PermutationStatistics(array(0.6, 0.5, 0.4), array(-0.04, -0.05, -0.07), array(0.01, 0.02, 0.03))
NETWORK = iw.PermutationNetwork(normal(4, 6), normal(4, 6))
MEAN = normal(8, 4)
RATE, STD = np.array(0.3), np.array(1.1)
TABLE = normal(9, 3, 4)
BOTH = jnp.asarray(PI, jnp.int32), jnp.asarray(BITS[:3], jnp.int32)
trained = dict(width=6, steps=3, block=3)

CASES = {
    "infinite_width.binary_inputs": case(lambda n: iw.binary_inputs(n, 5), np.arange(8), rows=(0,), grad=False),
    "infinite_width.ensemble_moments": case(
        lambda table: iw.ensemble_moments(lambda numbers: jnp.asarray(table)[numbers], 9, chunk=4), TABLE
    ),
    "infinite_width.ensemble_size": case(
        lambda failure: iw.ensemble_size(5, failure, inputs=10), array(0.1, 0.01), grad=False
    ),
    "infinite_width.exhaustive_test": case(
        lambda shift: iw.exhaustive_test(lambda x: x - shift, jnp.arange(4), block=5), np.array(0.3), grad=False
    ),
    "infinite_width.limit_predictions": case(
        lambda k, n, pi, x, std: iw.limit_predictions(k, n, pi, x.astype(std.dtype), t=3.0, weight_std=std),
        KEY,
        np.arange(3),
        PI,
        BITS[:3],
        STD,
        grad=False,
    ),
    "infinite_width.members_needed": case(
        lambda s, m: iw.members_needed(s, 5, m, 0.1, inputs="all"), STATISTICS, SEVERAL, grad=False
    ),
    "infinite_width.members_until": case(
        lambda table: iw.members_until(
            lambda numbers: jnp.asarray(table)[numbers % 9], *BOTH, jnp.array([0.3], table.dtype), limit=5, chunk=2
        ),
        TABLE,
        grad=False,
    ),
    "infinite_width.permutation_covariance": case(
        lambda x, t: iw.permutation_covariance(jnp.asarray(x, t.dtype), t=t), INPUTS, TIME, rows=(0,)
    ),
    "infinite_width.permutation_network_apply": case(
        lambda p, x: iw.permutation_network_apply(p, jnp.asarray(x), weight_std=1.3), NETWORK, INPUTS, rows=(1,)
    ),
    "infinite_width.permutation_network_init": case(
        lambda k: iw.permutation_network_init(k, 4, 6, parametrization="standard", dtype=jnp.float64), KEY, grad=False
    ),
    "infinite_width.permutation_network_train": case(
        lambda p, pi, rate: iw.permutation_network_train(p, jnp.asarray(pi), learning_rate=rate, steps=3),
        NETWORK,
        PI,
        RATE,
    ),
    "infinite_width.permutation_prediction": case(
        lambda pi, x, t: iw.permutation_prediction(jnp.asarray(pi), jnp.asarray(x, t.dtype), t=t),
        PI,
        INPUTS,
        TIME,
        rows=(1,),
    ),
    "infinite_width.permutation_statistics": case(
        lambda k, m, t, rate, std: iw.permutation_statistics(k, m, t=t, learning_rate=rate, weight_std=std),
        np.array(5.0),
        ONES,
        TIME,
        RATE,
        STD,
    ),
    "infinite_width.permute_bits": case(lambda pi, x: iw.permute_bits(jnp.asarray(pi), x), PI, MEAN, rows=(1,)),
    "infinite_width.random_binary_inputs": case(lambda k: iw.random_binary_inputs(k, 6, 5, 2), KEY, grad=False),
    "infinite_width.trained_predictions": case(
        lambda k, n, pi, x, rate, std: iw.trained_predictions(
            k, *map(jnp.asarray, (n, pi, x)), learning_rate=rate, weight_std=std, dtype=rate.dtype, **trained
        ),
        KEY,
        np.arange(8),
        PI,
        BITS,
        RATE,
        STD,
        rows=(1,),
    ),
    "infinite_width.training_eigenvalues": case(
        lambda k, std: iw.training_eigenvalues(k, kernel="nngp", weight_std=std), np.array(5.0), STD
    ),
    "infinite_width.vote": case(iw.vote, MEAN, rows=(0,), grad=False),
    "infinite_width.vote_accuracy": case(iw.vote_accuracy, MEAN, PI, INPUTS, rows=(0, 2), grad=False),
    "infinite_width.vote_probability": case(
        lambda s, m, n: iw.vote_probability(s, 5, m, n), STATISTICS, SEVERAL, array(3.0, 30.0, 300.0)
    ),
}

HOST = {"infinite_width.descent_plan"}
