"""Sizes of the parts, and the presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ensembles:
    """Random networks: how many, and how wide; the tanh networks have 4 layers, the ReLU networks 8."""

    networks: int = 3000
    tanh_width: int = 32
    relu_width: int = 64
    chunk: int = 100


@dataclass(frozen=True)
class Digits:
    """Training of deep ReLU networks at several variances of the weights."""

    depth: int = 20
    width: int = 64
    steps: int = 300
    batch: int = 256
    rate: float = 0.03
    slow_rate: float = 0.003
    variances: tuple[float, ...] = (1.0, 2.0, 3.0)
    seeds: int = 3


@dataclass(frozen=True)
class AspectRatio:
    """Test loss over depth and width on each data set; without any it is not run."""

    datasets: tuple[str, ...] = ()
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    depths: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256)
    activations: tuple[str, ...] = ("relu", "tanh", "gelu")
    losses: tuple[str, ...] = ("mse", "cross-entropy")
    residual_depth: int = 1000
    images: int = 10_000
    steps: int = 2000
    batch: int = 128


@dataclass(frozen=True)
class Config:
    """Sizes of the parts."""

    depth: int = 4096
    ensembles: Ensembles = Ensembles()
    digits: Digits = Digits()
    aspect_ratio: AspectRatio = AspectRatio()


PRESETS = {
    "quick": Config(),
    "full": Config(ensembles=Ensembles(networks=10_000), aspect_ratio=AspectRatio(datasets=("mnist", "cifar10"))),
}
