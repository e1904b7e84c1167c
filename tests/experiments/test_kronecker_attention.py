"""The whole experiment, very small: every part runs, every claim and figure is made, language models included."""

import lzma

import numpy as np
import pytest

from experiments import kronecker_attention as experiment
from experiments.kronecker_attention import language
from jaxlib_methods.runtime import DataError

SMALL = experiment.Config(
    steps=10,
    evaluation=8,
    moduli=2,
    lengths=(2,),
    degrees=(1,),
    draws=2,
    block_length=8,
    tensor_lengths=(4, 8),
    block_lengths=(4, 8),
    window_lengths=(256, 512),
    poly_lengths=(8, 16),
    windows=(2, 3),
    repeats=1,
    language_steps=8,
    language_batch=2,
    context=8,
    dim=8,
    layers=2,
    heads=2,
    head_dim=4,
    every=2,
    language_windows=(4, 2),
    megabytes=1,
)


@pytest.mark.runs
def test_every_part_runs(context, tmp_path, monkeypatch):
    book = tmp_path / "books.txt.xz"
    book.write_bytes(lzma.compress(np.random.default_rng(0).integers(97, 123, 4000).astype(np.uint8).tobytes()))
    monkeypatch.setattr(language, "data_path", lambda *names: book)
    result = experiment.run(SMALL, context)
    assert result.language is not None
    assert result.language.losses.shape == (2, 8)
    assert result.language.weights[1] > result.language.weights[0]
    names = [claim.id for claim in experiment.claims(SMALL, result)]
    assert len(names) == len(set(names)) == 16
    assert {name for name, _ in experiment.figures(SMALL, result)} == {"match3", "polynomial", "scaling", "language"}


def test_without_the_books_only_their_claim_is_missing(context, monkeypatch):
    def absent(*names):
        raise DataError("books are not here")

    monkeypatch.setattr(language, "data_path", absent)
    (claim,) = language.language_claims(language.language_models(SMALL, context, None))
    assert claim.status == "not run"
    assert claim.measured == "books are not here"
