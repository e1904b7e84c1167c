"""One run from start to end: result, claims, figures, and an honest status whatever happens."""

import contextlib
import dataclasses
import errno
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
from jax.sharding import Mesh

from experiments.harness.context import Context
from experiments.harness.figures import save_figures
from experiments.harness.job import Ending, Job
from experiments.harness.run_folder import RunFolder
from experiments.harness.stopping import Stopped, StopSignals
from jaxlib_methods.runtime.mesh import to_host
from jaxlib_methods.runtime.train import Interrupted

__all__ = ["Outcome", "Request", "execute"]


@dataclass(frozen=True)
class Request:
    """What is run: the content of `config.json`, with the config as a dataclass."""

    slug: str
    preset: str
    overrides: dict[str, str]
    config: Any
    seed: int
    mesh: str | None

    def as_dict(self) -> dict[str, Any]:
        """The request as it stands in `config.json`."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: finished, failed or interrupted; its claims as in `claims.json`."""

    status: str
    claims: list[dict[str, Any]]
    seconds: float
    error: str | None = None
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """0 if all claims that ran passed, 1 if one did not or the run failed, 128 + signal if it was interrupted."""
        if self.signal is not None:
            return 128 + self.signal
        return int(self.status != "finished" or any(claim["passed"] is False for claim in self.claims))


def execute(
    experiment: ModuleType,
    request: Request,
    folder: RunFolder,
    *,
    mesh: Mesh | None,
    data_directory: Path | None,
    job: Job,
) -> Outcome:
    """Runs an experiment in its locked folder; failures and stop signals end in an Outcome, not an exception.

    The processes of a job run it together and get the same Outcome.
    """
    started = time.perf_counter()
    stop = StopSignals(job)
    with stop.caught():
        try:
            claims = _run(experiment, request, folder, mesh, data_directory, job, stop)
            outcome = Outcome("finished", claims, time.perf_counter() - started)
        except (Interrupted, Stopped):
            outcome = Outcome("interrupted", [], time.perf_counter() - started, signal=stop.received)
        except Exception as error:
            with contextlib.suppress(OSError):
                folder.write_text(_traceback_file(job), traceback.format_exc())
            outcome = Outcome("failed", [], time.perf_counter() - started, error=_one_line(error))
    error = job.meet(Ending(outcome.exit_code, outcome.error)).error
    return dataclasses.replace(outcome, status="failed", claims=[], error=error) if error else outcome


def _run(experiment, request, folder, mesh, data_directory, job, stop) -> list[dict[str, Any]]:
    (folder.path / _traceback_file(job)).unlink(missing_ok=True)
    context = Context(request.seed, folder.path, request.preset, mesh, data_directory, job, stop)
    with context.section("run"), contextlib.closing(context):
        result = jax.block_until_ready(experiment.run(request.config, context))
        result = result if job.alone else to_host(result)
    with context.section("claims"):
        claims = [claim.as_dict() for claim in experiment.claims(request.config, result)]
    names = [claim["id"] for claim in claims]
    if len(set(names)) < len(names):
        raise ValueError(f"claims must have different ids, got {names}")
    if job.first:
        folder.write_result(result, context.timings)
        folder.write("claims", claims)
        save_figures(experiment.figures(request.config, result), folder.path / "figures")
    return claims


def _traceback_file(job: Job) -> str:
    return "traceback.txt" if job.first else f"traceback-{job.index}.txt"


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return f"the disk is full: {error.filename or 'a file'} could not be written ({error.strerror})"
    return " ".join(f"{type(error).__name__}: {error}".split())
