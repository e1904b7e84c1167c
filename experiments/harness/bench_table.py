"""The record of a benchmark as Markdown: one table of all cases, then growth, targets and the environment."""

from collections.abc import Mapping
from typing import Any

from experiments.harness.claims import expectation, short

__all__ = ["benchmark_table"]

BUSY = 0.5  # processes a core that wanted it before the benchmark began


def benchmark_table(record: Mapping[str, Any]) -> str:
    """Markdown of a record of `benchmarks/results`, as described in `experiments.harness.bench`."""
    head = ["case", "sizes", "ours", "peer", "peer's time / ours", "peak memory: ours", "peer"]
    rows = [_row(case, measured) for case in record["cases"] for measured in case["measured"]]
    parts = [_table(head, rows)]
    growth = [row for case in record["cases"] if case["growth"] for row in _growth_rows(case)]
    if growth:
        parts.append(_table(["growth of time", "side", "theory", "fitted exponent"], growth))
    targets = [_target_row(case["name"], target) for case in record["cases"] for target in case["targets"]]
    if targets:
        parts.append(_table(["target", "quantity", "at most", "measured", ""], targets))
    if record["claims"]:
        rows = [
            [claim["statement"], claim["preset"], expectation(claim), short(claim["measured"]), claim["status"]]
            for claim in record["claims"]
        ]
        parts.append(_table(["of recorded runs", "preset", "expected", "measured", "status"], rows))
    return "\n".join([*parts, _environment(record["environment"])])


def _row(case: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    ours, peer, ratio = measured["ours"], measured["peer"], measured["ratio"]
    name = case["name"] if case["peer"] is None else f"{case['name']}; peer: {case['peer']}"
    beside = _seconds(peer) if peer else measured["not_run"] or "-"
    sizes = ", ".join(f"{name} {size:,}" for name, size in measured["sizes"].items())
    return [name, sizes, _seconds(ours), beside, _ratio(ratio, case["overhead"]), _bytes(ours), _bytes(peer)]


def _seconds(side: Mapping[str, Any]) -> str:
    scale, unit = next((s, u) for s, u in ((1, "s"), (1e3, "ms"), (1e6, "µs")) if side["median"] * s >= 1 or s == 1e6)
    return f"{side['median'] * scale:.3g} {unit} ({side['low'] * scale:.3g} to {side['high'] * scale:.3g})"


def _ratio(ratio: Mapping[str, float] | None, overhead: bool) -> str:
    if ratio is None:
        return "-"
    if overhead:
        middle, low, high = (100 * (1 / ratio[name] - 1) for name in ("median", "high", "low"))
        return f"overhead {middle:.1f} % ({low:.1f} to {high:.1f})"
    return f"{ratio['median']:.3g} ({ratio['low']:.3g} to {ratio['high']:.3g})"


def _bytes(side: Mapping[str, Any] | None) -> str:
    if side is None or side["peak_bytes"] is None:
        return "-"
    return _mebibytes(side["peak_bytes"])


def _mebibytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _growth_rows(case: Mapping[str, Any]) -> list[list[str]]:
    growth = case["growth"]
    sides = {"ours": growth["ours"], case["peer"]: growth["peer"]}
    what = f"{case['name']}, over {growth['over']}"
    return [
        [what, side, f"{growth['theory']:g}", f"{fit['exponent']:.2f} ± {fit['error']:.2f}"]
        for side, fit in sides.items()
        if fit
    ]


def _target_row(name: str, target: Mapping[str, Any]) -> list[str]:
    shown = _mebibytes if target["quantity"] == "peak_bytes" else (lambda share: f"{100 * share:.1f} %")
    quantity = target["quantity"].replace("_bytes", " memory")
    verdict = {True: "met", False: "missed", None: "not measured"}[target["met"]]
    measured = "-" if target["measured"] is None else shown(target["measured"])
    return [name, quantity, shown(target["bound"]), measured, verdict]


def _environment(environment: Mapping[str, Any]) -> str:
    versions = [
        f"{name} {environment[name]}" for name in ("jax", "numpy", "torch", "scikit-learn") if environment.get(name)
    ]
    device = f"{environment['device_count']} x {environment['device_kind']}, {environment['cpu_count']} cores"
    busy = environment["load"] > BUSY * environment["cpu_count"]
    rough = " **The machine was busy with other work: these times and ratios are rough.**" if busy else ""
    return f"Measured on {device} with {', '.join(versions)}. Brackets: quartiles over alternating calls.{rough}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in [head, ["---"] * len(head), *rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n"
