"""Powers of the width with which features, the first output and its change scale in four parametrizations."""

from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Claim, Context, new_figure
from experiments.harness.claims import sheet
from jaxlib_methods.infinite_width import AbcParametrization, abc_classify, abc_mlp, abc_parametrization, abc_sgd

DEPTH, INPUTS, BATCH, STEPS, RATE = 2, 8, 6, 3, 0.3
HALF = Fraction(1, 2)
PARAMETRIZATIONS = {
    "NTP": abc_parametrization("ntp", depth=DEPTH),
    "SP, rate / n": abc_parametrization("sp_scaled_rate", depth=DEPTH),
    "muP": abc_parametrization("mup", depth=DEPTH),
    "between, r = 1/4": AbcParametrization((0, HALF, 3 * HALF / 2), (0, 0, 0), -HALF),
}


class ExponentTables(NamedTuple):
    """Root mean squares over units and seeds, (parametrization, width)."""

    features: np.ndarray
    start: np.ndarray
    change: np.ndarray


def exponents(config, context: Context, key) -> ExponentTables:
    data_key, start = jax.random.split(key)
    x = jax.random.normal(data_key, (BATCH, INPUTS))
    y = jnp.sign(x[:, :1] * x[:, 1:2])
    cells = [(abc, width) for abc in PARAMETRIZATIONS.values() for width in config.widths]
    rows = [
        np.sqrt(np.mean(train(abc, width, jax.random.split(start, config.seeds), x / INPUTS**0.5, y), 1))
        for abc, width in context.progress(cells, "widths")
    ]
    return ExponentTables(*np.array(rows).reshape(len(PARAMETRIZATIONS), len(config.widths), 3).transpose(2, 0, 1))


def train(abc: AbcParametrization, width: int, keys, x, y) -> np.ndarray:
    """Mean squares of the change of x^L, of f_0 and of the change of f, (3, seed)."""
    net, optimizer = abc_mlp(*abc, jnp.tanh), abc_sgd(RATE, abc.c, width)
    loss = lambda params: jnp.mean((net.apply(params, x) - y) ** 2) / 2

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    def network(key):
        params = net.init(key, width=width, inputs=INPUTS, outputs=1)
        trained = jax.lax.scan(step, (params, optimizer.init(params)), length=STEPS)[0][0]
        features, outputs = (
            lambda p: net.taps(p, x).activations[-1],
            lambda p: net.apply(p, x),
        )
        differences = features(trained) - features(params), outputs(params), outputs(trained) - outputs(params)
        return jnp.stack([jnp.mean(d**2) for d in differences])

    return np.asarray(jax.jit(lambda keys: jax.lax.map(network, keys))(keys)).T


def slopes(config, table: np.ndarray) -> np.ndarray:
    """Power of the width in each row."""
    return np.polyfit(np.log(config.widths), np.log(table).T, 1)[0]


def exponent_claims(config, result: ExponentTables) -> list[Claim]:
    claim = sheet("reproduction quick (a)")
    start = slopes(config, result.start)
    names = list(PARAMETRIZATIONS)
    reports = [abc_classify(*abc) for abc in PARAMETRIZATIONS.values()]
    return [
        claim(
            Claim.close,
            "feature-exponents",
            f"Features move as n^-r of the classification: {', '.join(names)}.",
            expected=[-float(report.r) for report in reports],
            measured=slopes(config, result.features),
            tolerance=0.06,
        ),
        claim(
            Claim.close,
            "first-output",
            "The first output is of order one in NTP, and falls as n^-1/2 in muP.",
            expected=[0.0, -0.5],
            measured=[start[names.index("NTP")], start[names.index("muP")]],
            tolerance=0.1,
        ),
        claim(
            Claim.close,
            "output-moves",
            "The change of the output is of order one in all four.",
            expected=np.zeros(len(names)),
            measured=slopes(config, result.change),
            tolerance=0.06,
        ),
        sheet("classification", "paper")(
            Claim.close,
            "dichotomy",
            "Of the four only muP learns features; the others are kernel machines.",
            expected=[0, 0, 1, 0],
            measured=[
                int(report.feature_learning) - int(not report.kernel ^ report.feature_learning) for report in reports
            ],
        ),
    ]


def exponent_figure(config, result: ExponentTables):
    labels = ("change of features", "output at the start", "change of the output")
    figure, axes = new_figure("width n", "root mean square", log=True, panels=3)
    for ax, label, table in zip(axes, labels, result, strict=True):
        for (name, row), slope in zip(zip(PARAMETRIZATIONS, table, strict=True), slopes(config, table), strict=True):
            ax.plot(config.widths, row, "o-", label=f"{name}: {slope:.2f}")
        ax.set_title(label)
        ax.set_ylim(table.min() / 6, table.max() * 1.5)
        ax.legend(title="power of n", loc="lower left", fontsize=7, title_fontsize=7)
    return figure
