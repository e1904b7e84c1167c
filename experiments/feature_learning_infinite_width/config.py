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
class Config:
    """Sizes of the parts."""

    exponents: Exponents = Exponents()
    deep_limits: DeepLimits = DeepLimits()


PRESETS = {
    "quick": Config(),
    "full": Config(
        Exponents(widths=(64, 128, 256, 512, 1024, 2048, 4096), seeds=64),
        DeepLimits(particles=1_000_000, widths=(32, 64, 128, 256, 512, 1024, 2048, 4096), seeds=64),
    ),
}
