"""`bench`: `benchmarks/<slug>.py` lists cases, what was measured goes to `benchmarks/results/<slug>.json`.

A benchmark module defines `cases()`, which yields `bench_case.Case`s. Its record, of which running one slug again
replaces nothing else, holds

    slug          the experiment
    environment   versions (those of the peers too), devices, git commit, command; `load`, the processes that wanted a
                  core in the minute before
    cases         list of
      name        what is computed
      peer        what stands beside it, null if nothing does
      overhead    true where the peer is a part of ours, so that what counts is ours / peer - 1
      measured    list, one entry for each size, of
        sizes     {name: number}
        ours      {median, low, high, first, peak_bytes}: seconds of a call (median and quartiles) and of the first
                  one, which compiles; bytes that a call needs at its peak beyond its inputs (at the last size that
                  the side ran, else null)
        peer      the same, or null
        not_run   why the peer was not run, else null
        ratio     {median, low, high} of peer / ours in neighbouring calls, or null
      growth      null, or for a case with a theory {over, theory, ours, peer}: the size that varies, the exponent
                  expected and {exponent, error} fitted to the medians of each side, peer null if it ran at < 3 sizes
      targets     list of {quantity, bound, measured, met}; the quantity is overhead or peak_bytes, measured the largest
                  over the sizes (null: not measured), met if at most the bound
    claims        list of entries of `claims.json` of the recorded runs that belong beside the timings, each with
                  the run's `preset`

`bench_table.benchmark_table(record)` makes the Markdown of it that the docs show.
"""

import gc
import importlib.metadata
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.harness.bench_case import Case, cases_in, load_benchmarks
from experiments.harness.bench_memory import peak_bytes
from experiments.harness.bench_table import benchmark_table
from experiments.harness.config import UsageError
from experiments.harness.json_values import to_json
from experiments.harness.progress import progress
from experiments.harness.run_folder import environment
from jaxlib_methods.runtime.data import DataError
from jaxlib_methods.runtime.files import read_json, write_json

__all__ = ["run_benchmarks"]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RECORDED = Path(__file__).parents[2] / "docs" / "recorded"
SECONDS = 2.0  # of alternating calls that each size is given, within
FEWEST, MOST = 7, 100
SLOW, FEWEST_SLOW = 30.0, 3  # seconds of one call of each side together, and their repetitions


def run_benchmarks(slug: str | None) -> int:
    """Runs the benchmarks of one experiment, or all, and prints and records what was measured."""
    paths = sorted(BENCHMARKS.glob("[!_]*.py" if slug is None else f"{slug}.py"))
    if not paths:
        print(f"there are no benchmarks{f' of {slug}' if slug else ''} yet", file=sys.stderr)
    for path in paths:
        record = _record(path)
        print(f"{path.stem}\n\n{benchmark_table(record)}")
        (BENCHMARKS / "results").mkdir(exist_ok=True)
        target = BENCHMARKS / "results" / f"{path.stem}.json"
        write_json(target, to_json(record))
        print(f"recorded in {os.path.relpath(target)}")
    return 0


def _record(path: Path) -> dict[str, Any]:
    load = os.getloadavg()[0]
    try:
        module = load_benchmarks(path)
        cases = [
            _case(path, index, case)
            for index, case in enumerate(progress(cases_in(module), f"benchmarks of {path.stem}"))
        ]
    except ModuleNotFoundError as error:
        raise UsageError(f"benchmarks of {path.stem}: {error}; install the dependency group peers") from error
    except DataError as error:
        raise UsageError(f"benchmarks of {path.stem}: {error}") from error
    return {
        "slug": path.stem,
        "environment": _environment(path.stem) | {"load": load},
        "cases": cases,
        "claims": _claims(path.stem, getattr(module, "CLAIMS", ())),
    }


def _case(path: Path, index: int, case: Case) -> dict[str, Any]:
    measured = [_timed(case, sizes) for sizes in case.all_sizes]
    for side, name in enumerate(("ours", "peer")):
        ran = [i for i, entry in enumerate(measured) if entry[name]]
        if ran:
            measured[ran[-1]][name]["peak_bytes"] = peak_bytes(path, index, ran[-1], side)
    return {
        "name": case.name,
        "peer": case.peer,
        "overhead": case.overhead,
        "measured": measured,
        "growth": None if case.theory is None else _growth(case.theory, measured),
        "targets": [_target(quantity, bound, measured) for quantity, bound in case.at_most.items()],
    }


def _timed(case: Case, sizes: Mapping[str, int]) -> dict[str, Any]:
    not_run = _too_large(case, sizes)
    functions = [function for function in case.build(**sizes) if function is not None][: 1 if not_run else 2]
    first, seconds = _times(functions)
    del functions
    jax.clear_caches()
    gc.collect()
    sides = [
        {**_quartiles(column), "first": before, "peak_bytes": None}
        for before, column in zip(first, seconds.T, strict=True)
    ]
    ours, peer = sides if len(sides) == 2 else (sides[0], None)
    ratio = _quartiles(seconds[:, 1] / seconds[:, 0]) if peer else None
    return {"sizes": sizes, "ours": ours, "peer": peer, "not_run": not_run, "ratio": ratio}


def _too_large(case: Case, sizes: Mapping[str, int]) -> str | None:
    """Why the peer is not run, if it needs more memory than the machine has."""
    needed = case.peer_bytes(**sizes) if case.peer_bytes else 0
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"needs {needed / 1e9:.0f} GB, of {available / 1e9:.0f} GB" if needed > available else None


def _times(functions: Sequence[Callable[[], Any]]) -> tuple[list[float], np.ndarray]:
    """Seconds of the first call of each function, and of later calls (call, function), which take turns."""
    first = [_seconds(function) for function in functions]
    expected = sum(first) if sum(first) > SLOW else sum(_seconds(function) for function in functions)
    repeats = FEWEST_SLOW if expected > SLOW else min(max(math.ceil(SECONDS / expected), FEWEST), MOST)
    return first, np.array([[_seconds(function) for function in functions] for _ in range(repeats)])


def _seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - started


def _quartiles(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "low": low, "high": high}


def _growth(theory: float, measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sizes = [entry["sizes"] for entry in measured]
    (over,) = (name for name in sizes[0] if len({size[name] for size in sizes}) > 1)
    return {"over": over, "theory": theory} | {side: _exponent(over, side, measured) for side in ("ours", "peer")}


def _exponent(over: str, side: str, measured: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Slope of log seconds over log size with its standard error."""
    points = [(entry["sizes"][over], entry[side]["median"]) for entry in measured if entry[side]]
    if len(points) < 3:
        return None
    size, seconds = np.log(points).T
    fit, covariance = np.polyfit(size, seconds, 1, cov=True)
    return {"exponent": float(fit[0]), "error": float(np.sqrt(covariance[0, 0]))}


def _target(quantity: str, bound: float, measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if quantity == "overhead":
        values = [1 / entry["ratio"]["median"] - 1 for entry in measured]
    else:
        values = [entry["ours"][quantity] for entry in measured]
    worst = max((value for value in values if value is not None), default=None)
    return {"quantity": quantity, "bound": bound, "measured": worst, "met": None if worst is None else worst <= bound}


def _environment(slug: str) -> dict[str, Any]:
    """As of a run, with the peers' versions; of the system only its name."""
    found = environment(["bench", slug])
    peers = {name: _version(name) for name in ("torch", "scikit-learn")}
    return found | peers | {"system": found["system"].split("-")[0], "command": ["python", *found["command"][1:]]}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _claims(slug: str, wanted: Sequence[str]) -> list[dict[str, Any]]:
    return [
        claim | {"preset": path.parent.name}
        for path in sorted((RECORDED / slug).glob("*/claims.json"))
        for claim in read_json(path)
        if claim["id"] in wanted
    ]
