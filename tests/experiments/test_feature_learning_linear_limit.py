"""Word vectors and meta-learning, very small: they run, are claimed and are drawn."""

import matplotlib.figure
import numpy as np

from experiments.feature_learning_infinite_width import maml, word2vec
from experiments.feature_learning_infinite_width.config import MetaLearning, WordVectorSizes

WORDS = WordVectorSizes(widths=(4, 16), seeds=1, steps=20)
TINY = MetaLearning(
    widths=(),
    epochs=2,
    batches=1,
    kernel_batches=1,
    tasks=2,
    test_tasks=100,
    test_steps=1,
    train_characters=6,
    validation_characters=6,
    test_characters=6,
)
TABLE = {name: np.array([0.5]) for name in ("2", "limit", *maml.KERNELS)}


def test_word_vectors_tend_to_the_limit(context):
    gaps = word2vec.convergence(WORDS, context, context.key)
    assert (gaps > 0).all()
    found = {name: np.full(4, 0.1 * i) for i, name in enumerate(("GP and NTK", "64", "256", "1024", "limit"))}
    assert [claim.passed for claim in word2vec.word_vector_claims(WORDS, gaps, found)][1:] == [True, True]
    assert word2vec.word_vector_claims(WORDS, gaps, "no books")[1].passed is None
    for figure in (word2vec.convergence_figure(WORDS, gaps), word2vec.analogy_figure(WORDS, found)):
        assert isinstance(figure, matplotlib.figure.Figure)


def test_networks_and_kernels_are_measured(context, monkeypatch):
    ink = np.random.default_rng(0).random((3, 6, 20, 28 * 28)).astype(np.float32)
    monkeypatch.setattr(maml, "KERNELS", {"ReLU NTK": "ntk"})
    monkeypatch.setattr(maml, "omniglot", lambda sizes, directory: maml.Characters(*ink))
    found = maml.meta_learning(TINY, context, context.key)
    assert set(found) == {"limit", "ReLU NTK"}
    assert all(0 <= values[0] <= 1 for values in found.values())
    assert [claim.passed for claim in maml.meta_learning_claims(TINY, TABLE)] == [False, False, None, None]
    assert isinstance(maml.meta_learning_figure(TINY, found), matplotlib.figure.Figure)


def test_shrinking_keeps_the_mean_and_a_constant():
    images = np.zeros((2, 105, 105))
    images[0] = 0.7
    images[1, 30:75, 30:75] = 1
    small = maml.resize(images)
    np.testing.assert_allclose(small[0], 0.7, rtol=1e-5)
    np.testing.assert_allclose(small[1].mean(), images[1].mean(), rtol=0.01)
