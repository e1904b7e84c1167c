"""The whole experiment, very small: every part runs, is claimed and is drawn; missing data is told."""

import dataclasses

import matplotlib.figure
import numpy as np

from experiments import wide_cnn_kernels as experiment
from experiments.wide_cnn_kernels import images
from experiments.wide_cnn_kernels.config import Race
from jaxlib_methods.infinite_width import dense, flatten, serial
from jaxlib_methods.runtime import DataError

TINY = experiment.Config(
    races=(
        Race(student=(2, 2), patches=2, sizes=(8, 16), fields=2, tests=8, nodes=66),
        Race(student=(2, 2, 2), patches=4, sizes=(8, 16), fields=2, tests=8, nodes=8),
    ),
    spectrum_nodes=66,
    widths=(8, 16),
    networks=2,
    digits=20,
)


def test_every_part_runs_and_kernels_have_the_stored_values(context, monkeypatch):
    """The networks for digits without their hidden layers: what they compile to is tested elsewhere."""
    linear = serial(flatten(), dense(1))
    monkeypatch.setattr(experiment, "networks", lambda: {"convolutional": linear, "dense": linear})
    result = experiment.run(TINY, context)
    claims = {claim.id: claim for claim in experiment.claims(TINY, result)}
    assert all(claims[name].passed for name in ("kernel-values", "pooled-values", "methods"))
    assert {name for name, claim in claims.items() if claim.passed is None} == {"pooling", "resnet"}
    for curves in result.curves:
        assert np.isfinite(curves.measured).all()
        assert curves.measured.shape[:-1] == curves.predicted.shape
    figures = dict(experiment.figures(TINY, result))
    assert set(figures) == {"spectra", "learning_curves", "finite_width", "digits"}
    assert all(isinstance(figure, matplotlib.figure.Figure) for figure in figures.values())


def test_without_data_the_image_claims_are_not_run_and_say_why(context, monkeypatch):
    for name in ("stored_network", "decay", "learn", "predict", "finite_width", "compare_methods"):
        monkeypatch.setattr(experiment, name, lambda *arguments: np.ones((3, 2)))
    monkeypatch.setattr(experiment, "classify", lambda *arguments: {"convolutional": [1.0], "dense": [1.0]})

    def missing(name):
        if name == "cifar10":
            raise DataError(f"{name} is nowhere")

    monkeypatch.setattr(context, "data", missing)
    config = dataclasses.replace(TINY, dataset="cifar10", images=5, resnet_images=5)
    claims = {claim.id: claim for claim in images.image_claims(experiment.run(config, context))}
    assert {claims[name].measured for name in ("pooling", "resnet")} == {"cifar10 is nowhere"}


def test_a_small_resnet_has_a_semidefinite_kernel(context, monkeypatch):
    """Its first stage, two channels wide."""
    network = images.resnet(2, stages=1)
    monkeypatch.setattr(images, "resnet", lambda: network)
    photographs = np.random.default_rng(0).normal(size=(4, 4, 4, 3)).astype(np.float32)
    assert 0 < images.resnet_kernel(context.key, photographs, None) < 1
