"""The whole experiment, very small: every part runs, is claimed and is drawn, on a mesh too."""

import itertools
import lzma
from dataclasses import replace

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

FULL = experiment.PRESETS["full"]
TINY_FULL = replace(
    FULL,
    exponents=TINY.exponents,
    deep_limits=TINY.deep_limits,
    word_vectors=replace(
        FULL.word_vectors, widths=(4, 16), seeds=1, steps=20, epochs=2, book_widths=(4, 8), batch=8, min_count=1
    ),
    meta_learning=replace(
        FULL.meta_learning,
        widths=(2, 512),
        seeds=2,
        epochs=2,
        batches=1,
        kernel_batches=2,
        tasks=8,
        test_tasks=100,
        test_steps=1,
    ),
    coordinates=replace(FULL.coordinates, base=8, perceptron_widths=(8, 16), steps=1, seeds=2),
    transfer=replace(
        TINY.transfer, text_widths=(8, 16), text_exponents=(-8, -6), text_steps=2, text_batch=2, context=4, layers=1
    ),
)
TABLE = {name: np.array([0.5]) for name in ("2", "limit", *maml.KERNELS)}

KERNELS = tuple(maml.KERNELS)


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


@pytest.fixture
def small_texts(monkeypatch, tmp_path):
    """Books of a few hundred words of two letters, and questions and similarities about these."""
    words = np.array(["".join(pair) for pair in itertools.product("abcd", "efgh")])
    drawn = np.random.default_rng(0).choice(words, size=400)
    (tmp_path / "books.txt.xz").write_bytes(lzma.compress(" ".join(drawn).encode()))
    (tmp_path / "questions-words.txt").write_text(": letters\nae af be bf\nce cf de df\n")
    for name in word2vec.SIMILARITY:
        (tmp_path / f"{name}.txt").write_text("ae af 9\nae dh 1\nbe bf 8\n")
    for module in (word2vec, transfer):
        monkeypatch.setattr(module, "data_path", lambda folder, file, directory: tmp_path / file)


def test_the_full_preset_at_reduced_size_runs_what_quick_leaves_out(context, small, small_texts):
    """Two outer steps of MAML with validation, word vectors of books and decoders of text."""
    result = experiment.run(TINY_FULL, context)
    assert set(result.accuracies) == {"2", "512", "limit", "ReLU NTK"}
    assert all(values.shape == (2,) and (values <= 1).all() for values in result.accuracies.values())
    assert set(result.books) == {"GP and NTK", "4", "8", "limit"}
    assert all(np.isfinite(values).all() and len(values) == 4 for values in result.books.values())
    assert all(losses.shape == (2, 2) and np.isfinite(losses).all() for losses in result.transfer.text.values())
    all_models = {name: result.accuracies.get(name, np.array([0.5])) for name in ("2", "512", "limit", *KERNELS)}
    claims = {claim.id: claim for claim in experiment.claims(TINY_FULL, result._replace(accuracies=all_models))}
    judged = {"maml-table", "word-vectors-analogies", "word-vectors-kernels", "text-best-mup", "text-best-standard"}
    assert judged <= {name for name, claim in claims.items() if claim.passed is not None}
    assert {"maml", "analogies", "transfer_text"} <= set(dict(experiment.figures(TINY_FULL, result)))


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
