"""Sizes of the parts, and the presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ensemble:
    """One ensemble whose moments are measured at the input with ones at the first two places."""

    permutation: tuple[int, ...] = (2, 0, 3, 1)
    width: int = 2048
    members: int = 600
    learning_rate: float = 2.0
    steps: int = 60
    chunk: int = 20


@dataclass(frozen=True)
class Votes:
    """Ensembles drawn from the limit and tested on all inputs."""

    k: int = 8
    repetitions: int = 2000
    failure: float = 0.05
    members: tuple[int, ...] = (20, 50, 100, 200)


@dataclass(frozen=True)
class Races:
    """Ensembles that grow until their vote on random inputs of two ones is right often enough."""

    lengths: tuple[int, ...] = (4, 6, 8)
    width: int = 1024
    trials: int = 3
    inputs: int = 1000
    limit: int = 5000
    tolerance: float = 1e-4
    chunk: int = 16


@dataclass(frozen=True)
class Config:
    """Sizes of the parts; `longest` is the longest input of the check against linear algebra."""

    longest: int = 64
    ensemble: Ensemble = Ensemble()
    votes: Votes = Votes()
    races: Races = Races()


PRESETS = {
    "quick": Config(),
    "full": Config(races=Races(lengths=tuple(range(2, 31)), width=50_000, trials=10, tolerance=1e-6)),
}
