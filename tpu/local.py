"""Rehearses a job on this machine: several processes that meet over loopback and run one experiment together.

    python -m tpu.local --processes 2 run gaussian_score --mesh data=8

Everything after the options is a command of `python -m experiments`. On a CPU each process simulates its share of the
mesh's devices. Ctrl-C and SIGTERM stop the job with its state saved. If one process fails, the others are left to
notice it by themselves, as on a cluster. Exit code: that of the processes, or 1 if they differ.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

__all__ = ["main", "start"]


def start(command: Sequence[str], processes: int, **options) -> list[subprocess.Popen]:
    """Starts `python COMMAND` several times as one job; the options are those of `subprocess.Popen`.

    They add to the environment, if they have `env`.
    """
    address = f"127.0.0.1:{_free_port()}"
    surroundings = os.environ | options.pop("env", {}) | {"JAX_COORDINATOR_BIND_ADDRESS": address}
    described = {"JAX_COORDINATOR": address, "JAX_NUM_PROCESSES": str(processes)}
    return [
        subprocess.Popen(
            [sys.executable, *command], env=surroundings | described | {"JAX_PROCESS_ID": str(index)}, **options
        )
        for index in range(processes)
    ]


def main(argv: Sequence[str]) -> int:
    """Runs a job to its end and returns the exit code."""
    parser = argparse.ArgumentParser("python -m tpu.local", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--processes", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what `python -m experiments` is to do")
    options = parser.parse_args(argv)
    if options.processes < 1 or not options.command:
        parser.error("it needs at least one process, and a command such as: run gaussian_score --mesh data=8")
    children = start(["-m", "experiments", *options.command], options.processes, start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: children[0].terminate())
    codes = {child.wait() for child in children}
    return codes.pop() if len(codes) == 1 else 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
