"""Yang and Hu 2020: networks of infinite width that learn features.

    python -m experiments run feature_learning_infinite_width --preset quick

Powers of the width in four parametrizations; limits of deep networks, word vectors and first-order MAML beside networks
of growing width and kernels; and muP in practice: coordinate checks, and learning rates that stay as the width grows.
"""

from typing import NamedTuple

import jax
import numpy as np

from experiments.feature_learning_infinite_width.config import PRESETS, Config
from experiments.feature_learning_infinite_width.coordinates import (
    coordinate_claims,
    coordinate_figures,
    coordinate_reports,
)
from experiments.feature_learning_infinite_width.deep_limits import (
    DeepLimitPaths,
    deep_limit_claims,
    deep_limits,
    paths_figure,
    widths_figure,
)
from experiments.feature_learning_infinite_width.exponents import (
    ExponentTables,
    exponent_claims,
    exponent_figure,
    exponents,
)
from experiments.feature_learning_infinite_width.maml import meta_learning, meta_learning_claims, meta_learning_figure
from experiments.feature_learning_infinite_width.transfer import (
    Transfers,
    transfer_claims,
    transfer_figures,
    transfer_losses,
)
from experiments.feature_learning_infinite_width.word2vec import (
    analogy_figure,
    book_vectors,
    convergence,
    convergence_figure,
    word_vector_claims,
)
from experiments.harness import Claim, Context
from jaxlib_methods.infinite_width import CoordinateReport

__all__ = ["PAPER", "PRESETS", "Config", "Result", "claims", "figures", "run"]

PAPER = "Yang and Hu, Feature Learning in Infinite-Width Neural Networks, 2020"


class Result(NamedTuple):
    """What the parts measured; a text says why a part did not run."""

    exponents: ExponentTables
    deep_limits: DeepLimitPaths
    gaps: np.ndarray
    books: dict[str, np.ndarray] | str
    accuracies: dict[str, np.ndarray] | str
    coordinates: dict[str, dict[str, CoordinateReport]]
    transfer: Transfers


def run(config: Config, context: Context) -> Result:
    keys = jax.random.split(context.key, 7)
    with context.section("exponents"):
        tables = exponents(config.exponents, context, keys[0])
    with context.section("deep limits"):
        paths = deep_limits(config.deep_limits, context, keys[1])
    with context.section("word vectors"):
        gaps = convergence(config.word_vectors, context, keys[2])
        books = book_vectors(config.word_vectors, context, keys[3])
    with context.section("meta-learning"):
        accuracies = meta_learning(config.meta_learning, context, keys[4])
    with context.section("coordinates"):
        reports = coordinate_reports(config, context, keys[5])
    with context.section("transfer"):
        transfer = transfer_losses(config, context, keys[6])
    return Result(tables, paths, gaps, books, accuracies, reports, transfer)


def claims(config: Config, result: Result) -> list[Claim]:
    return [
        *exponent_claims(config.exponents, result.exponents),
        *deep_limit_claims(config.deep_limits, result.deep_limits),
        *word_vector_claims(config.word_vectors, result.gaps, result.books),
        *meta_learning_claims(config.meta_learning, result.accuracies),
        *coordinate_claims(config, result),
        *transfer_claims(config, result),
    ]


def figures(config: Config, result: Result):
    yield "exponents", exponent_figure(config.exponents, result.exponents)
    yield "deep_limits", paths_figure(config.deep_limits, result.deep_limits)
    yield "convergence_in_width", widths_figure(config.deep_limits, result.deep_limits)
    yield "word_vectors", convergence_figure(config.word_vectors, result.gaps)
    if isinstance(result.books, dict):
        yield "analogies", analogy_figure(config.word_vectors, result.books)
    if isinstance(result.accuracies, dict):
        yield "maml", meta_learning_figure(config.meta_learning, result.accuracies)
    yield from coordinate_figures(config, result)
    yield from transfer_figures(config, result)
