"""`run`: one experiment or all, new or resumed, alone or in a job, from the command line to the exit code."""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import re
import shlex
import sys
import time
from pathlib import Path

import jax
from jax.sharding import Mesh

from experiments.harness.arguments import Parser, split_overrides
from experiments.harness.claims import claims_table, count_reproduced
from experiments.harness.config import UsageError, choose, from_json, override
from experiments.harness.job import Ending, Job
from experiments.harness.registry import implemented, load_experiment, papers
from experiments.harness.run_folder import RunFolder, environment, find_run, runs_of
from experiments.harness.runner import Outcome, Request, execute
from jaxlib_methods.runtime.mesh import make_mesh

__all__ = ["run_command"]

MOST_SIMULATED_DEVICES = 256

HELP = """Runs an experiment's preset and prints its claims; `all` runs every implemented experiment in turn.

Tuples among the fields of Config are written 64,256 and nested fields with dots.
--json prints the list of claims on standard output and everything else on standard error; with `all` it prints an
object that maps each slug to {"status", "claims", "seconds", "error", "signal"}.
Started several times by Slurm, Open MPI or Kubernetes, on a TPU slice, or with JAX_COORDINATOR, JAX_NUM_PROCESSES and
JAX_PROCESS_ID, all processes run it together on one mesh and share the folder of runs; the first one speaks."""


def run_command(argv: list[str], job: Job) -> int:
    """Runs what the arguments ask for, in all processes of the job, and returns the exit code."""
    job.join()
    parser = Parser("run", HELP)
    parser.add_argument("slug", help="experiment, or all")
    parser.add_argument("--preset", help="named configuration (default: quick)")
    parser.add_argument("--seed", type=int, help="random seed (default: 0)")
    parser.add_argument("--mesh", help="device mesh such as data=8 or data=4,model=2; simulated on a CPU")
    resume = "go on with an interrupted run: its path or its folder's name; newest: the newest one, or a new run"
    parser.add_argument("--resume", metavar="RUN", help=resume)
    parser.add_argument("--data-dir", type=Path, help="folder where data files are looked for first")
    parser.add_argument("--json", action="store_true", help="print the claims as JSON")
    parser.add_argument("--config.FIELD", metavar="VALUE", help="replaces a field of the experiment's Config")
    rest, overrides = split_overrides(argv)
    options = parser.parse(rest)
    if options.seed is not None and not 0 <= options.seed < 2**32:
        raise UsageError(f"--seed must be between 0 and 2^32 - 1, got {options.seed}")
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise UsageError(f"--data-dir {options.data_dir} is not a folder")
    if options.slug == "all":
        return _run_all(options, overrides, argv, job)
    if options.resume == "newest":
        options.resume = job.share(lambda: _newest_unfinished(options.runs, options.slug))
    if options.resume is not None:
        request, folder = _resumed(options, overrides, job)
    else:
        request, folder = _requested(options.slug, options, overrides), None
    with _prints_to_standard_error(options.json and job.first):
        outcome = _run_one(request, options, argv, folder, job)
    if options.json:
        print(json.dumps(outcome.claims, indent=2))
    return outcome.exit_code


def _requested(slug: str, options: argparse.Namespace, overrides: dict[str, str]) -> Request:
    presets = load_experiment(slug).PRESETS
    preset = choose(f"preset of {slug}", options.preset or "quick", presets)
    config = override(presets[preset], overrides)
    return Request(slug, preset, overrides, config, options.seed or 0, options.mesh)


def _resumed(options: argparse.Namespace, overrides: dict[str, str], job: Job) -> tuple[Request, RunFolder]:
    config_type, taken = load_experiment(options.slug).Config, []

    def take() -> str:
        taken.append(_taken(options, overrides, config_type))
        return str(taken[0].path)

    path = job.share(take)
    folder = taken[0] if taken else RunFolder(Path(path))
    return _stored(folder, config_type), folder


def _newest_unfinished(runs: Path, slug: str) -> str | None:
    paths = [str(run.path) for run in runs_of(runs, slug) if run.state() not in ("finished", "running")]
    return paths[-1] if paths else None


def _taken(options: argparse.Namespace, overrides: dict[str, str], config_type: type) -> RunFolder:
    """The folder of the run to resume, locked, if the arguments do not contradict it."""
    folder = find_run(options.runs, options.slug, options.resume)
    if folder.state() == "finished":
        raise UsageError(f"{folder.path} is finished; there is nothing to resume")
    request = _stored(folder, config_type)
    for name in ("preset", "seed", "mesh"):
        given, stored = getattr(options, name), getattr(request, name)
        if given not in (None, stored):
            raise UsageError(f"--{name} {given} conflicts with the run, which has {stored}")
    if override(request.config, overrides) != request.config:
        raise UsageError("--config conflicts with the run; start a new run to change fields")
    if not folder.lock():
        raise UsageError(f"{folder.path} is still running (process {folder.read('status')['pid']})")
    return folder


def _stored(folder: RunFolder, config_type: type) -> Request:
    stored = folder.read("config")
    try:
        return Request(**(stored | {"config": from_json(config_type, stored["config"])}))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the run is damaged: {folder.path / 'config.json'}: {error!r}") from error


def _run_one(
    request: Request, options: argparse.Namespace, argv: list[str], folder: RunFolder | None, job: Job
) -> Outcome:
    mesh, started = _mesh(request.mesh, job), time.perf_counter()
    folder = _begin(request, options, argv, folder, job)

    def conclude(outcome: Outcome) -> None:
        with contextlib.suppress(OSError):
            folder.write_status(outcome.status, seconds=outcome.seconds, error=outcome.error)
        folder.unlock()
        _announce(request.slug, outcome, folder.path, options.data_dir)

    def conclude_without_the_others(ending: Ending) -> None:
        conclude(Outcome("failed", [], time.perf_counter() - started, error=ending.error))

    experiment = load_experiment(request.slug)
    with job.telling(conclude_without_the_others):
        outcome = execute(experiment, request, folder, mesh=mesh, data_directory=options.data_dir, job=job)
    if job.first:
        conclude(outcome)
    return outcome


def _begin(
    request: Request, options: argparse.Namespace, argv: list[str], folder: RunFolder | None, job: Job
) -> RunFolder:
    """The locked folder of the run, with what was asked for; made by the first process of a job."""
    made = []

    def make() -> str:
        made.append(folder or RunFolder.create(options.runs, request.slug, request.seed))
        made[0].write_status("running")
        made[0].write("config", request.as_dict())
        made[0].write("environment", environment(["run", *argv]))
        print(f"{request.slug}, preset {request.preset}, in {made[0].path}", file=sys.stderr)
        return str(made[0].path)

    path = job.share(make)
    return made[0] if made else RunFolder(Path(path))


def _mesh(text: str | None, job: Job) -> Mesh | None:
    """The mesh of `--mesh`, None on one device; on a CPU the devices are simulated, as many in each process."""
    needed = math.prod(int(size) for size in re.findall(r"=\s*(\d+)", text or ""))
    if 1 < needed <= MOST_SIMULATED_DEVICES and needed % job.count == 0:
        with contextlib.suppress(RuntimeError):  # devices exist already: they are as many as they are
            jax.config.update("jax_num_cpu_devices", needed // job.count)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        raise UsageError(f"JAX finds no devices with JAX_PLATFORMS={platforms!r}: {error!r}") from error
    all_devices = f"the mesh of {job.count} processes must use all their devices, such as data={jax.device_count()}"
    if text is None:
        if not job.alone:
            raise UsageError(f"--mesh is missing: {all_devices}")
        return None
    try:
        mesh = make_mesh(text)
    except ValueError as error:
        raise UsageError(f"--mesh: {error}") from error
    if "data" not in mesh.axis_names:
        raise UsageError(f"--mesh {text} must have an axis named data, over which rows are split")
    if not job.alone and mesh.size != jax.device_count():
        raise UsageError(f"--mesh {text}: {all_devices}")
    return mesh if mesh.size > 1 else None


def _announce(slug: str, outcome: Outcome, folder: Path, data_directory: Path | None) -> None:
    data = ["--data-dir", str(data_directory)] if data_directory else []
    resume = "python -m experiments " + shlex.join(["run", slug, "--resume", str(folder), *data])
    if outcome.status == "finished":
        print(f"\n{claims_table(outcome.claims)}\n")
        print(f"{slug}: {count_reproduced(outcome.claims)} claims reproduced in {outcome.seconds:.0f} s; see {folder}")
    elif outcome.status == "interrupted":
        print(f"{slug} was interrupted; go on with: {resume}", file=sys.stderr)
    else:
        traceback = f"; traceback in {folder}" if any(folder.glob("traceback*.txt")) else ""
        print(f"error: {slug} failed: {outcome.error}{traceback}; go on with: {resume}", file=sys.stderr)


def _run_all(options: argparse.Namespace, overrides: dict[str, str], argv: list[str], job: Job) -> int:
    if overrides or options.resume is not None:
        raise UsageError("run all takes neither --config fields nor --resume")
    slugs = [paper.slug for paper in papers() if implemented(paper.slug)]
    requests = [_requested(slug, options, {}) for slug in slugs]
    outcomes: dict[str, Outcome] = {}
    with _prints_to_standard_error(options.json and job.first):
        for request in requests:
            outcomes[request.slug] = outcome = _run_one(request, options, argv, None, job)
            jax.clear_caches()
            if outcome.signal is not None:
                break
        print("\n" + "\n".join(f"{slug:32}  {_summary(outcome)}" for slug, outcome in outcomes.items()))
    if options.json:
        print(json.dumps({slug: dataclasses.asdict(outcome) for slug, outcome in outcomes.items()}, indent=2))
    return max((outcome.exit_code for outcome in outcomes.values()), default=0)


def _summary(outcome: Outcome) -> str:
    claims = f"{count_reproduced(outcome.claims)} claims" if outcome.status == "finished" else outcome.error or ""
    return f"{outcome.status:12} {outcome.seconds:6.0f} s  {claims}"


def _prints_to_standard_error(wanted: bool):
    return contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext()
