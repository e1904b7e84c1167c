"""Sizes of the five parts, and the presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Sizes of the parts; no language model if `language_steps` is 0."""

    modulus: int = 13
    tokens: int = 4
    batch_size: int = 128
    steps: int = 3000
    learning_rate: float = 1e-2
    seeds: int = 5
    evaluation: int = 4000
    moduli: int = 30
    lengths: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    degrees: tuple[int, ...] = (1, 2, 3, 4, 6)
    draws: int = 512
    block_length: int = 512
    tensor_lengths: tuple[int, ...] = (48, 96, 192)
    block_lengths: tuple[int, ...] = (96, 192, 384)
    window_lengths: tuple[int, ...] = (1024, 2048, 4096)
    poly_lengths: tuple[int, ...] = (4096, 16384, 65536)
    windows: tuple[int, int] = (8, 32)
    repeats: int = 3
    language_steps: int = 0
    language_batch: int = 16
    language_rate: float = 1e-3
    megabytes: int = 70
    context: int = 128
    dim: int = 128
    layers: int = 4
    heads: int = 4
    head_dim: int = 16
    every: int = 4
    language_windows: tuple[int, int] = (32, 8)
    block_q: int = 16


PRESETS = {
    "quick": Config(),
    "books": Config(language_steps=1500, megabytes=8),
    "full": Config(
        language_steps=100_000,
        language_batch=256,
        language_rate=3e-4,
        context=2048,
        dim=1024,
        layers=24,
        heads=16,
        head_dim=64,
        language_windows=(512, 32),
        block_q=64,
    ),
}
