"""Sizes of the parts, and the presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exponents:
    """Powers of the width: networks of several widths, a few steps each."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    seeds: int = 32


@dataclass(frozen=True)
class DeepLimits:
    """Limits of deep networks beside networks of finite width."""

    linear_width: int = 1000
    linear_seeds: int = 6
    tanh_width: int = 2000
    tanh_seeds: int = 32
    particles: int = 100_000
    keys: int = 4
    widths: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    seeds: int = 16


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
class Coordinates:
    """The coordinate check: base width of muP, widths of each network, training steps, seeds, and the base's rate."""

    base: int = 32
    perceptron_widths: tuple[int, ...] = (64, 256, 1024)
    convolutional_widths: tuple[int, ...] = (32, 128)
    transformer_widths: tuple[int, ...] = (64, 128, 256, 512)
    steps: int = 3
    seeds: int = 16
    batch: int = 8
    context: int = 8
    rate: float = 2**-7


@dataclass(frozen=True)
class Transfer:
    """Learning rates over widths: the perceptron on digits, and the decoder on text."""

    widths: tuple[int, ...] = (32, 128, 512)
    exponents: tuple[int, ...] = (-11, -10, -9, -8, -7, -6, -5, -4, -3, -2)
    steps: int = 150
    batch: int = 256
    seeds: int = 3
    text_widths: tuple[int, ...] = (32, 64, 128)
    text_exponents: tuple[int, ...] = (-9, -8, -7, -6, -5, -4)
    text_steps: int = 60
    text_batch: int = 8
    context: int = 32
    layers: int = 2
    megabytes: float = 0.3


@dataclass(frozen=True)
class Config:
    """Sizes of the parts."""

    exponents: Exponents = Exponents()
    deep_limits: DeepLimits = DeepLimits()
    word_vectors: WordVectorSizes = WordVectorSizes()
    meta_learning: MetaLearning = MetaLearning()
    coordinates: Coordinates = Coordinates()
    transfer: Transfer = Transfer()


PRESETS = {
    "quick": Config(),
    "full": Config(
        exponents=Exponents(widths=(64, 128, 256, 512, 1024, 2048, 4096), seeds=64),
        deep_limits=DeepLimits(particles=1_000_000, widths=(32, 64, 128, 256, 512, 1024, 2048, 4096), seeds=64),
        word_vectors=WordVectorSizes(epochs=5),
        meta_learning=MetaLearning(
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
        coordinates=Coordinates(
            perceptron_widths=(64, 256, 1024, 4096),
            convolutional_widths=(64, 128, 256, 512),
            transformer_widths=(64, 256, 1024, 4096),
        ),
        transfer=Transfer(
            text_widths=(64, 256, 1024, 4096),
            text_exponents=(-12, -11, -10, -9, -8, -7, -6, -5, -4),
            text_steps=4000,
            text_batch=64,
            context=256,
            layers=4,
            megabytes=70,
        ),
    ),
}
