"""A run folder is unique, whole at every moment, and tells a run that died from one that goes on."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import experiments
from experiments.harness.config import UsageError
from experiments.harness.run_folder import RunFolder, environment, find_run, runs_of


def started(runs, slug="paper", **status):
    folder = RunFolder.create(runs, slug, 3)
    folder.write("config", {"slug": slug, "preset": "quick"})
    folder.write_status(**({"status": "running"} | status))
    return folder


def test_runs_of_the_same_moment_and_seed_get_folders_of_their_own(tmp_path):
    folders = {RunFolder.create(tmp_path, "paper", 3).path for _ in range(50)}
    assert len(folders) == 50
    assert all(path.name.endswith("-3") and path.parent == tmp_path / "paper" for path in folders)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=r"cannot make a run folder in .*file/runs/paper: Not a directory"):
        RunFolder.create(tmp_path / "file" / "runs", "paper", 0)


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted"])
def test_a_run_that_ended_says_how(tmp_path, status):
    folder = started(tmp_path, status=status)
    folder.unlock()
    assert RunFolder(folder.path).state() == status


def test_a_run_goes_on_while_its_process_holds_it_and_nobody_else_can_take_it(tmp_path):
    folder, visitor = started(tmp_path), RunFolder(next((tmp_path / "paper").iterdir()))
    assert (folder.state(), visitor.state(), visitor.lock()) == ("running", "running", False)
    folder.unlock()
    assert (visitor.state(), visitor.lock()) == ("died", True)
    visitor.unlock()


def test_a_killed_process_leaves_a_run_that_died_with_its_pid(tmp_path):
    program = f"""
        from pathlib import Path
        from experiments.harness.run_folder import RunFolder
        folder = RunFolder.create(Path({str(tmp_path)!r}), "paper", 0)
        folder.write("config", {{"slug": "paper"}})
        folder.write_status("running")
        print("ready", flush=True)
        input()
    """
    surroundings = os.environ | {"PYTHONPATH": str(Path(experiments.__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=surroundings, text=True, **pipes) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        (folder,) = runs_of(tmp_path, "paper")
        assert folder.state() == "running"
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert folder.state() == "died"
    assert folder.read("status")["pid"] == child.pid


def test_runs_are_listed_from_old_to_new_and_found_by_path_or_name(tmp_path):
    first, second = started(tmp_path), started(tmp_path)
    assert [run.path for run in runs_of(tmp_path, "paper")] == [first.path, second.path]
    assert find_run(tmp_path, "paper", first.path.name).path == first.path
    assert find_run(tmp_path, "paper", str(second.path)).path == second.path
    assert runs_of(tmp_path, "unknown") == []


def test_a_run_that_is_missing_or_of_another_paper_is_a_usage_error(tmp_path):
    folder = started(tmp_path)
    with pytest.raises(UsageError, match=f"unknown run of paper '2020'; did you mean '{folder.path.name}'"):
        find_run(tmp_path, "paper", "2020")
    with pytest.raises(UsageError, match="is a run of paper, not of other"):
        find_run(tmp_path, "other", str(folder.path))


class Inner(NamedTuple):
    error: float
    samples: np.ndarray


class Result(NamedTuple):
    slope: np.float32
    curve: np.ndarray
    parts: dict[str, Inner]
    note: str


def test_results_keep_scalars_and_short_arrays_in_json_and_long_arrays_beside_it(tmp_path):
    folder, samples = started(tmp_path), np.random.default_rng(0).normal(size=(100, 3))
    inner = Inner(float("nan"), samples)
    folder.write_result(Result(np.float32(0.5), np.arange(3), {"a": inner}, "fine"), {"run": 1.5})
    text = (folder.path / "result.json").read_text()
    stored = json.loads(text, parse_constant=pytest.fail)
    assert stored["timings"] == {"run": 1.5}
    assert stored["result"] == {
        "slope": 0.5,
        "curve": [0, 1, 2],
        "parts": {
            "a": {"error": "nan", "samples": {"array": "result.parts.a.samples", "shape": [100, 3], "dtype": "float64"}}
        },
        "note": "fine",
    }
    with np.load(folder.path / "result.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["result.parts.a.samples"], samples)


def test_the_environment_names_versions_devices_and_command():
    facts = environment(["run", "paper"])
    assert {"python", "jax", "jaxlib", "numpy", "optax", "flax", "orbax-checkpoint", "jaxlib-methods", "git"} <= set(
        facts
    )
    assert facts["command"][-4:] == ["-m", "experiments", "run", "paper"]
    assert (facts["platform"], facts["device_count"]) == ("cpu", 8)
    json.dumps(facts, allow_nan=False)
