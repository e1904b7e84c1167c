"""The whole experiment, very small: every part runs, is claimed and is drawn, on a mesh too."""

import matplotlib.figure
import numpy as np
import pytest

from experiments import feature_learning_infinite_width as experiment
from experiments.feature_learning_infinite_width import coordinates, maml, transfer, word2vec
from experiments.feature_learning_infinite_width.config import (
    Coordinates,
    DeepLimits,
    Exponents,
    MetaLearning,
    Transfer,
    WordVectorSizes,
)
from jaxlib_methods.runtime import DataError

TINY = experiment.Config(
    exponents=Exponents(widths=(8, 16), seeds=2),
    deep_limits=DeepLimits(
        linear_width=16, linear_seeds=2, tanh_width=16, tanh_seeds=2, particles=64, keys=1, widths=(8, 16), seeds=2
    ),
    word_vectors=WordVectorSizes(widths=(4, 16), seeds=1, steps=20),
    meta_learning=MetaLearning(
        widths=(),
        epochs=2,
        batches=1,
        kernel_batches=1,
        tasks=8,
        test_tasks=100,
        test_steps=1,
        train_characters=6,
        validation_characters=6,
        test_characters=6,
    ),
    coordinates=Coordinates(base=8, perceptron_widths=(8, 16), steps=1, seeds=2),
    transfer=Transfer(widths=(8, 16, 32), exponents=(-8, -2), steps=2, batch=16),
)


TABLE = {name: np.array([0.5]) for name in ("2", "limit", *maml.KERNELS)}


@pytest.fixture
def small(monkeypatch):
    """One network for the coordinate check, one ReLU kernel, characters drawn at random, no text."""
    ink = np.random.default_rng(0).random((3, 6, 20, 28 * 28)).astype(np.float32)
    monkeypatch.setattr(maml, "KERNELS", {"ReLU NTK": "ntk"})
    monkeypatch.setattr(maml, "omniglot", lambda sizes, directory: maml.Characters(*ink))
    monkeypatch.setattr(coordinates, "KINDS", ("perceptron",))
    monkeypatch.setattr(transfer, "data_path", missing)


def missing(*arguments):
    raise DataError("no such file")


def test_every_part_runs_on_a_mesh_is_claimed_and_is_drawn(context, small, mesh8):
    context.mesh = mesh8
    result = experiment.run(TINY, context)
    assert set(result.accuracies) == {"limit", "ReLU NTK"}
    assert all(0 <= values[0] <= 1 for values in result.accuracies.values())
    claims = {claim.id: claim for claim in experiment.claims(TINY, result._replace(accuracies=TABLE))}
    assert {"dichotomy", "linear-limit"} <= {name for name, claim in claims.items() if claim.passed}
    assert {"text-best-mup", "word-vectors-analogies", "maml-table"} <= {
        name for name, claim in claims.items() if claim.passed is None
    }
    assert {"feature-exponents", "wide-tanh", "perceptron-mup", "digits-best-mup"} <= set(claims)
    figures = dict(experiment.figures(TINY, result))
    drawn = {"exponents", "deep_limits", "convergence_in_width", "word_vectors", "maml"}
    assert set(figures) == drawn | {"coordinates_perceptron", "transfer_digits"}
    assert all(isinstance(figure, matplotlib.figure.Figure) for figure in figures.values())


def test_analogies_are_claimed_and_drawn_where_there_are_books():
    found = {name: np.full(4, 0.1 * i) for i, name in enumerate(("GP and NTK", "64", "256", "1024", "limit"))}
    claims = word2vec.word_vector_claims(TINY.word_vectors, np.array([0.4, 0.2]), found)
    assert [claim.passed for claim in claims] == [True, True, True]
    assert isinstance(word2vec.analogy_figure(TINY.word_vectors, found), matplotlib.figure.Figure)


def test_shrinking_keeps_the_mean_and_a_constant():
    images = np.zeros((2, 105, 105))
    images[0] = 0.7
    images[1, 30:75, 30:75] = 1
    small = maml.resize(images)
    np.testing.assert_allclose(small[0], 0.7, rtol=1e-5)
    np.testing.assert_allclose(small[1].mean(), images[1].mean(), rtol=0.01)
