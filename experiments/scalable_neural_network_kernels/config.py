"""Sizes of the parts, and the presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Transformer:
    """The vision transformer, how many of its feed-forward parts are replaced, and its training."""

    dataset: str = "cifar10"
    patch: int = 8
    width: int = 64
    heads: int = 4
    depth: int = 4
    replaced: tuple[int, ...] = (1, 2, 3, 4)
    features: int = 16
    threshold: float = 0.0
    steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 1e-3
    warm_up: float = 0.1
    weight_decay: float = 0.05

    def __post_init__(self):
        """Refuses to replace more blocks than there are."""
        if not all(1 <= k <= self.depth for k in self.replaced):
            raise ValueError(f"replaced must lie between 1 and depth={self.depth}, got {self.replaced}")


@dataclass(frozen=True)
class Config:
    """Sizes of the parts; without a transformer only the quick ones run."""

    variance_features: int = 400_000
    slope_features: tuple[int, ...] = tuple(2**k for k in range(6, 15))
    slope_draws: int = 400
    pitfall_pairs: int = 4000
    tanh_features: int = 1024
    tanh_draws: int = 20
    harmonics: tuple[int, ...] = (3, 4, 5, 6, 8)
    digits_features: tuple[int, ...] = (32, 128, 512, 1024)
    digits_seeds: int = 5
    transformer: Transformer | None = None


PRESETS = {
    "quick": Config(),
    "cifar10": Config(transformer=Transformer()),
    "full": Config(
        transformer=Transformer(
            patch=4,
            width=192,
            heads=3,
            depth=12,
            replaced=tuple(range(1, 13)),
            features=8,
            threshold=-5.0,
            steps=40 * 45_000 // 128,
        )
    ),
}
