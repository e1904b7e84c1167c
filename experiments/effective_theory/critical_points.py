"""Critical points of the usual activations, and the powers of depth with which signals fall there."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, new_figure
from experiments.harness.claims import sheet
from jaxlib_methods.infinite_width import (
    LayerScales,
    critical_point,
    gaussian_expectation,
    nearby_inputs,
    single_input_recursion,
    susceptibilities,
)

TABLE = {
    "linear": (0, 1, np.nan),
    "relu": (0, 2, np.nan),
    "leaky_relu": (0, 1.9801980, np.nan),
    "tanh": (0, 1, 0),
    "sin": (0, 1, 0),
    "gelu": (0.17292239, 1.98305826, 3.5615528),
    "swish": (0.55514317, 1.98800468, 14.3201736),
    "mish": (0.0945218, 2.0135241, 1.6701691),
}
NOWHERE = ("sigmoid", "softplus", "perceptron")
START = 1.0


def critical_table() -> tuple[np.ndarray, list[str]]:
    """C_b, C_W and K* of each activation of the table; and why others have none."""
    reasons = []
    for name in NOWHERE:
        try:
            reasons.append(f"{name} is critical at {critical_point(name)}")
        except ValueError as error:
            reasons.append(str(error))
    return np.array([critical_point(name)[1:4] for name in TABLE]), reasons


def powers(depth: int) -> dict[str, np.ndarray]:
    """K, d1, d2 and V / K^2 of tanh and ReLU at criticality, each (depth,)."""
    result = {}
    for name, weight in (("tanh", 1.0), ("relu", 2.0)):
        scales = LayerScales(0.0, weight)
        pair = nearby_inputs(scales, jnp.array(START), 1e-3, 1e-3, activation=name, depth=depth)
        path = single_input_recursion(scales, jnp.array(START), activation=name, depth=depth)
        values = (*pair, path.vertex / path.kernel**2)
        result |= {f"{name} {label}": np.asarray(a) for label, a in zip(("K", "d1", "d2", "V"), values, strict=True)}
    return result


def phases() -> dict[str, np.ndarray]:
    """chi_perpendicular at the fixed point of the kernel, over C_b and C_W, for ReLU and tanh."""
    bias, weight = np.meshgrid(np.linspace(0, 0.5, 41), np.linspace(0.5, 3, 51), indexing="ij")

    def perpendicular(name, b, w):
        step = lambda k, _: (jnp.minimum(b + w * gaussian_expectation(k, activation=name), 1e6), None)
        k = jnp.maximum(jax.lax.scan(step, jnp.array(START), length=200)[0], 1e-8)
        return susceptibilities(k, w, activation=name).perpendicular

    maps = {"C_b": bias, "C_W": weight}
    for name in ("relu", "tanh"):
        chi = jax.jit(jax.vmap(lambda b, w, name=name: perpendicular(name, b, w)))(bias.ravel(), weight.ravel())
        maps[name] = np.asarray(chi).reshape(bias.shape)
    return maps


def critical_claims(result) -> list[Claim]:
    claim = sheet("reproduction quick (a)")
    headline = sheet("headline results")
    expected, table = np.array(list(TABLE.values())), result.table
    free = np.isnan(expected[:, 2])
    depth, at = len(result.powers["tanh K"]), np.array([20, 50, 100, 200]) - 1
    slope = lambda name: np.log2(result.powers[name][-1] / result.powers[name][depth // 2 - 1])
    return [
        claim(
            Claim.close,
            "variances",
            "Critical variances of biases and weights of eight activations.",
            expected=expected[:, :2],
            measured=table[:, :2],
            tolerance=1e-6,
        ),
        claim(
            Claim.close,
            "kernels",
            "Their fixed points K*, where not every kernel is one.",
            expected=expected[~free, 2],
            measured=table[~free, 2],
            tolerance=1e-6,
        ),
        claim(
            Claim.at_least,
            "nowhere-critical",
            "Sigmoid, softplus and the perceptron have no critical point.",
            expected=len(NOWHERE),
            measured=sum("has no critical point" in reason for reason in result.reasons),
        ),
        headline(
            Claim.close,
            "powers-of-depth",
            "For tanh K, d1 and d2 fall as the powers -1, -2 and -1 of depth.",
            expected=[-1, -2, -1],
            measured=[slope(f"tanh {name}") for name in ("K", "d1", "d2")],
            tolerance=0.01,
        ),
        headline(
            Claim.close,
            "tanh-vertex",
            "V / (K^2 l) of tanh at l = 20, 50, 100, 200, on its way to 2/3.",
            expected=[0.598, 0.634, 0.648, 0.656],
            measured=result.powers["tanh V"][at] / (at + 1),
            tolerance=1e-3,
        ),
    ]


def phase_figure(result):
    figure, axes = new_figure("variance of weights $C_W$", "variance of biases $C_b$", panels=2)
    for ax, name, point in zip(axes, ("relu", "tanh"), (2.0, 1.0), strict=True):
        values = np.log2(np.clip(result.phases[name], 0.25, 4))
        ax.pcolormesh(
            result.phases["C_W"], result.phases["C_b"], values, cmap="RdBu_r", vmin=-1, vmax=1, shading="gouraud"
        )
        ax.contour(result.phases["C_W"], result.phases["C_b"], values, levels=[0], colors="black", linewidths=1)
        ax.plot([point], [0], "o", color="black", markersize=7, clip_on=False, label="critical point")
        ax.set_title({"relu": "ReLU", "tanh": "tanh"}[name])
        ax.grid(False)
    axes[1].legend(loc="upper right")
    figure.colorbar(axes[1].collections[0], ax=axes, label=r"$\log_2 \chi_\perp$ at the fixed point of K")
    return figure


def power_figure(result):
    figure, axes = new_figure("layer", "relative to the first layer", log=True, panels=2)
    l = np.arange(1, len(result.powers["tanh K"]) + 1)
    for ax, name in zip(axes, ("tanh", "relu"), strict=True):
        for label, text in (("K", "K"), ("d1", r"$\delta_1$"), ("d2", r"$\delta_2$")):
            values = result.powers[f"{name} {label}"]
            style = {"K": "-", "d1": "--", "d2": ":"}[label]
            ax.plot(l, values / values[0], style, label=text)
        ax.set_title({"relu": "ReLU: nothing moves", "tanh": "tanh"}[name])
    for power in (1, 2):
        axes[0].plot(l[30:], 0.3 * l[30:] ** -float(power), color="#999999", linewidth=0.8)
        axes[0].text(l[len(l) // 16], 0.04 * l[len(l) // 16] ** -float(power), f"$l^{{-{power}}}$", color="#555555")
    axes[0].legend()
    axes[1].set_ylim(1e-1, 1e1)
    return figure
