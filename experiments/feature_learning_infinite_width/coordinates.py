"""The coordinate check of a perceptron, a convolutional network and a transformer, under muP and as they come."""

import jax.numpy as jnp
import numpy as np

from experiments.feature_learning_infinite_width.networks import cross_entropy, network
from experiments.harness import Claim, Context, name_ticks, new_figure
from experiments.harness.claims import sheet
from jaxlib_methods.infinite_width import CoordinateReport, coordinate_check

KINDS = ("perceptron", "convolutional", "transformer")
NAMES = {"mup": "muP", "standard": "standard"}


def coordinate_reports(config, context: Context, key) -> dict[str, dict[str, CoordinateReport]]:
    """Reports by network and parametrization ("mup", "standard")."""
    sizes, digits = config.coordinates, context.data("digits")
    images, labels = jnp.asarray(digits.train_x[: sizes.batch]), jnp.asarray(digits.train_y[: sizes.batch])
    flat = images.reshape(sizes.batch, -1)
    grey = jnp.round((flat[:, 16 : 17 + sizes.context] + 1) * 8)  # pixels of two rows, as the tokens 0 to 16
    tokens = grey.astype(jnp.int32)
    batches = {
        "perceptron": (flat, labels),
        "convolutional": (images, labels),
        "transformer": (tokens[:, :-1], tokens[:, 1:]),
    }
    jobs = [(kind, parametrization) for kind in KINDS for parametrization in NAMES]
    reports: dict[str, dict[str, CoordinateReport]] = {kind: {} for kind in KINDS}
    for kind, parametrization in context.progress(jobs, "coordinate checks"):
        reports[kind][parametrization] = check(sizes, key, kind, parametrization, *batches[kind])
    return reports


def check(sizes, key, kind, parametrization, x, y) -> CoordinateReport:
    widths = getattr(sizes, f"{kind}_widths")

    def model(width):
        base = sizes.base if parametrization == "mup" else width
        init, apply, optimizer = network(kind, width, base)

        def loss(params):
            logits, taps = apply(params, x)
            return cross_entropy(logits, y), taps

        return init, loss, optimizer(sizes.rate)

    logits = ("logits 1", "logits 2") if kind == "transformer" else ()
    outputs = ("output", *logits)
    return coordinate_check(key, model, widths=widths, steps=sizes.steps, seeds=sizes.seeds, outputs=outputs)


def coordinate_claims(config, result) -> list[Claim]:
    claim, reports = sheet("algorithm 4"), result.coordinates
    claims = []
    for kind in KINDS:
        mup, standard = (_worst(reports[kind][parametrization]) for parametrization in ("mup", "standard"))
        claims.append(
            claim(
                Claim.at_most,
                f"{kind}-mup",
                f"Under muP no slope of a {kind} network's activations is further from 0 than this.",
                expected=0.1,
                measured=mup,
            )
        )
        claims.append(
            claim(
                Claim.at_least,
                f"{kind}-standard",
                f"Under standard parametrization some slope of the same {kind} network is larger: the check fails.",
                expected=0.1,
                measured=standard,
            )
        )
    return claims


def _worst(report: CoordinateReport) -> float:
    """Largest slope in size after the first step; infinite if the check fails in another way."""
    after = [slopes[t] for found in report.slopes.values() for slopes in found for t in range(1, len(slopes))]
    other = any("not finite" in words or "0 at some" in words or "at step 0" in words for words in report.failures)
    return float("inf") if other else float(np.nanmax(np.abs(after)))


def coordinate_figures(config, result):
    """One figure a network: change of each activation against width, a line a step, muP above standard."""
    for kind in KINDS:
        reports = result.coordinates[kind]
        shown = [name for name in reports["mup"].table if not name.startswith(("embedding", "attention"))]
        figure, panels = new_figure("width", "mean |x_t - x_0|", log=True, panels=2)
        for axes, (parametrization, report) in zip(panels, reports.items(), strict=True):
            for i, name in enumerate(shown):
                axes.plot(report.widths, report.table[name].change[:, -1], "o-", color=f"C{i}", label=name)
                if config.coordinates.steps > 1:
                    early = report.table[name].change[:, 2]
                    axes.plot(report.widths, early, ":", color=f"C{i}", linewidth=1)
            verdict = "passes" if report.passed else "fails"
            axes.set_title(f"{NAMES[parametrization]}: {verdict}")
            name_ticks(axes, x=report.widths)
        limits = np.array([axes.get_ylim() for axes in panels])
        for axes in panels:
            axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        panels[0].legend(fontsize=7)
        figure.suptitle(f"{kind.capitalize()}: after {config.coordinates.steps} steps (dotted: after 2)", fontsize=9)
        yield f"coordinates_{kind}", figure
