"""Joining the processes of a cluster job, where there is one.

A job is described by JAX_COORDINATOR (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID, or by the variables that Slurm,
Open MPI, a TPU slice or an indexed Kubernetes job set; JAX finds its way from those. Without any of them the process
stands alone. Everything else in a job is ordinary code on a mesh of all devices: collectives are never guarded by the
process index, and what is printed or written is (`is_first_process`).

A process that dies takes the others with it: JAX aborts them when it has not been heard of for JAX_HEARTBEAT_TIMEOUT
seconds, 60 unless set.
"""

import os
from collections.abc import Mapping
from typing import Any

import jax

__all__ = ["coordination", "heartbeat_timeout", "is_first_process", "job_kind", "join_job"]

EXPLICIT = ("JAX_COORDINATOR", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
DETECTED = {
    "slurm": ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    "open mpi": ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "tpu": ("TPU_WORKER_ID", "TPU_WORKER_HOSTNAMES"),
    "kubernetes": ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"),
}


def job_kind(environ: Mapping[str, str] | None = None) -> str | None:
    """What describes a job of several processes: "explicit", "slurm", "open mpi", "tpu", "kubernetes", or None.

    Args:
      environ: environment variables, the process's own if None.

    Raises:
      ValueError: if only some of the explicit variables are set, or they make no sense; it names them.

    >>> job_kind({"JAX_COORDINATOR": "localhost:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"})
    'explicit'
    >>> job_kind({}) is None
    True
    """
    environ = os.environ if environ is None else environ
    given = [name for name in EXPLICIT if environ.get(name)]
    if given:
        if missing := [name for name in EXPLICIT if name not in given]:
            raise ValueError(f"{', '.join(missing)} must be set as well, because {', '.join(given)} is")
        _explicit(environ)
        return "explicit"
    return next((kind for kind, names in DETECTED.items() if all(environ.get(name) for name in names)), None)


def join_job(*, grace: int = 0) -> bool:
    """Joins the job that the environment describes; call it before any array is made.

    Args:
      grace: seconds by which JAX is to be late when a process has died, for a program that ends the job itself.

    Returns:
      Whether there is a job. Afterwards `jax.devices()` are those of all processes.

    Raises:
      ValueError: as `job_kind`.
      RuntimeError: from JAX, if arrays exist already or the other processes cannot be reached in time.

    >>> join_job()
    False
    """
    kind, timeout = job_kind(), heartbeat_timeout() + grace
    if kind == "explicit":
        coordinator, count, index = _explicit(os.environ)
        jax.distributed.initialize(
            coordinator,
            num_processes=count,
            process_id=index,
            cluster_detection_method="deactivate",
            heartbeat_timeout_seconds=timeout,
        )
    elif kind is not None:
        jax.distributed.initialize(heartbeat_timeout_seconds=timeout)
    return kind is not None


def heartbeat_timeout() -> int:
    """Seconds after which a silent process of a job is taken for dead: JAX_HEARTBEAT_TIMEOUT, at least 10.

    Raises:
      ValueError: if the variable is not such a number.

    >>> heartbeat_timeout()
    60
    """
    text = os.environ.get("JAX_HEARTBEAT_TIMEOUT") or "60"
    if not text.isdigit() or int(text) < 10:
        raise ValueError(f"JAX_HEARTBEAT_TIMEOUT must be a whole number of seconds, at least 10, got {text!r}")
    return int(text)


def coordination() -> tuple[int, int, Any]:
    """This process's index, the number of processes, and the client of the joined job's coordination service.

    The service stores texts by name for all processes, needs no devices, and goes on while they compute. JAX makes it
    public in no other way.

    >>> coordination()
    (0, 1, None)
    """
    from jax._src.distributed import global_state

    return global_state.process_id, global_state.num_processes, global_state.client


def is_first_process() -> bool:
    """Whether this process prints, logs and writes for its job; true outside a job.

    >>> is_first_process()
    True
    """
    return jax.process_index() == 0


def _explicit(environ: Mapping[str, str]) -> tuple[str, int, int]:
    coordinator, *numbers = (environ[name] for name in EXPLICIT)
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdigit()):
        raise ValueError(f"JAX_COORDINATOR must be host:port, got {coordinator!r}")
    if not all(number.isdigit() for number in numbers) or not int(numbers[1]) < int(numbers[0]):
        raise ValueError(
            f"JAX_PROCESS_ID must be a whole number below JAX_NUM_PROCESSES, got {numbers[1]!r} and {numbers[0]!r}"
        )
    return coordinator, int(numbers[0]), int(numbers[1])
