"""Sizes of the parts, and the presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Sizes; without `heads` kernels are exact, without `validation` the ridge best on the test points counts."""

    dim: int = 8
    keys: int = 4
    sizes: tuple[int, ...] = (64, 128, 256, 512)
    tests: int = 300
    validation: int = 0
    seeds: int = 8
    subsets: int = 8
    heads: int | None = None
    ridges: tuple[float, ...] = tuple(10.0**k for k in range(-10, 1))
    scaling_keys: tuple[int, ...] = (2, 8)
    scaling_sizes: tuple[int, ...] = (128, 256, 512, 1024)
    scaling_seeds: int = 2
    finite_heads: tuple[int, ...] = (16, 64, 256, 1024)
    finite_samples: int = 256
    finite_seeds: int = 3
    monte_carlo_heads: int = 400_000
    slope_heads: tuple[int, ...] = tuple(2**k for k in range(6, 13))
    slope_draws: int = 40
    norm_samples: tuple[int, ...] = (30, 60, 125, 250, 500)


PRESETS = {
    "quick": Config(),
    "full": Config(
        dim=16,
        keys=16,
        sizes=(100, 316, 1000, 3162, 10_000),
        tests=1000,
        validation=1000,
        seeds=10,
        heads=1000,
        ridges=tuple(10.0**k for k in range(-8, 1)),
    ),
}
