"""Empirical NTKs of finite networks: three methods, and their way to the infinite width."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, name_ticks, new_figure, sheet
from experiments.wide_cnn_kernels.config import Config
from experiments.wide_cnn_kernels.teachers_and_students import fitted
from jaxlib_methods.infinite_width import (
    Layer,
    activation,
    conv,
    dense,
    empirical_ntk,
    flatten,
    hierarchical_kernel,
    local_conv,
    multisphere,
    patch_cosines,
    rectifier_dual,
    serial,
)

if TYPE_CHECKING:
    from experiments.wide_cnn_kernels import Result


def local_network(width: int) -> Layer:
    """The locally connected network of filters (2, 2) on inputs of two patches."""
    relu = activation(rectifier_dual(0.0, 2**0.5))
    first = local_conv(width, (2,), strides=(2,), weight_std=2**0.5)
    second = local_conv(width, (2,), strides=(2,))
    return serial(first, relu, second, relu, flatten(), dense(1))


def finite_width(config: Config, context: Context, key) -> np.ndarray:
    """Root-mean-square error of the empirical NTK, by width, relative to the kernel's largest entry."""
    x = multisphere(key, 8, 2, 2)
    truth = hierarchical_kernel(patch_cosines(x, x), (2, 2)).ntk
    rows = []
    for width in context.progress(config.widths, "widths"):
        network = local_network(width)

        def error(key, network=network):
            params = network.init(key, (4, 1))[0]
            theta = empirical_ntk(network.apply, params, x.reshape(8, 4, 1), method="structured")
            return jnp.mean((theta - truth) ** 2)

        squares = jax.jit(lambda keys, error=error: jax.lax.map(error, keys))(jax.random.split(key, config.networks))
        rows.append(float(jnp.sqrt(squares.mean()) / truth.max()))
    return np.array(rows)


def compare_methods(key) -> float:
    """Largest deviation of two methods from the third on a small network of filters, relative to the largest entry."""
    layers = [conv(8, (3, 3), padding="SAME", bias_std=0.1), activation("gelu")] * 2
    network = serial(*layers, flatten(), dense(10, bias_std=0.1))
    x = jax.random.normal(key, (5, 6, 6, 3), jnp.float32)
    params = network.init(key, x.shape[1:])[0]
    theta = lambda x, method: empirical_ntk(network.apply, params, x, method=method, outputs="full")
    truth, *others = jax.jit(lambda x: [theta(x, method) for method in ("jacobian", "products", "structured")])(x)
    return float(max(jnp.max(jnp.abs(other - truth)) for other in others) / jnp.max(jnp.abs(truth)))


def finite_claims(config: Config, result: "Result") -> list[Claim]:
    return [
        sheet("reproduction quick (d)")(
            Claim.close,
            "finite-width",
            "The empirical NTK of locally connected networks comes to the kernel as width^(-1/2).",
            expected=-0.5,
            measured=fitted(config.widths, result.width_errors),
            tolerance=0.12,
        ),
        sheet("reproduction quick (e)")(
            Claim.at_most,
            "methods",
            "Three methods give the same empirical NTK.",
            expected=1e-5,
            measured=result.method_error,
        ),
    ]


def width_figure(config: Config, result: "Result"):
    figure, axes = new_figure("width", "error of the empirical NTK", log=True)
    widths = np.array(config.widths)
    axes.plot(widths, result.width_errors, "o", label="measured")
    axes.plot(widths, result.width_errors[-1] * (widths / widths[-1]) ** -0.5, "--", label="slope -1/2")
    name_ticks(axes, config.widths)
    axes.yaxis.set_minor_formatter("{x:.2g}")
    axes.legend()
    return figure
