"""Numbers over steps: one JSON object a line, appended as training goes and cut back when it resumes."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from jaxlib_methods.runtime.files import encode_json, write_atomic

__all__ = ["MetricsWriter", "read_metrics"]


class MetricsWriter(AbstractContextManager):
    """Appends lines `{"step": ..., name: value, ...}` to a file; a context manager.

    Args:
      path: the file, in an existing folder.
      resume_at: step of the checkpoint that training resumes from; lines of later steps, and a last line cut short by
        a crash, are dropped because they will be written again. None starts an empty file.

    Raises:
      OSError: if the file cannot be written.
      ValueError: if a line before the last is not a record.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with MetricsWriter(f"{folder}/metrics.jsonl", resume_at=None) as metrics:
    ...         metrics.write(1, loss=0.5)
    ...     print(read_metrics(f"{folder}/metrics.jsonl"))
    [{'step': 1, 'loss': 0.5}]
    """

    def __init__(self, path: Path | str, *, resume_at: int | None):
        """Opens the file."""
        path = Path(path)
        records = read_metrics(path) if resume_at is not None and path.exists() else []
        kept = [encode_json(record) + "\n" for record in records if record["step"] <= resume_at]
        write_atomic(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, **values: Any) -> None:
        """Appends one line and hands it to the operating system, where a killed process cannot lose it."""
        self._file.write(encode_json({"step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file; more than once does nothing."""
        self._file.close()

    def __exit__(self, *_: object) -> None:
        """Closes."""
        self.close()


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """Reads the records of a metrics file in order; a last line cut short by a crash is left out.

    Raises:
      FileNotFoundError: if there is no file.
      ValueError: naming the file and the line, if another line is not a record.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomic(f"{folder}/metrics.jsonl", '{"step": 1, "loss": 0.5}\\n{"step": 2, "lo')
    ...     print(read_metrics(f"{folder}/metrics.jsonl"))
    [{'step': 1, 'loss': 0.5}]
    """
    *lines, _unfinished = Path(path).read_bytes().split(b"\n")
    return [_record(path, number, line) for number, line in enumerate(lines, start=1)]


def _record(path, number, line):
    try:
        record = json.loads(line)
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            return record
    except ValueError:
        pass
    raise ValueError(f"{path}, line {number}: expected a JSON object with an integer step, got {line[:80]!r}")
