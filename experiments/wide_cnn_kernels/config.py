"""Sizes of the parts, and the presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Race:
    """A student on targets of teachers: its filters, patches, sizes, fields, and nodes of the theory's rule."""

    student: tuple[int, ...]
    patches: int
    sizes: tuple[int, ...]
    fields: int
    tests: int
    nodes: int

    @property
    def teachers(self) -> list[tuple[int, ...]]:
        """The student's first filters."""
        return [self.student[:depth] for depth in range(1, len(self.student) + 1)]


@dataclass(frozen=True)
class Config:
    """Sizes of the parts; without `dataset` and `resnet_images` only the quick ones run."""

    races: tuple[Race, ...] = (
        Race(student=(2, 2), patches=2, sizes=(32, 64, 128, 256, 512), fields=10, tests=400, nodes=1025),
        Race(student=(2, 2, 2), patches=4, sizes=(64, 128, 256, 512), fields=4, tests=400, nodes=33),
    )
    spectrum_nodes: int = 257
    widths: tuple[int, ...] = (64, 256, 1024)
    networks: int = 40
    digits: int = 500
    dataset: str = ""
    images: int = 0
    resnet_images: int = 0


FULL_SIZES = (128, 256, 512, 1024, 2048, 4096, 8192)


PRESETS = {
    "quick": Config(),
    "full": Config(
        races=(
            Race(student=(2, 2), patches=2, sizes=FULL_SIZES, fields=10, tests=8192, nodes=2049),
            Race(student=(2, 2, 2), patches=4, sizes=FULL_SIZES, fields=10, tests=8192, nodes=65),
            Race(student=(2, 2, 2, 2), patches=8, sizes=FULL_SIZES, fields=10, tests=8192, nodes=9),
        ),
        networks=200,
        digits=898,
        dataset="cifar10",
        images=2000,
        resnet_images=1024,
    ),
}
