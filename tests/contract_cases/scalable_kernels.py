"""Cases of `jaxlib_methods.random_features.scalable_kernels`."""

import numpy as np

from contract_cases.case import KEPT, KEY, LAYERS, WIDER, X, Y, case, normal, positive
from jaxlib_methods import random_features as rf

LINES, DENSITY, RELU = (
    rf.FourierKernel(rf.cosine_spectrum(), "input", 0.02),
    rf.FourierKernel(rf.gaussian_spectrum(), "sym"),
    rf.ReluKernel(),
)
KERNELS = (rf.FourierKernel(rf.cosine_spectrum(), "weight"), RELU)
CONSTANTS = rf.snnk_constants(KEY, 3, 6, kernel=LINES)
TOWER = rf.tower_init(KEY, 3, (5, 4), kernels=KERNELS)
_, ADAPTER = rf.adapter_init(KEY, 3, 6, kernel=LINES, law="gaussian")
SHORT = 0.3 * X
PSI, SHIFT = normal(12, 2), normal(2)
TARGETS = (normal(8, 2) > 0) + 0.0

CASES = {
    "random_features.adapter_apply": case(
        lambda p, h: rf.adapter_apply(p, ADAPTER, h, kernel=LINES),
        rf.AdapterParams(rf.SnnkParams(normal(12, 3), None), normal(3)),
        SHORT,
        rows=(1,),
        bfloat16=KEPT,
    ),
    "random_features.adapter_init": case(
        lambda k: rf.adapter_init(k, 3, 4, kernel=RELU, dtype="float64"), KEY, grad=False
    ),
    "random_features.bundle": case(lambda layers: rf.bundle(TOWER, layers, kernels=KERNELS), LAYERS, bfloat16=WIDER),
    "random_features.exponential_moments": case(
        lambda x, w: rf.exponential_moments(0.3 + 1j, 0.7, x, w, damping=0.02)[1], SHORT[0], Y[0]
    ),
    "random_features.fit_bundled": case(
        lambda x, y, r, w: rf.fit_bundled(TOWER, x, y, r, w, kernels=KERNELS, block=3),
        SHORT,
        TARGETS,
        np.array(0.5),
        positive(8),
        rows=(0, 1, 3),
    ),
    "random_features.fit_logistic": case(
        lambda z, y, r, w: rf.fit_logistic(z, y, r, w, iterations=12),
        X,
        TARGETS,
        np.array(0.5),
        positive(8),
        rows=(0, 1, 3),
    ),
    "random_features.fit_margin": case(rf.fit_margin, X, TARGETS, np.array(0.5), positive(8), rows=(0, 1, 3)),
    "random_features.merge_linear": case(
        lambda p, d: rf.merge_linear(p, d), rf.SnnkParams(normal(5, 3), normal(3)), LAYERS[0], bfloat16=KEPT
    ),
    "random_features.optimal_damping": case(lambda s: rf.optimal_damping(s, 3), positive(4), bfloat16=KEPT),
    "random_features.rescale_rows": case(lambda x: rf.rescale_rows(x, 1.5), X, rows=(0,), bfloat16=KEPT),
    "random_features.snnk_apply": case(
        lambda p, x: rf.snnk_apply(p, CONSTANTS, x, kernel=LINES),
        rf.SnnkParams(PSI, SHIFT),
        SHORT,
        rows=(1,),
        bfloat16=KEPT,
    ),
    "random_features.snnk_constants": case(
        lambda k: rf.snnk_constants(k, 3, 4, kernel=DENSITY, dtype="float64"), KEY, grad=False
    ),
    "random_features.snnk_features": case(
        lambda x: rf.snnk_features(CONSTANTS, x, kernel=LINES), SHORT, rows=(0,), bfloat16=WIDER
    ),
    "random_features.snnk_init": case(
        lambda k, w, b: rf.snnk_init(k, w, b, num_features=4, kernel=DENSITY)[0], KEY, normal(3, 2), normal(2)
    ),
    "random_features.snnk_moments": case(
        lambda x, w, b: rf.snnk_moments(x, w, b, kernel=LINES), SHORT, 0.3 * Y, SHORT[:, 0], rows=(0, 1, 2)
    ),
    "random_features.snnk_weight_features": case(
        lambda w, b: rf.snnk_weight_features(CONSTANTS, w, b, kernel=LINES), normal(3, 2), normal(2), bfloat16=WIDER
    ),
    "random_features.tower_apply": case(
        lambda x: rf.tower_apply(TOWER, x, kernels=KERNELS), SHORT, rows=(0,), bfloat16=WIDER
    ),
    "random_features.tower_init": case(
        lambda k: rf.tower_init(k, 3, (5, 4), kernels=KERNELS, dtype="float64"), KEY, grad=False
    ),
}

HOST = {
    f"random_features.{name}"
    for name in (
        *("cosine_spectrum", "gaussian_spectrum", "logistic_spectrum", "sech_spectrum", "sine_spectrum"),
        *("tanh_spectrum", "transform_spectrum", "exp_series", "gelu_series", "linear_series", "tanh_series"),
    )
}
