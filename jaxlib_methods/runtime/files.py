"""Files that are either the old version or the new one, never a part of it."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

__all__ = ["encode_json", "read_json", "write_atomic", "write_json"]


def write_atomic(path: Path | str, content: str | bytes) -> None:
    """Replaces a file in one step: writes beside it, flushes to the disk, renames.

    Text is stored as UTF-8. A crash or a full disk leaves the old file, if there was one, and no partial file.

    Raises:
      OSError: naming the file, if the folder is missing, not writable or full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomic(f"{folder}/note.txt", "done")
    ...     print(Path(folder, "note.txt").read_text())
    done
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise type(error)(error.errno, f"cannot write: {error.strerror}", str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write_json(path: Path | str, value: Any) -> None:
    """Writes a value as indented JSON, atomically; arrays become lists, paths become text.

    NaN and infinities keep Python's spelling `NaN` and `Infinity`, which `read_json` reads back.

    Raises:
      TypeError: if the value holds something JSON cannot say.
      OSError: as `write_atomic`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(f"{folder}/result.json", {"slope": -0.5})
    ...     print(read_json(f"{folder}/result.json"))
    {'slope': -0.5}
    """
    write_atomic(path, encode_json(value, indent=2) + "\n")


def read_json(path: Path | str) -> Any:
    """Reads a JSON file.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: naming the file and the line, if it is not JSON.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(f"{folder}/list.json", [1, 2])
    ...     print(read_json(f"{folder}/list.json"))
    [1, 2]
    """
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def encode_json(value: Any, *, indent: int | None = None) -> str:
    """Returns the JSON text of a value; numpy and jax arrays become lists or numbers, paths become text.

    Raises:
      TypeError: if the value holds something JSON cannot say.

    >>> encode_json({"folder": Path("runs"), "sizes": (1, 2)})
    '{"folder": "runs", "sizes": [1, 2]}'
    """
    return json.dumps(value, indent=indent, default=_plain)


def _plain(value):
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"JSON cannot hold a {type(value).__name__}: {value!r}")
