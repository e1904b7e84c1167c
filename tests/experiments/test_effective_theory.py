"""The whole experiment, very small: every part runs, is claimed and is drawn."""

import dataclasses

import matplotlib.figure
import numpy as np
import pytest

from experiments import effective_theory as experiment
from experiments.effective_theory.aspect_ratio import ratio_claims, ratio_figure, ratio_sweep
from experiments.effective_theory.config import AspectRatio, Digits, Ensembles
from experiments.harness import Context

TINY = experiment.Config(
    depth=256,
    ensembles=Ensembles(networks=20, tanh_width=4, relu_width=4, chunk=20),
    digits=Digits(depth=3, width=8, steps=3, batch=8, seeds=2),
    aspect_ratio=AspectRatio(
        widths=(6,), depths=(3,), activations=("relu",), losses=("mse",), residual_depth=4, images=20, steps=2, batch=4
    ),
)


@pytest.fixture
def context(tmp_path):
    context = Context(0, tmp_path)
    yield context
    context.close()


def test_every_part_runs_and_theory_has_the_stored_values(context):
    result = experiment.run(TINY, context)
    claims = {claim.id: claim for claim in experiment.claims(TINY, result)}
    exact = ("variances", "kernels", "nowhere-critical", "recursion", "two-inputs", "posterior", "shares")
    assert all(claims[name].passed for name in exact)
    assert {name for name, claim in claims.items() if claim.passed is None} == {"best-ratio", "deep-residual"}
    figures = dict(experiment.figures(TINY, result))
    assert set(figures) == {"phases", "powers_of_depth", "error_bars", "tensors", "deep_digits"}
    assert all(isinstance(figure, matplotlib.figure.Figure) for figure in figures.values())
    sizes = dataclasses.replace(TINY.aspect_ratio, dataset="digits")
    config = dataclasses.replace(TINY, aspect_ratio=sizes)
    swept = result._replace(ratios=ratio_sweep(sizes, context, context.key))
    assert np.isfinite(swept.ratios["losses"]).all()
    assert {claim.id for claim in ratio_claims(config, swept)} == {"best-ratio", "deep-residual"}
    assert isinstance(ratio_figure(config, swept), matplotlib.figure.Figure)
