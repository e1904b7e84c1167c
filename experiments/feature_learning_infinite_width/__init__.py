"""Yang and Hu 2020: infinitely wide networks that learn features.

    python -m experiments run feature_learning_infinite_width --preset quick

Word vectors and first-order MAML at growing width beside the exact limit, and beside kernels.
"""

from typing import NamedTuple

import jax
import numpy as np

from experiments.feature_learning_infinite_width.config import PRESETS, Config
from experiments.feature_learning_infinite_width.maml import meta_learning, meta_learning_claims, meta_learning_figure
from experiments.feature_learning_infinite_width.word2vec import (
    analogy_figure,
    book_vectors,
    convergence,
    convergence_figure,
    word_vector_claims,
)
from experiments.harness import Claim, Context

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Yang and Hu, Feature Learning in Infinite-Width Neural Networks, 2020"


class Result(NamedTuple):
    """What the parts measured; a text says why a part did not run."""

    gaps: np.ndarray
    books: dict[str, np.ndarray] | str
    accuracies: dict[str, np.ndarray] | str


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 3)
    with context.section("word vectors"):
        gaps = convergence(config.word_vectors, context, keys[0])
        found = book_vectors(config.word_vectors, context, keys[1])
    with context.section("meta-learning"):
        accuracies = meta_learning(config.meta_learning, context, keys[2])
    return Result(gaps, found, accuracies)


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *word_vector_claims(config.word_vectors, result.gaps, result.books),
        *meta_learning_claims(config.meta_learning, result.accuracies),
    ]


def figures(config: Config, result: Result):
    yield "word_vectors", convergence_figure(config.word_vectors, result.gaps)
    if isinstance(result.books, dict):
        yield "analogies", analogy_figure(config.word_vectors, result.books)
    if isinstance(result.accuracies, dict):
        yield "maml", meta_learning_figure(config.meta_learning, result.accuracies)
