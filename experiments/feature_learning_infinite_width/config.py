"""Sizes of the parts, and the presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WordVectorSizes:
    """Word vectors on a corpus of topics, and on books; no books if `epochs` is 0."""

    widths: tuple[int, ...] = (16, 64, 256, 1024, 4096)
    seeds: int = 8
    steps: int = 1500
    rate: float = 0.25
    epochs: int = 0
    book_widths: tuple[int, ...] = (64, 256, 1024)
    book_rate: float = 0.05
    batch: int = 64
    window: int = 8
    negatives: int = 25
    subsampling: float = 1e-4
    min_count: int = 40
    megabytes: int = 70


@dataclass(frozen=True)
class MetaLearning:
    """Omniglot: outer steps of all networks (`epochs` times `batches`) and of ReLU kernels, and the characters used."""

    widths: tuple[int, ...] = (2, 8, 32, 128)
    seeds: int = 1
    epochs: int = 1
    batches: int = 300
    kernel_batches: int = 40
    tasks: int = 32
    test_tasks: int = 500
    test_steps: int = 20
    train_characters: int = 400
    validation_characters: int = 0
    test_characters: int = 300


@dataclass(frozen=True)
class Config:
    """Sizes of the parts."""

    word_vectors: WordVectorSizes = WordVectorSizes()
    meta_learning: MetaLearning = MetaLearning()


PRESETS = {
    "quick": Config(),
    "full": Config(
        WordVectorSizes(epochs=5),
        MetaLearning(
            widths=(2, 8, 32, 128, 512, 2048, 8192),
            seeds=4,
            epochs=100,
            batches=100,
            kernel_batches=100,
            test_tasks=3200,
            train_characters=792,
            validation_characters=172,
            test_characters=659,
        ),
    ),
}
