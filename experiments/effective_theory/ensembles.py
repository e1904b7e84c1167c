"""Ensembles of random networks beside the recursions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, new_figure
from experiments.harness.claims import sheet
from jaxlib_methods.infinite_width import LayerScales, SingleInputTheory, ensemble_check, single_input_recursion

TANH = LayerScales(0.1, 1.5, 0.7, 0.9)
DEPTHS = (2, 4, 8)


def tanh_ensemble(config, context: Context, key) -> dict[str, np.ndarray]:
    """Theory, mean and standard error of every tensor of tanh networks of 4 layers, in the order of the fields."""
    sizes = dict(width=config.ensembles.tanh_width, networks=config.ensembles.networks, chunk=config.ensembles.chunk)
    kernel = jnp.float32(1.2)
    with jax.enable_x64(True):
        theory = single_input_recursion(TANH, jnp.array(1.2), activation="tanh", depth=4)
    check = jax.jit(functools.partial(ensemble_check, activation="tanh", depth=4, **sizes, mesh=context.mesh))
    found = check(key, TANH, kernel)
    return {
        "theory": np.array([a[-1] for a in theory]),
        "mean": np.array(found.mean),
        "error": np.array(found.error),
    }


def relu_ensemble(config, context: Context, key) -> np.ndarray:
    """V / K^2 of critical ReLU networks and its standard error, (depth, 2)."""
    rows = []
    for depth in context.progress(DEPTHS, "ReLU ensembles"):
        found = jax.jit(
            functools.partial(
                ensemble_check,
                activation="relu",
                depth=depth,
                width=config.ensembles.relu_width,
                networks=config.ensembles.networks,
                tensors="kernel",
                chunk=config.ensembles.chunk,
                mesh=context.mesh,
            )
        )(jax.random.fold_in(key, depth), LayerScales(0.0, 2.0), jnp.float32(1.0))
        rows.append((float(found.mean.vertex), float(found.error.vertex)))
    return np.array(rows)


def ensemble_claims(config, result) -> list[Claim]:
    claim = sheet("reproduction quick (c)")
    at = {name: i for i, name in enumerate(SingleInputTheory._fields)}
    theory, mean = result.tanh["theory"], result.tanh["mean"]
    pick = lambda names: [at[name] for name in names]
    close, signs = pick(("vertex", "ntk_off_diagonal", "ntk_outputs")), pick(("dntk_p", "dntk_q"))
    vertex = result.relu[DEPTHS.index(8), 0]
    return [
        claim(
            Claim.close,
            "tanh-ensemble",
            "V, B and F of an ensemble of tanh networks of 4 layers.",
            expected=theory[close],
            measured=mean[close],
            relative=0.08,
        ),
        claim(
            Claim.close,
            "ntk-variance",
            "A of the same ensemble, whose next order is larger.",
            expected=theory[at["ntk_variance"]],
            measured=mean[at["ntk_variance"]],
            relative=0.25,
        ),
        claim(
            Claim.close,
            "dntk-signs",
            "Signs of P and Q, by which the NTK learns.",
            expected=np.sign(theory[signs]),
            measured=np.sign(mean[signs]),
        ),
        claim(
            Claim.between,
            "relu-ensemble",
            "V / K^2 of ReLU networks of 8 layers, 35 but for 15 % and up to 30 % for the width.",
            low=35 * 0.85,
            high=35 * 1.3 * 1.15,
            measured=vertex,
        ),
    ]


def error_bar_figure(config, result):
    n = config.ensembles.relu_width
    figure, axes = new_figure("layers L", r"standard deviation of the metric, $\sqrt{V/n}\, /\, K$", panels=1)
    l = np.arange(1, 33)
    axes.plot(l, np.sqrt(5 * (l - 1) / n), label=rf"ReLU, $\sqrt{{5 (L - 1) / n}}$, n = {n}")
    axes.plot(l, np.sqrt((1 + 5 / n) ** (l - 1) - 1), ":", color="C0", label="ReLU, exact at this width")
    spread = np.sqrt(result.relu[:, 0] / n)
    bars = 2 * result.relu[:, 1] / np.sqrt(result.relu[:, 0] * n) / 2
    axes.errorbar(DEPTHS, spread, bars, fmt="o", color="C0", capsize=3, label="random ReLU networks, 2 errors")
    axes.plot(l, np.sqrt(result.powers["tanh V"][:32] / n), "--", color="C1", label="tanh, recursion")
    axes.plot(l, np.sqrt(2 * l / 3 / n), color="C1", alpha=0.4, label=r"tanh, $\sqrt{2 L / 3 n}$")
    axes.set_ylim(0)
    axes.legend()
    return figure


def tensor_figure(result):
    names = ("V", "G1", "H1", "D", "F", "A", "B", "P", "Q")
    theory, mean, error = (result.tanh[key][2:] for key in ("theory", "mean", "error"))
    figure, axes = new_figure("tensor", "measured / theory, 2 errors")
    size = np.abs(theory)
    keep = [i for i, name in enumerate(names) if name not in ("G1", "H1")]
    axes.errorbar(range(len(keep)), (mean / theory)[keep], (2 * error / size)[keep], fmt="o", capsize=3)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(keep)), [names[i] for i in keep])
    return figure
