"""The folder of one run: what was asked, what happened, and whether it can go on.

    runs/<slug>/<time>-<seed>/  config.json  environment.json  status.json  metrics.jsonl  claims.json
                                result.json (+ result.npz)  figures/*.png  checkpoints/  traceback.txt

The process that runs holds a lock on the folder, so a run that was killed is told from one that goes on.
"""

import contextlib
import fcntl
import importlib.metadata
import io
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.config import UsageError, choose
from experiments.harness.json_values import to_json
from jaxlib_methods.runtime.files import read_json, write_atomic, write_json

__all__ = ["RunFolder", "environment", "find_run", "runs_of"]

LARGEST_ARRAY_IN_JSON = 64


@dataclass
class RunFolder:
    """Reads and writes the files of one run; every file is replaced atomically."""

    path: Path
    _lock: int | None = field(default=None, repr=False)

    @classmethod
    def create(cls, runs: Path, slug: str, seed: int) -> "RunFolder":
        """Makes a new, locked folder; its name is unique even for runs that start together.

        Raises:
          OSError: if the folder cannot be made.
        """
        try:
            (runs / slug).mkdir(parents=True, exist_ok=True)
            while True:
                folder = cls(runs / slug / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{seed}")
                with contextlib.suppress(FileExistsError):
                    folder.path.mkdir()
                    folder.lock()
                    return folder
        except OSError as error:
            raise OSError(f"cannot make a run folder in {runs / slug}: {error.strerror}") from error

    @property
    def slug(self) -> str:
        """The experiment, as the folder above is named."""
        return self.path.parent.name

    def lock(self) -> bool:
        """Takes the folder for this process until `unlock` or its end; False if another process has it."""
        lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def unlock(self) -> None:
        """Gives the folder back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def state(self) -> str:
        """One of running, finished, failed, interrupted, or died: says `running` but no process holds the folder."""
        status = self.read("status", {}).get("status", "died")
        if status == "running" and self._lock is None and not self._is_held():
            return "died"
        return status

    def _is_held(self) -> bool:
        with contextlib.suppress(FileNotFoundError), (self.path / ".lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may ask at the same moment
            except BlockingIOError:
                return True
        return False

    def write_status(self, status: str, **details: Any) -> None:
        """Says how the run stands, and which process says so."""
        process = {"pid": os.getpid(), "host": socket.gethostname(), "updated": _now()}
        self.write("status", {"status": status, **process, **details})

    def write(self, name: str, value: Any) -> None:
        """Writes `<name>.json`."""
        write_json(self.path / f"{name}.json", to_json(value))

    def read(self, name: str, default: Any = None) -> Any:
        """Reads `<name>.json`; the default, where one is given, if there is none.

        Raises:
          FileNotFoundError: if there is none, and no default.
          UsageError: if it is damaged.
        """
        path = self.path / f"{name}.json"
        if default is not None and not path.exists():
            return default
        try:
            return read_json(path)
        except ValueError as error:
            raise UsageError(f"the run is damaged: {error}") from error

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file."""
        write_atomic(self.path / name, text)

    def write_result(self, result: Any, timings: Mapping[str, float]) -> None:
        """Writes the result and how long its parts took; large arrays go to `result.npz`."""
        arrays: dict[str, np.ndarray] = {}
        summary = _summary(result, "result", arrays)
        if arrays:
            _save_arrays(self.path / "result.npz", arrays)
        self.write("result", {"timings": timings, "result": summary})


def _summary(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """The value as JSON, with large arrays moved out to `arrays` and described in their place."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _summary(item, f"{name}.{key}", arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_summary(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
    if not hasattr(value, "__array__") or np.size(value) <= LARGEST_ARRAY_IN_JSON:
        return to_json(value)
    arrays[name] = array = np.asarray(value)
    return {"array": name, "shape": array.shape, "dtype": str(array.dtype)}


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def runs_of(runs: Path, slug: str) -> list[RunFolder]:
    """All runs of an experiment, oldest first."""
    return [RunFolder(path.parent) for path in sorted((runs / slug).glob("*/config.json"))]


def find_run(runs: Path, slug: str, name: str) -> RunFolder:
    """Finds a run by its path or by its folder's name.

    Raises:
      UsageError: if there is none, it belongs to another experiment, or its `config.json` is damaged.
    """
    path = next((path for path in (Path(name), runs / slug / name) if (path / "config.json").exists()), None)
    if path is None:
        choose(f"run of {slug}", Path(name).name, [run.path.name for run in runs_of(runs, slug)])
        raise UsageError(f"{name} holds no run")
    folder = RunFolder(path)
    owner = folder.read("config").get("slug")
    if owner != slug:
        raise UsageError(f"{path} is a run of {owner}, not of {slug}")
    return folder


def environment(command: Sequence[str]) -> dict[str, Any]:
    """Versions, devices, git commit and command line."""
    import jax

    packages = ("jax", "jaxlib", "numpy", "optax", "flax", "orbax-checkpoint", "jaxlib-methods")
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: _version(name) for name in packages},
        "platform": devices[0].platform,
        "device_kind": devices[0].device_kind,
        "device_count": len(devices),
        "process_count": jax.process_count(),
        "cpu_count": os.cpu_count(),
        "git": _git(),
        "command": [Path(sys.executable).name, "-m", "experiments", *command],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    def git(*arguments):
        here = Path(__file__).parent
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None
