"""A case of a benchmark: the same work done by us and by a peer, on inputs that are made when their turn comes."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["Case", "cases_in", "load_benchmarks"]

Side: TypeAlias = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """What is timed, at one size or at several.

        def score(points, dim):
            x = np.random.default_rng(0).standard_normal((points, dim))
            return lambda: ours(x), lambda: theirs(x)

        Case("score", score, [{"points": n, "dim": 64} for n in (1000, 2000, 4000)], peer="numpy", theory=1.0)

    Attributes:
      name: what is computed.
      build: makes the inputs for the sizes it is given and returns ours and the peer's work (None without a peer) as
        functions without arguments; what they refer to is freed before the next size.
      sizes: one dictionary of numbers, or several.
      peer: the peer's name, None without one.
      theory: the exponent with which the time should grow in the one entry in which at least three sizes differ.
      overhead: the peer is a part of ours, such as a sampler's network; what counts is ours / peer - 1.
      at_most: bounds, by quantity: `overhead`, or `peak_bytes` beyond the inputs.
      peer_bytes: what the peer needs at the given sizes; where the machine has less, the peer is not run.
    """

    name: str
    build: Callable[..., tuple[Side, Side | None]]
    sizes: Mapping[str, int] | Sequence[Mapping[str, int]]
    peer: str | None = None
    theory: float | None = None
    overhead: bool = False
    at_most: Mapping[str, float] = field(default_factory=dict)
    peer_bytes: Callable[..., float] | None = None

    @property
    def all_sizes(self) -> Sequence[Mapping[str, int]]:
        """The sizes, as several."""
        return [self.sizes] if isinstance(self.sizes, Mapping) else self.sizes


def load_benchmarks(path: Path) -> Any:
    """The module of a file of `benchmarks/`."""
    spec = importlib.util.spec_from_file_location(f"benchmarks.{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases_in(module: Any) -> Iterator[Case]:
    """The cases of a module; a tuple `(name, ours, peer, sizes)` is a case whose inputs exist already."""
    for case in module.cases():
        yield case if isinstance(case, Case) else _from_tuple(*case)


def _from_tuple(name: str, ours: Side, peer: Side | None, sizes: Mapping[str, int]) -> Case:
    name, _, named = name.partition(", peer: ")
    return Case(name, lambda **_: (ours, peer), sizes, peer=None if peer is None else named or "peer")
