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


RATIO_NOISES = (0.0, 1.0, 5.0, 50.0)
"""Label noise over the noiseless ridgeless test error, where fitting ratios are measured."""


@dataclass(frozen=True)
class Myrtle:
    """The convolutional tangent kernel on real images.

    Attributes:
      datasets: sets of images.
      coarser: sides of the squares of pixels of which means are taken.
      pool: images of each set.
      tile: images on a side of a tile of the kernel, which is saved when it is done.
      sizes: numbers of samples of the learning curves.
      tests: test images of a learning curve.
      draws: of training and test images for a learning curve.
      ratio_samples: training images where fitting ratios are measured.
      ratio_tests: test images there.
      ratio_trials: draws there.
      squares: learning curves also of images whose squares of so many pixels a side all change places.
      shares: learning curves also of images of which such shares of the pixels change places.
    """

    datasets: tuple[str, ...]
    coarser: int
    pool: int
    tile: int
    sizes: tuple[int, ...]
    tests: int
    draws: int
    ratio_samples: int
    ratio_tests: int
    ratio_trials: int
    squares: tuple[int, ...]
    shares: tuple[float, ...]

    def __post_init__(self):
        """Refuses what could only fail after the kernels are computed."""
        needed = max(*self.sizes, 0) + self.tests, self.ratio_samples + self.ratio_tests
        if self.pool < max(needed):
            raise ValueError(f"myrtle.pool must hold {max(needed)} images, samples and tests together, got {self.pool}")
        if not all(0 <= share <= 1 for share in self.shares):
            raise ValueError(f"myrtle.shares must lie between 0 and 1, got {self.shares}")


SMALL_MYRTLE = Myrtle(
    datasets=("mnist",),
    coarser=2,
    pool=800,
    tile=100,
    sizes=tuple(np.geomspace(100, 600, 8).round().astype(int).tolist()),
    tests=200,
    draws=10,
    ratio_samples=600,
    ratio_tests=200,
    ratio_trials=10,
    squares=(),
    shares=(1.0,),
)


PAPERS_MYRTLE = Myrtle(
    datasets=("mnist", "svhn", "cifar10"),
    coarser=1,
    pool=50_000,
    tile=1000,
    sizes=tuple(np.geomspace(500, 29_000, 15).round().astype(int).tolist()),
    tests=2000,
    draws=10,
    ratio_samples=29_000,
    ratio_tests=8000,
    ratio_trials=5,
    squares=(2, 3, 4, 5, 8),
    shares=(0.2, 0.5, 1.0),
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
    myrtle: Myrtle | None = None


PRESETS = {
    "quick": Config(),
    "cifar10": Config(cifar_pool=10_000),
    "myrtle": Config(myrtle=SMALL_MYRTLE),
    "full": Config(
        simulation=PAPERS,
        draws=10,
        kernel_trials=45,
        feature_trials=45,
        cifar_pool=20_000,
        cifar_trials=45,
        myrtle=PAPERS_MYRTLE,
    ),
}
