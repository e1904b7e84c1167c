"""Side-by-side timings: `benchmarks/<slug>.py` lists cases, results go to `benchmarks/results/<slug>.json`.

A benchmark module defines `cases()`, which yields `(name, ours, peer, sizes)`: two functions of no arguments that do
the same work (`peer` may be None) and a dict of the sizes involved.
"""

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from experiments.harness.config import UsageError
from experiments.harness.json_values import to_json
from experiments.harness.progress import progress
from experiments.harness.run_folder import environment
from jaxlib_methods.runtime.files import write_json

__all__ = ["run_benchmarks"]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
REPEATS = 7


def run_benchmarks(slug: str | None) -> int:
    """Runs the benchmarks of one experiment, or all, and prints and records the ratios."""
    modules = sorted(BENCHMARKS.glob("[!_]*.py" if slug is None else f"{slug}.py"))
    if not modules:
        print(f"there are no benchmarks{f' of {slug}' if slug else ''} yet", file=sys.stderr)
    for path in modules:
        try:
            cases = list(_load(path).cases())
        except ModuleNotFoundError as error:
            raise UsageError(f"benchmarks of {path.stem}: {error}; install the dependency group peers") from error
        cases = [_measure(*case) for case in progress(cases, f"benchmarks of {path.stem}")]
        for case in cases:
            ratio = f"{case['ratio']:8.2f} x the peer's speed" if case["ratio"] else ""
            print(f"{path.stem}  {case['name']}  {case['ours'] * 1e3:10.3f} ms  {ratio}")
        (BENCHMARKS / "results").mkdir(exist_ok=True)
        record = {"environment": environment(["bench", path.stem]), "cases": cases}
        write_json(BENCHMARKS / "results" / f"{path.stem}.json", to_json(record))
    return 0


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"benchmarks.{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _measure(name: str, ours: Callable[[], Any], peer: Callable[[], Any] | None, sizes: dict[str, Any]) -> dict:
    """Median seconds of both functions, alternating, after one warm-up call each; ratio = peer / ours."""
    functions = [ours] if peer is None else [ours, peer]
    for function in functions:
        jax.block_until_ready(function())
    seconds = [[_seconds(function) for function in functions] for _ in range(REPEATS)]
    medians = [statistics.median(column) for column in zip(*seconds, strict=True)]
    ratio = medians[1] / medians[0] if peer is not None else None
    return {"name": name, "sizes": sizes, "ours": medians[0], "peer": medians[1] if peer else None, "ratio": ratio}


def _seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - started
