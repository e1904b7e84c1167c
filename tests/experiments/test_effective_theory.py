"""The whole experiment, very small: every part runs, is claimed and is drawn."""

import dataclasses

import matplotlib.figure
import numpy as np
import pytest

from experiments import effective_theory as experiment
from experiments.effective_theory.aspect_ratio import ratio_sweep
from experiments.effective_theory.config import Digits, Ensembles
from jaxlib_methods.runtime import DataError, ImageSet

SWEEP = dict(
    widths=(6,), depths=(3,), activations=("relu",), losses=("mse",), residual_depth=4, images=20, steps=2, batch=4
)


def tiny(preset):
    """The preset with every size reduced."""
    return dataclasses.replace(
        preset,
        depth=256,
        ensembles=Ensembles(networks=20, tanh_width=4, relu_width=4, chunk=20),
        digits=Digits(depth=3, width=8, steps=3, batch=8, seeds=2),
        aspect_ratio=dataclasses.replace(preset.aspect_ratio, **SWEEP),
    )


QUICK, FULL = (tiny(experiment.PRESETS[name]) for name in ("quick", "full"))
FIGURES = {"phases", "powers_of_depth", "error_bars", "tensors", "deep_digits"}


@pytest.fixture
def small_images(context, monkeypatch):
    """Random images of the right shapes in place of MNIST and CIFAR-10, which not every machine has."""
    shapes = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
    load = context.data

    def data(name):
        if name not in shapes:
            return load(name)
        rng = np.random.default_rng(0)
        part = lambda: (rng.normal(size=(30, *shapes[name])).astype("float32"), rng.integers(10, size=30))
        return ImageSet(*part(), *part())

    monkeypatch.setattr(context, "data", data)


def test_every_part_runs_and_theory_has_the_stored_values(context):
    result = experiment.run(QUICK, context)
    claims = {claim.id: claim for claim in experiment.claims(QUICK, result)}
    exact = ("variances", "kernels", "nowhere-critical", "recursion", "two-inputs", "posterior", "shares")
    assert all(claims[name].passed for name in exact)
    not_run = {f"{claim}-{name}" for claim in ("best-ratio", "deep-residual") for name in ("mnist", "cifar10")}
    assert {name for name, claim in claims.items() if claim.passed is None} == not_run
    figures = dict(experiment.figures(QUICK, result))
    assert set(figures) == FIGURES
    assert all(isinstance(figure, matplotlib.figure.Figure) for figure in figures.values())


def test_the_full_preset_at_reduced_size_sweeps_both_sets_of_images(context, small_images):
    result = experiment.run(FULL, context)
    assert list(result.ratios) == ["mnist", "cifar10"]
    for found in result.ratios.values():
        assert found["losses"].shape == (1, 1, 1, 1)
        assert np.isfinite(found["losses"]).all()
        assert np.isfinite(found["residual"]).all()
    claims = {claim.id: claim for claim in experiment.claims(FULL, result)}
    assert claims["deep-residual-mnist"].passed is not None
    assert claims["deep-residual-cifar10"].passed is not None
    assert set(dict(experiment.figures(FULL, result))) == FIGURES | {"aspect_ratio_mnist", "aspect_ratio_cifar10"}


def test_a_missing_set_of_images_is_told(context, monkeypatch):
    def missing(name):
        raise DataError(f"no {name} here")

    monkeypatch.setattr(context, "data", missing)
    assert ratio_sweep(FULL.aspect_ratio, "cifar10", context, context.key) == "no cifar10 here"
