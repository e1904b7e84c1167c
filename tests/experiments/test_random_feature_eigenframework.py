"""The whole experiment, very small, on digits: every part runs, is claimed and is drawn; missing data is told."""

import dataclasses

import matplotlib.figure
import numpy as np

from experiments import random_feature_eigenframework as experiment
from experiments.random_feature_eigenframework.config import Simulation
from jaxlib_methods.runtime import DataError

TINY = experiment.Config(
    simulation=Simulation(
        modes=30, alpha=1.3, beta=1.4, noise=0.1, n=6, k=6, ns=(4, 9), ks=(6, 9), ridges=(0.1, 1.0), trials=3, tests=5
    ),
    dataset="digits",
    second_dataset="digits",
    pool=400,
    sizes=(20, 40, 80),
    draws=2,
    kernel_trials=2,
    feature_trials=1,
    feature_tests=50,
    ratio_samples=40,
    ratio_trials=1,
)


def test_every_part_runs_and_the_theory_has_the_stored_values(context):
    result = experiment.run(TINY, context)
    claims = {claim.id: claim for claim in experiment.claims(TINY, result)}
    exact = ["theory-table", "theory-optimum", "more-is-better-table", "more-is-better", "optimal-ridge"]
    assert all(claims[name].passed for name in exact)
    not_run = {name for name, claim in claims.items() if claim.passed is None}
    assert not_run == {
        *("simulation-theory", "simulation-test", "simulation-train", "paper-simulation"),
        *("cifar10-simulation", "cifar10-theory"),
    }
    figures = dict(experiment.figures(TINY, result))
    assert set(figures) == {"simulation", "learning_curves", "ridge_paths", "fitting_ratio"}
    assert all(isinstance(figure, matplotlib.figure.Figure) for figure in figures.values())
    for curves in (result.over_k, result.over_n, result.images.kernel, result.images.features):
        assert np.isfinite(curves.measured).all()
        assert curves.measured.shape[:-1] == curves.theory.shape


def test_without_data_the_image_claims_are_not_run_and_say_why(context, monkeypatch):
    def missing(name):
        raise DataError(f"{name} is nowhere")

    monkeypatch.setattr(context, "data", missing)
    result = experiment.run(dataclasses.replace(TINY, dataset="mnist", cifar_pool=100), context)
    claims = experiment.claims(TINY, result)
    reasons = {claim.id: claim.measured for claim in claims if claim.passed is None}
    assert reasons["mnist-exponents"] == "mnist is nowhere"
    assert reasons["cifar10-theory"] == "cifar10 is nowhere"
    assert list(dict(experiment.figures(TINY, result))) == ["simulation"]
