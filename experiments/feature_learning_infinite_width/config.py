"""Sizes of the parts, and the presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Coordinates:
    """The coordinate check: base width of muP, widths of each network, training steps, seeds, and the base's rate."""

    base: int = 32
    perceptron_widths: tuple[int, ...] = (64, 256, 1024)
    convolutional_widths: tuple[int, ...] = (32, 128)
    transformer_widths: tuple[int, ...] = (128, 512)
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

    coordinates: Coordinates = Coordinates()
    transfer: Transfer = Transfer()


PRESETS = {
    "quick": Config(),
    "full": Config(
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
