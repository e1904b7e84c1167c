"""Sizes of the parts, and the presets."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Config:
    """Sizes of the six parts."""

    floor_lams: tuple[float, ...] = (1.0, 2.0, 4.0)
    floor_beta: float = 10.0
    floor_window: float = 6.0
    floor_units: tuple[int, ...] = (100, 1000, 10_000)
    floor_seeds: int = 30
    bump_lams: tuple[float, ...] = (1.0, 10.0, 50.0, 100.0, 200.0, 800.0)
    bump_units: tuple[int, ...] = (50, 200, 800)
    bump_seeds: int = 5
    bump_points: int = 1000
    frontier_lams: tuple[float, ...] = (25.0, 50.0, 100.0, 200.0)
    frontier_points: int = 200
    law_frequencies: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0, 32.0)
    law_lams: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)
    law_units: int = 200
    law_points: int = 400
    law_seeds: int = 5
    dims: tuple[int, ...] = (1, 2, 3)
    dim_lams: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    dim_units: tuple[int, ...] = (50, 200)
    dim_points: int = 400
    dim_seeds: int = 2
    dim_frequency: float = 4.0
    dataset: str = "digits"
    image_lams: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    image_units: tuple[int, ...] = (64, 256)
    image_seeds: int = 1


def _grid(low: float, high: float, count: int) -> tuple[float, ...]:
    return tuple(float(value) for value in np.geomspace(low, high, count))


PRESETS = {
    "quick": Config(),
    "full": Config(
        floor_units=(100, 300, 1000, 3000, 10_000, 30_000, 100_000),
        floor_seeds=100,
        bump_lams=_grid(1, 2000, 40),
        bump_units=(50, 100, 200, 400, 800, 1600, 3200),
        bump_seeds=20,
        law_seeds=20,
        dims=(1, 2, 3, 10),
        dim_lams=_grid(0.1, 20, 40),
        dim_units=(100, 1000, 10_000, 100_000),
        dim_points=4096,
        dim_seeds=20,
        dataset="mnist",
        image_lams=_grid(1e-3, 3, 40),
        image_units=(256, 1024, 4096),
        image_seeds=20,
    ),
}
