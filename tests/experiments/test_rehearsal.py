"""The rehearsal of a cluster, as it is typed: a real experiment in two processes agrees with one process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import experiments
from experiments.harness.run_folder import runs_of

FIELDS = {
    "far_sigmas": "10,40",
    "skips": "0,1,2,3,4,5,6,8,12",
    "points": "40",
    "points_per_batch": "20",
    "reference_steps": "20",
    "solver_seeds": "4",
    "solver_steps": "20,160",
    "solver_reference_steps": "200",
    "batch_size": "16",
    "width": "8",
    "train_steps": "40",
    "learn_steps": "20,40",
    "learn_sigmas": "0.2,1,5",
    "classifier_steps": "20",
    "sample_skips": "0,5,8,12",
    "sample_batches": "2",
}

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(name, *module)` runs the experiment in the folder of that name, with `python -m MODULE`."""
    root = tmp_path_factory.mktemp("rehearsal")
    surroundings = os.environ | {"PYTHONPATH": str(Path(experiments.__file__).parents[1])}
    children = []

    def begin(name, *module):
        command = ["run", "gaussian_score", "--mesh", "data=8", "--runs", str(root / name)]
        command += [f"--config.{field}={value}" for field, value in FIELDS.items()]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        child = subprocess.Popen([sys.executable, "-m", *module, *command], env=surroundings, **pipes)
        children.append(child)
        return child, root / name

    yield begin
    for child in children:
        child.terminate()
        child.communicate()


def finished(child, runs):
    output, words = child.communicate(timeout=1800)
    (run,) = runs_of(runs, "gaussian_score")
    assert run.state() == "finished", words
    return run, output, words


def test_two_processes_agree_with_one(start):
    jobs = start("one", "experiments"), start("two", "tpu.local", "--processes", "2")
    (one, *_), (two, said_by_two, words_of_two) = (finished(*job) for job in jobs)
    assert [run.read("environment")["process_count"] for run in (one, two)] == [1, 2]
    parts = {"gaussian_score", "skips", "solvers", "network", "classifier", "samples"}
    assert {line.split(":")[0].split(",")[0] for line in words_of_two.splitlines()} == parts
    assert said_by_two.count("claims reproduced in") == 1
    agree(one, two)


def agree(one, two):
    outcomes = [[(claim["id"], claim["status"]) for claim in run.read("claims")] for run in (one, two)]
    assert outcomes[0] == outcomes[1]
    assert sorted(path.name for path in (one.path / "figures").iterdir()) == sorted(
        path.name for path in (two.path / "figures").iterdir()
    )
    results = [run.read("result")["result"] for run in (one, two)]
    # Sums over the devices are taken in another order: rounding of float64, and of float32 where a network is trained.
    for part, tolerance in (("far_field", 1e-9), ("teleported", 1e-6), ("orders", 0.0)):
        for name, values in results[0][part].items():
            np.testing.assert_allclose(results[1][part][name], values, rtol=tolerance, err_msg=f"{part} {name}")
    for name in ("explained", "frechet", "kernel"):
        np.testing.assert_allclose(results[1]["network"][name], results[0]["network"][name], rtol=1e-3, err_msg=name)
    with np.load(one.path / "result.npz") as ours, np.load(two.path / "result.npz") as theirs:
        np.testing.assert_allclose(theirs["result.network.images"], ours["result.network.images"], atol=1e-4)
