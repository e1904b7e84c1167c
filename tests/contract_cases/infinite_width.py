"""Cases of `jaxlib_methods.infinite_width`."""

import jax.numpy as jnp
import numpy as np

from contract_cases.case import KEPT, KEY, WIDER, X, Y, case, normal
from jaxlib_methods import infinite_width as iw

STD = dict(weight_std=1.3, bias_std=0.2)
NETWORK = iw.serial(
    iw.conv(3, (2,), padding="SAME", **STD), iw.activation("relu"), iw.avg_pool((2,)), iw.flatten(), iw.dense(2, **STD)
)
ROWS, OTHERS = normal(8, 4, 2), normal(5, 4, 2)
SMALL = iw.serial(iw.dense(3, **STD), iw.activation("erf"), iw.dense(2, **STD))
WEIGHTS = (iw.Affine(normal(3, 3), normal(3)), (), iw.Affine(normal(3, 2), normal(2)))
ROOT = normal(12, 12)
KERNEL = ROOT @ ROOT.T / 12 + np.diag(np.linspace(0.5, 2, 12))  # eigenvalues apart
DD, TD, TT = KERNEL[:8, :8], KERNEL[8:, :8], KERNEL[8:, 8:]
TARGETS = normal(8, 2)
DYNAMICS = iw.MseDynamics(*(np.asarray(a) for a in np.linalg.eigh(DD)), TARGETS, np.array(0.1))
COSINES = 0.8 * np.tanh(normal(5, 4))


def like(x):
    """Draws in the dtype of the inputs."""
    return lambda key, shape: SMALL.init(key, shape, x.dtype)


CASES = {
    "infinite_width.empirical_ntk": case(
        lambda w, x, y: iw.empirical_ntk(SMALL.apply, w, x, y, method="structured", outputs="full"),
        WEIGHTS,
        X,
        Y[:3],
        rows=(1,),
    ),
    "infinite_width.function_flow": case(
        lambda k, f, t, kt: iw.function_flow(lambda f: jnp.sum(jnp.cosh(f)), k, f, t, kt, steps=5),
        DD,
        TARGETS,
        np.array(0.3),
        TD,
    ),
    "infinite_width.gp_posterior": case(
        lambda dd, td, tt, y: iw.gp_posterior(dd, td, tt, y, ridge=0.01), DD, TD, TT, TARGETS
    ),
    "infinite_width.hierarchical_kernel": case(lambda t: iw.hierarchical_kernel(t, (2, 2)), COSINES, bfloat16=KEPT),
    "infinite_width.kernel_from_samples": case(
        lambda k, x: iw.kernel_from_samples(k, like(x), SMALL.apply, x, samples=2).mean,
        KEY,
        X,
        grad=False,
    ),
    "infinite_width.max_learning_rate": case(lambda k: iw.max_learning_rate(k, 2, momentum=0.5), DD),
    "infinite_width.mse_dynamics": case(lambda k, y: iw.mse_dynamics(k, y, ridge=0.1).values, DD, TARGETS),
    "infinite_width.mse_predict": case(
        lambda d, t, f, k, g: iw.mse_predict(d, t, f, k, g), DYNAMICS, np.array(3.0), normal(8, 2), TD, normal(4, 2)
    ),
    "infinite_width.multisphere": case(lambda k: iw.multisphere(k, 3, 2, 3, dtype="float64"), KEY, grad=False),
    "infinite_width.network_gram": case(
        lambda x: iw.network_gram(NETWORK, x, get="both", block=3), ROWS, rows=(0,), bfloat16=WIDER
    ),
    "infinite_width.network_kernel": case(
        lambda x, y: iw.network_kernel(NETWORK, x, y), ROWS, OTHERS, rows=(0,), bfloat16=WIDER
    ),
    "infinite_width.ntk_posterior": case(
        lambda dd, td, tt, y, t: iw.ntk_posterior(
            iw.KernelPair(0.5 * dd, dd), iw.KernelPair(0.5 * td, td), 0.5 * tt, y, t, ridge=0.1
        ),
        DD,
        TD,
        TT,
        TARGETS,
        np.array(20.0),
    ),
    "infinite_width.ntk_product": case(
        lambda w, x, v: iw.ntk_product(SMALL.apply, w, x, v, block=3), WEIGHTS, X, TARGETS
    ),
    "infinite_width.patch_cosines": case(iw.patch_cosines, normal(8, 2, 3), normal(5, 2, 3), rows=(0,), bfloat16=KEPT),
}

HOST = {
    f"infinite_width.{name}"
    for name in (
        *("activation", "automatic_taps", "avg_pool", "conv", "dense", "dropout", "flatten", "global_avg_pool"),
        *("global_sum_pool", "identity", "layer_norm", "local_conv", "parallel", "residual", "serial", "sum_pool"),
        *("aggregate", "conv_transpose", "image_resize", "map_positions", "positional_embedding", "select"),
        *("self_attention", "normalized_exponential_dual", "rectified_monomial_dual"),
        *("dual_activation", "erf_dual", "exponential_dual", "gaussian_dual", "gelu_dual", "hermite_dual"),
        *("polynomial_dual", "quadrature_dual", "rbf_dual", "rectifier_dual", "sign_dual", "sine_dual"),
        *("sine_gaussian_dual", "step_dual", "batch_norm", "max_pool", "linearize", "taylor_expand", "ntk_costs"),
        *("harmonic_multiplicity", "hierarchical_exponents", "hierarchical_spectrum"),
    )
}
