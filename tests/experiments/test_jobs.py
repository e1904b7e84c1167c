"""Several processes run an experiment as one: they speak, stop and end together, and go on in another number."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import experiments
from experiments.harness.run_folder import runs_of
from tpu import launch
from tpu.local import start

PAPER = """
[[papers]]
slug = "fake_job"
title = "Lines in pieces"
date = "Apr 2000"
group = "tests"
"""

FAKE_JOB = """
import os
import signal
import time
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Claim, Context
from jaxlib_methods.runtime.mesh import shard_rows

PAPER = "Nobody, Lines in pieces, 2000"


@dataclass(frozen=True)
class Config:
    fault: str = ""
    process: int = 1
    step: int = 14
    steps: int = 40


PRESETS = {"quick": Config()}


class Result(NamedTuple):
    weights: jax.Array
    losses: list


def run(config: Config, context: Context) -> Result:
    marker, failed = context.directory / "fault", []

    def fail(step):
        if step != config.step or not config.fault or jax.process_index() != config.process or marker.exists():
            return
        marker.touch()
        failed.append(step)
        if config.fault == "raise":
            raise RuntimeError("only here")
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "terminate": signal.SIGTERM}[config.fault])

    def loss(params, batch, key):
        noise = 0.1 * jax.random.normal(key, batch["y"].shape)
        return jnp.mean((batch["x"] @ params - batch["y"] - noise) ** 2)

    def batch(step):
        fail(step)
        time.sleep(0.5 * len(failed))  # JAX looks for signals once a second
        x = np.random.default_rng(step).normal(size=(16, 8)).astype(np.float32)
        return {"x": x, "y": np.stack([x.sum(1)] * 3, 1)}

    print("chatter")
    weights = shard_rows(jnp.zeros((8, 3)), context.mesh)
    with context.section("before"):
        for step in context.progress(range(-3, 0), "before"):
            fail(step)
            time.sleep(0.5 * bool(config.fault and config.step < 0))
    options = dict(steps=config.steps, log_every=5, checkpoint_every=10)
    state = context.train("lines", loss, weights, batch, optax.adam(0.1), **options)
    return Result(state.params, [r["loss"] for r in context.records("lines")])


def claims(config: Config, result: Result) -> list[Claim]:
    about = dict(source="nowhere", origin="derived")
    return [Claim.close("weights", "All are one.", expected=1.0, measured=result.weights, tolerance=2.0, **about)]


def figures(config: Config, result: Result):
    return []
"""

ROOT = str(Path(experiments.__file__).parents[1])

DRIVER = """
import sys
from pathlib import Path

import experiments
from experiments.harness import registry
from experiments.harness.command_line import main

here = Path(__file__).parent
experiments.__path__.append(str(here))
registry.PAPERS_FILE = here / "papers.toml"
sys.exit(main(sys.argv[1:]))
"""

SRUN = """#!/bin/bash
# Starts two tasks, and ends with the highest of their exit codes as the real one does.
while [[ $1 == --* ]]; do shift; done
for rank in 0 1; do
    SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2 SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" &
    tasks+=($!)
done
highest=0
for task in "${tasks[@]}"; do
    wait $task || { code=$?; (( code > highest )) && highest=$code; }
done
exit $highest
"""
PYTHON = """#!/bin/bash
shift 2  # -m experiments
exec {python} {driver} "$@"
"""
SCONTROL = """#!/bin/bash
echo "$@" >> {log}
"""

pytestmark = pytest.mark.runs
WHOLE = ("run", "fake_job", "--mesh", "data=8")
FAULT = (*WHOLE, "--config.fault")


class Place:
    """A folder with the fake experiment, in which jobs are started."""

    def __init__(self, folder):
        """Writes the experiment."""
        self.folder = folder
        for name, text in {"papers.toml": PAPER, "fake_job.py": FAKE_JOB, "driver.py": DRIVER}.items():
            (folder / name).write_text(text)
        self.surroundings = {"PYTHONPATH": ROOT, "JAX_HEARTBEAT_TIMEOUT": "20"}
        self.options = {"cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.children = []

    def job(self, *arguments, runs, processes=2):
        """Starts the command line in each process of a job."""
        command = [str(self.folder / "driver.py"), *arguments, "--runs", runs]
        children = start(command, processes, env=self.surroundings, **self.options)
        self.children += children
        return children

    def run(self, runs):
        """The only run in that folder."""
        (run,) = runs_of(self.folder / runs, "fake_job")
        return run

    def log_and_claims(self, runs):
        """What must not differ by a bit."""
        return [(self.run(runs).path / name).read_bytes() for name in ("metrics.jsonl", "claims.json")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("jobs"))
    yield place
    for child in place.children:
        child.kill()
        child.communicate()


def ends(children):
    """Exit codes, and what each said on standard output and error."""
    said = [child.communicate(timeout=600) for child in children]
    return [child.returncode for child in children], [out for out, _ in said], [err for _, err in said]


@pytest.fixture(scope="module")
def started(place):
    """Jobs that take their time, started together: undisturbed, with an error and a sudden death in one process."""
    return {
        "whole": place.job(*WHOLE, "--json", runs="whole"),
        "raise": place.job(*FAULT, "raise", runs="raise"),
        "kill": place.job(*FAULT, "kill", runs="kill"),
    }


@pytest.fixture(scope="module")
def whole(place, started):
    """The undisturbed run, and what its processes said."""
    codes, outputs, errors = ends(started["whole"])
    assert codes == [0, 0], errors
    return place.run("whole"), outputs, errors


def test_two_processes_speak_and_write_as_one(whole):
    run, outputs, errors = whole
    assert json.loads(outputs[0]) == run.read("claims")
    assert "chatter" in errors[0]
    assert (outputs[1], errors[1]) == ("", "")
    assert (run.read("environment")["device_count"], run.read("environment")["process_count"]) == (8, 2)
    assert run.state() == "finished"
    records = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(5, 41, 5))
    assert [record["loss"] for record in records] == run.read("result")["result"]["losses"]


def test_an_error_in_one_process_ends_all_and_is_told_by_the_first(place, started):
    codes, outputs, errors = ends(started["raise"])
    assert codes == [1, 1], errors
    run = place.run("raise")
    assert "error: fake_job failed: process 1: RuntimeError: only here" in errors[0]
    assert "Traceback" not in errors[0] + errors[1]
    assert outputs[1] == ""
    assert "only here" in (run.path / "traceback-1.txt").read_text()
    assert (run.state(), run.read("status")["error"]) == ("failed", "process 1: RuntimeError: only here")


def test_a_killed_process_ends_the_others_in_bounded_time_and_one_process_goes_on(place, started, whole):
    codes, _, errors = ends(started["kill"])
    run = place.run("kill")
    assert codes[1] == -signal.SIGKILL, errors
    if codes[0] == 1:
        lines = [line for line in errors[0].splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert re.match("error: fake_job failed: (process 1 has not been heard of for 20 s|JaxRuntimeError)", lines[0])
        assert run.state() == "failed"
    else:  # the CPU's collectives may abort the process when their connections break
        assert codes[0] == -signal.SIGABRT, errors
        assert run.state() == "died"
    codes, _, errors = ends(place.job("run", "fake_job", "--resume", run.path.name, runs="kill", processes=1))
    assert codes == [0], errors
    agree(run, whole[0])


def agree(run, other):
    """Other processes add up in another order, which 40 steps of Adam carry on: some units in the last place."""
    weights, others = (np.array(r.read("result")["result"]["weights"]) for r in (run, other))
    np.testing.assert_allclose(weights, others, rtol=1e-4)


def test_a_run_stopped_in_one_process_goes_on_in_two(place, whole):
    codes, _, errors = ends(place.job(*FAULT, "terminate", "--config.process", "0", runs="one", processes=1))
    assert codes == [143], errors
    codes, _, errors = ends(place.job(*FAULT, "terminate", "--config.process", "0", "--resume", "newest", runs="one"))
    assert codes == [0, 0], errors
    assert place.run("one").read("environment")["process_count"] == 2
    agree(place.run("one"), whole[0])


def test_sigterm_outside_of_training_stops_both(place):
    codes, _, errors = ends(place.job(*FAULT, "terminate", "--config.step", "-3", runs="early"))
    assert codes == [143, 143], errors
    assert place.run("early").state() == "interrupted"
    assert not (place.run("early").path / "checkpoints").exists()


def test_the_batch_script_resumes_with_the_same_bits_what_slurm_stopped(place, whole, tmp_path):
    tools = {
        "srun": SRUN,
        "scontrol": SCONTROL.format(log=tmp_path / "requeued"),
        "python": PYTHON.format(python=sys.executable, driver=place.folder / "driver.py"),
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    number = str(os.getpid())
    surroundings = os.environ | place.surroundings | {"SLURM_JOB_ID": number, "PYTHON": str(tmp_path / "python")}
    surroundings["PATH"] = f"{tmp_path}:{surroundings['PATH']}"
    arguments = [launch.HERE / "slurm.sbatch", *FAULT[1:], "terminate"]
    submit = lambda: subprocess.run(["bash", *arguments], env=surroundings, **place.options, timeout=600)
    first = submit()
    assert first.returncode == 143, first.stderr
    runs = f"runs/slurm-{number}"
    assert place.run(runs).state() == "interrupted"
    assert max(saved_steps(place.run(runs))) >= 14
    assert (tmp_path / "requeued").read_text() == f"requeue {number}\n"
    second = submit()
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "requeued").read_text().count("\n") == 1
    assert place.log_and_claims(runs) == place.log_and_claims("whole")


def saved_steps(run):
    return [int(path.name) for path in (run.path / "checkpoints" / "lines").iterdir() if path.name.isdecimal()]
