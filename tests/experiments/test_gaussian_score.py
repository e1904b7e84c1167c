"""The whole experiment, very small: it runs without a warning, survives being killed, and agrees on eight devices."""

import os
import signal
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
    "learn_steps": "50,800,1600",
    "learn_sigmas": "0.2,1,5",
    "classifier_steps": "20",
    "sample_skips": "0,5,8,12",
    "sample_batches": "2",
}
FIGURES = {"far_field", "teleportation", "solver_orders", "learning_order", "samples"}

PROGRAM = """
import os, signal, sys
from experiments.harness.command_line import main
from jaxlib_methods.runtime import MetricsWriter

fatal_step, log = int(sys.argv[1]), MetricsWriter.write

def log_and_perhaps_die(self, step, **values):
    log(self, step, **values)
    if values.get("training") == "network" and step == fatal_step:
        os.kill(os.getpid(), signal.SIGKILL)

MetricsWriter.write = log_and_perhaps_die
sys.exit(main(sys.argv[2:]))
"""

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(name, *options, fatal_step=-1)` starts a run in the folder of that name, on eight simulated devices."""
    root = tmp_path_factory.mktemp("gaussian_score")
    surroundings = os.environ | {
        "PYTHONPATH": str(Path(experiments.__file__).parents[1]),
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling is most of the work
        "JAX_COMPILATION_CACHE_DIR": str(root / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    fields = [f"--config.{name}={value}" for name, value in FIELDS.items()]
    children = []

    def begin(name, *options, fatal_step=-1):
        command = [sys.executable, "-W", "error", "-c", PROGRAM, str(fatal_step), "run", "gaussian_score", *fields]
        command += ["--runs", str(root / name), *options]
        child = subprocess.Popen(
            command, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        children.append(child)
        return child, root / name

    yield begin
    for child in children:
        child.kill()
        child.communicate()


def finish(child, runs):
    _, words = child.communicate(timeout=300)
    (run,) = runs_of(runs, "gaussian_score")
    assert run.state() == "finished", words
    return run, words


@pytest.fixture(scope="module")
def whole_and_sharded(start):
    runs = [start("whole"), start("sharded", "--mesh", "data=8")]
    return [finish(*run) for run in runs]


def result_of(run):
    """The result without timings, and its large arrays."""
    with np.load(run.path / "result.npz", allow_pickle=False) as arrays:
        return run.read("result")["result"], dict(arrays)


def test_a_run_checks_its_claims_draws_its_figures_and_warns_of_nothing(whole_and_sharded):
    (run, words), _ = whole_and_sharded
    assert len(run.read("claims")) == 31
    assert all(claim["passed"] is not None for claim in run.read("claims"))
    assert {path.stem for path in (run.path / "figures").iterdir()} == FIGURES
    assert {line.split(":")[0] for line in words.splitlines()[1:]} <= {
        *("skips", "solvers", "network", "classifier", "samples")
    }


def test_a_run_killed_three_times_while_training_ends_with_the_same_bits(start, whole_and_sharded):
    (whole, _), _ = whole_and_sharded
    resume = []
    for fatal_step in (50, 700, 1600):  # before the first checkpoint, between two, before the last
        child, runs = start("killed", *resume, fatal_step=fatal_step)
        _, words = child.communicate(timeout=300)
        assert child.returncode == -signal.SIGKILL, words
        (run,) = runs_of(runs, "gaussian_score")
        assert run.state() == "died"
        resume = ["--resume", run.path.name]
    run, _ = finish(*start("killed", *resume))
    for name in ("claims.json", "result.npz", "metrics.jsonl"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert result_of(run)[0] == result_of(whole)[0]


def test_eight_devices_agree_with_one(whole_and_sharded):
    (one, one_arrays), (eight, eight_arrays) = (result_of(run) for run, _ in whole_and_sharded)
    for part, tolerance in (("far_field", 1e-9), ("teleported", 1e-6), ("orders", 1e-9)):
        for name, values in one[part].items():
            np.testing.assert_allclose(eight[part][name], values, rtol=tolerance, err_msg=f"{part} {name}")
    np.testing.assert_allclose(eight["network"]["explained"], one["network"]["explained"], atol=1e-4)
    images = "result.network.images"
    np.testing.assert_allclose(eight_arrays[images], one_arrays[images], atol=1e-4)
