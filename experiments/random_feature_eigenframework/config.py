"""Sizes of the parts, and the presets."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Simulation:
    """Random-feature regression on a power-law task: k varies at `n`, and n at `k`."""

    modes: int
    alpha: float
    beta: float
    noise: float
    n: int
    k: int
    ns: tuple[int, ...]
    ks: tuple[int, ...]
    ridges: tuple[float, ...]
    trials: int
    tests: int


SMALL = Simulation(
    modes=400,
    alpha=1.3,
    beta=1.4,
    noise=0.1,
    n=60,
    k=60,
    ns=(15, 30, 60, 100, 240),
    ks=(15, 30, 60, 100, 400),
    ridges=(0.01, 0.05, 0.3),
    trials=60,
    tests=300,
)


PAPERS = Simulation(
    modes=10_000,
    alpha=1.5,
    beta=1.5,
    noise=0.5,
    n=256,
    k=256,
    ns=tuple(np.unique(np.geomspace(10, 10_000, 31).round().astype(int)).tolist()),
    ks=tuple(np.unique(np.geomspace(10, 10_000, 31).round().astype(int)).tolist()),
    ridges=(10 ** (-7 / 3), 0.1, 10 ** (1 / 3)),
    trials=45,
    tests=1000,
)


@dataclass(frozen=True)
class Config:
    """The simulation of the theory's assumption, the pools of real images, and how often each measurement is made."""

    simulation: Simulation = SMALL
    dataset: str = "mnist"
    second_dataset: str = "fashion_mnist"
    pool: int = 3000
    sizes: tuple[int, ...] = tuple(np.geomspace(113, 2000, 10).round().astype(int).tolist())
    draws: int = 4
    kernel_trials: int = 10
    feature_trials: int = 10
    feature_tests: int = 1000
    ratio_samples: int = 1000
    ratio_trials: int = 2
    cifar_pool: int = 0
    cifar_trials: int = 10


PRESETS = {
    "quick": Config(),
    "cifar10": Config(cifar_pool=5000),
    "full": Config(
        simulation=PAPERS, draws=10, kernel_trials=45, feature_trials=45, cifar_pool=20_000, cifar_trials=45
    ),
}
