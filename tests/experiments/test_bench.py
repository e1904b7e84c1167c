"""Benchmarks on simulated clocks: what is recorded of a case, and memory against what is known to be needed."""

import json
import re
import sys
import textwrap
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.harness import bench
from experiments.harness.bench_memory import peak_bytes
from experiments.harness.bench_table import benchmark_table
from experiments.harness.command_line import main

PREAMBLE = "from experiments.harness.bench_case import Case\n"


@pytest.fixture
def record_of(fakes, monkeypatch):
    """`record_of(text)` is the record of a benchmark module; its functions return the seconds that they take."""
    monkeypatch.setattr(bench, "BENCHMARKS", fakes / "benchmarks")
    monkeypatch.setattr(bench, "RECORDED", fakes / "recorded")
    monkeypatch.setattr(bench, "_seconds", lambda function: function())
    monkeypatch.setattr(bench, "peak_bytes", lambda path, case, size, side: 1000 * (size + 1) + side)
    (fakes / "benchmarks").mkdir()

    def run(text, slug="fake_mean"):
        (fakes / "benchmarks" / f"{slug}.py").write_text(PREAMBLE + textwrap.dedent(text))
        assert main(["bench", slug]) == 0
        return json.loads((fakes / "benchmarks" / "results" / f"{slug}.json").read_text())

    return run


def test_both_sides_take_turns_and_the_ratio_is_that_of_neighbours(record_of):
    record = record_of(
        """
        import itertools
        clock = itertools.count(5)
        def build(n):
            return lambda: float(next(clock)), lambda: 2.0 * next(clock)
        def cases():
            yield Case("count", build, {"n": 3}, peer="double")
        """
    )
    (case,) = record["cases"]
    (entry,) = case["measured"]
    assert (case["name"], case["peer"], entry["sizes"], entry["not_run"]) == ("count", "double", {"n": 3}, None)
    assert (entry["ours"]["first"], entry["peer"]["first"]) == (5, 12)
    turns = 9 + 2 * np.arange(bench.FEWEST)  # two first calls and two that choose the repeats come before
    ratios = 2 * (turns + 1) / turns
    for side, values in (("ours", turns), ("peer", 2 * (turns + 1.0)), (None, ratios)):
        found = entry[side] if side else entry["ratio"]
        quartiles = dict(zip(("low", "median", "high"), np.quantile(values, (0.25, 0.5, 0.75)), strict=True))
        assert {name: found[name] for name in quartiles} == pytest.approx(quartiles)


def test_growth_is_the_exponent_over_the_size_that_varies(record_of):
    record = record_of(
        """
        def build(n, dim):
            return lambda: 1e-3 * n**1.5, lambda: 1e-3 * n**2
        def cases():
            sizes = [{"n": n, "dim": 7} for n in (10, 20, 40, 80)]
            yield Case("grows", build, sizes, peer="faster", theory=1.5, peer_bytes=lambda n, dim: 1e18 * (n > 20))
        """
    )
    (case,) = record["cases"]
    growth = case["growth"]
    assert (growth["over"], growth["theory"], growth["peer"]) == ("n", 1.5, None)
    assert growth["ours"]["exponent"] == pytest.approx(1.5)
    assert growth["ours"]["error"] == pytest.approx(0, abs=1e-6)


def test_a_peer_that_does_not_fit_is_not_run_and_memory_is_of_the_last_size_that_ran(record_of):
    record = record_of(
        """
        def build(n):
            def peer():
                assert n == 1
                return 2.0
            return lambda: 1.0, peer
        def cases():
            sizes = [{"n": 1}, {"n": 2}]
            yield Case("large", build, sizes, peer="naive", peer_bytes=lambda n: 1e18 * (n == 2))
        """
    )
    small, large = record["cases"][0]["measured"]
    assert small["ratio"]["median"] == 2
    assert (large["peer"], large["ratio"]) == (None, None)
    assert large["not_run"].startswith("needs 1000000000 GB, of ")
    assert (small["ours"]["peak_bytes"], small["peer"]["peak_bytes"]) == (None, 1001)
    assert large["ours"]["peak_bytes"] == 2000


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ('DataError("mnist is nowhere")', "benchmarks of fake_mean: mnist is nowhere"),
        ('ModuleNotFoundError("no torch")', "benchmarks of fake_mean: no torch; install the dependency group peers"),
    ],
)
def test_missing_data_and_peers_are_told_in_one_line(record_of, fakes, capsys, error, words):
    text = f"""
        from jaxlib_methods.runtime import DataError
        def cases():
            raise {error}
            yield
    """
    (fakes / "benchmarks" / "fake_mean.py").write_text(PREAMBLE + textwrap.dedent(text))
    assert main(["bench", "fake_mean"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {words}"


def test_overhead_and_memory_are_held_against_their_bounds(record_of):
    record = record_of(
        """
        def build(n):
            return lambda: 1.0 + 0.1 * n, lambda: 1.0
        def cases():
            sizes = [{"n": 1}, {"n": 2}]
            for bound in (0.15, 0.25):
                yield Case("part", build, sizes, peer="network", overhead=True, at_most={"overhead": bound})
            yield Case("memory", build, {"n": 1}, at_most={"peak_bytes": 1000})
        """
    )
    targets = [target for case in record["cases"] for target in case["targets"]]
    assert [target["measured"] for target in targets] == pytest.approx([0.2, 0.2, 1000])
    assert [target["met"] for target in targets] == [False, True, True]
    assert "overhead 10.0 % (10.0 to 10.0)" in benchmark_table(record)


def test_inputs_of_a_size_are_gone_before_the_next_is_built(record_of, monkeypatch):
    alive = []
    monkeypatch.setattr(bench, "alive", alive, raising=False)
    monkeypatch.setattr(bench, "weakref", weakref, raising=False)
    record_of(
        """
        import numpy as np
        from experiments.harness import bench
        def build(n):
            assert all(reference() is None for reference in bench.alive)
            x = np.ones(n)
            bench.alive.append(bench.weakref.ref(x))
            return lambda: float(x.sum()), lambda: float(x.sum())
        def cases():
            yield Case("one", build, [{"n": 1}, {"n": 2}])
            yield Case("two", build, {"n": 3})
        """
    )
    assert len(alive) == 3


def test_running_one_slug_again_replaces_its_record_alone(record_of, fakes):
    simple = 'def cases():\n    yield Case("{}", lambda: (lambda: 1.0, None), {{}})\n'
    record_of(simple.format("other"), "fake_training")
    before = (fakes / "benchmarks" / "results" / "fake_training.json").read_bytes()
    assert record_of(simple.format("first"))["cases"][0]["name"] == "first"
    assert record_of(simple.format("second"))["cases"][0]["name"] == "second"
    assert (fakes / "benchmarks" / "results" / "fake_training.json").read_bytes() == before


def test_plain_tuples_are_cases_too_and_nothing_of_the_machine_is_told(record_of, fakes):
    record = record_of(
        """
        def cases():
            yield "norm, peer: numpy", lambda: 1.0, lambda: 3.0, {"n": 1}
            yield "alone", lambda: 2.0, None, {}
        """
    )
    norm, alone = record["cases"]
    assert (norm["name"], norm["peer"], norm["measured"][0]["ratio"]["median"]) == ("norm", "numpy", 3)
    assert (alone["peer"], alone["measured"][0]["peer"], alone["growth"]) == (None, None, None)
    assert record["environment"]["command"] == ["python", "-m", "experiments", "bench", "fake_mean"]
    assert not re.search(r"(?<![\w.])/\w+/", json.dumps(record))


def test_claims_of_recorded_runs_stand_beside_the_timings(record_of, fakes):
    for preset, measured in (("quick", 0.3), ("mnist", 0.25)):
        (fakes / "recorded" / "fake_mean" / preset).mkdir(parents=True)
        claim = {"statement": f"Saves |much| on {preset}.", "expected": 0.15, "measured": measured, "tolerance": None}
        claims = [claim | {"id": name, "status": "reproduced"} for name in ("saved", "other")]
        (fakes / "recorded" / "fake_mean" / preset / "claims.json").write_text(json.dumps(claims))
    record = record_of('CLAIMS = ("saved",)\ndef cases():\n    return []\n')
    assert [(claim["preset"], claim["measured"]) for claim in record["claims"]] == [("mnist", 0.25), ("quick", 0.3)]
    assert r"| Saves \|much\| on mnist. | mnist | 0.15 | 0.25 | reproduced |" in benchmark_table(record)


def test_every_row_of_the_tables_is_as_wide_as_its_head(record_of):
    record = record_of(
        """
        def build(n):
            return lambda: 1e-5 * n, lambda: 1.0
        def cases():
            at_most = {"peak_bytes": 1e9}
            yield Case("swept", build, [{"n": n} for n in (1, 10, 100)], peer="other", theory=1.0, at_most=at_most)
            yield Case("alone", lambda: (lambda: 1.0, None), {})
        """
    )
    text = benchmark_table(record)
    for table in text.split("\n\n")[:-1]:
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1
    assert "| swept; peer: other | n 10 | 100 µs (100 to 100) |" in text
    assert "| swept, over n | ours | 1 | 1.00 ± 0.00 |" in text


def test_a_busy_machine_is_told(record_of, monkeypatch):
    simple = 'def cases():\n    yield Case("one", lambda: (lambda: 1.0, None), {})\n'
    for load, busy in ((0.0, False), (1e3, True)):
        monkeypatch.setattr(bench.os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert ("The machine was busy" in benchmark_table(record_of(simple))) == busy


MEMORY = """
import jax
import jax.numpy as jnp
import numpy as np

def program():
    return jax.jit(lambda x: jnp.sort(x @ x, axis=0)), jnp.ones((1500, 1500))

def build(mebibytes):
    function, x = program()
    inputs = np.ones(2**23)
    return lambda: function(x), lambda: np.ones(mebibytes * 2**17).sum() + inputs.sum()

def cases():
    yield Case("unused", build, {})
    yield Case("memory", build, [{"mebibytes": 1}, {"mebibytes": 48}])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux only")
def test_peak_memory_is_what_the_call_is_known_to_need(tmp_path):
    path = tmp_path / "memory.py"
    path.write_text(PREAMBLE + MEMORY)
    theirs = peak_bytes(path, 1, 1, 1)
    assert theirs == pytest.approx(48 * 2**20, abs=2**21)
    function, x = jax.jit(lambda x: jnp.sort(x @ x, axis=0)), jnp.ones((1500, 1500))
    needed = function.lower(x).compile().memory_analysis()
    known = needed.temp_size_in_bytes + needed.output_size_in_bytes
    assert peak_bytes(path, 1, 1, 0) == pytest.approx(known, abs=2**21)


def test_a_child_that_dies_leaves_no_number_and_says_why(tmp_path, capsys):
    path = tmp_path / "broken.py"
    path.write_text("def cases():\n    raise RuntimeError('no inputs')\n    yield\n")
    assert peak_bytes(path, 0, 0, 0) is None
    assert "no inputs" in capsys.readouterr().err or sys.platform != "linux"
