"""Powers of the width with which features, the first output and its change scale in four parametrizations."""

from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Claim, Context, new_figure
from experiments.harness.claims import sheet
from jaxlib_methods.infinite_width import (
    AbcParametrization,
    abc_classify,
    abc_mlp,
    abc_parametrization,
    abc_shift,
    scale_by_layer_rates,
)

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
    keys = jax.random.split(start, config.seeds)
    squares = [train(width, keys, x / INPUTS**0.5, y) for width in context.progress(config.widths, "widths")]
    return ExponentTables(*np.sqrt(np.mean(squares, axis=2)).transpose(2, 1, 0))


def train(width: int, keys, x, y) -> np.ndarray:
    """Mean squares of the change of x^L, of f_0 and of the change of f, (parametrization, seed, 3).

    Shifted to a = 0 the parametrizations differ by numbers alone, so that one program trains all of them.
    """
    shifted = [abc_shift(*abc, [-a for a in abc.a]) for abc in PARAMETRIZATIONS.values()]
    scales = [
        jnp.array([[float(width) ** -float(e) for e in row] for row in rows])
        for rows in zip(*[(s.b, s.c) for s in shifted], strict=True)
    ]
    net = abc_mlp([0] * (DEPTH + 1), [0] * (DEPTH + 1), 0, jnp.tanh)
    features, outputs = lambda p: net.taps(p, x).activations[-1], lambda p: net.apply(p, x)
    loss = lambda params: jnp.mean((outputs(params) - y) ** 2) / 2

    def network(cell):
        key, deviations, rates = cell
        optimizer = optax.chain(scale_by_layer_rates(tuple(rates)), optax.sgd(RATE))
        draws = net.init(key, width=width, inputs=INPUTS, outputs=1)
        params = tuple(scale * draw for scale, draw in zip(deviations, draws, strict=True))

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        trained = jax.lax.scan(step, (params, optimizer.init(params)), length=STEPS)[0][0]
        differences = features(trained) - features(params), outputs(params), outputs(trained) - outputs(params)
        return jnp.stack([jnp.mean(d**2) for d in differences])

    run = lambda deviations, rates: jax.lax.map(lambda key: network((key, deviations, rates)), keys)
    return np.asarray(jax.jit(lambda scales: jax.lax.map(lambda rows: run(*rows), scales))(tuple(scales)))


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
            f"Features move as n^-r of the classification: {', '.join(names)} ({config.seeds} seeds).",
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
            measured=[int(report.feature_learning) if report.nontrivial else -1 for report in reports],
        ),
    ]


def exponent_figure(config, result: ExponentTables):
    labels = ("change of features", "output at the start", "change of the output")
    figure, axes = new_figure("width n", "root mean square", log=True, panels=3)
    for ax, label, table in zip(axes, labels, result, strict=True):
        rows = zip(PARAMETRIZATIONS, table, slopes(config, table), ("-", "--", "-", ":"), strict=True)
        for name, row, slope, line in rows:
            ax.plot(config.widths, row, "o", linestyle=line, label=f"{name}: {slope:.2f}")
        ax.set_title(label)
        ax.set_ylim(table.min() / 6, table.max() * 1.5)
        ax.legend(title="power of n", loc="lower left", fontsize=7, title_fontsize=7)
    return figure
