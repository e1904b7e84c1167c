"""A file is the old version or the new one; errors say which file and why."""

import json
import resource
import signal
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlib_methods.runtime import read_json, write_atomic, write_json


@pytest.mark.parametrize("content", ["naïve π\nline", b"\x00\xff"])
def test_content_comes_back_and_replaces_the_old(tmp_path, content):
    path = tmp_path / "file"
    write_atomic(path, "old and longer than the new one")
    write_atomic(str(path), content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "old")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large.*file"):
            write_atomic(path, "x" * 10**6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_missing_folder_and_a_file_in_its_place_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing/file"):
        write_atomic(tmp_path / "missing" / "file", "")
    (tmp_path / "taken").write_text("")
    with pytest.raises(NotADirectoryError, match=r"taken/file"):
        write_atomic(tmp_path / "taken" / "file", "")


def test_numbers_arrays_and_paths_become_plain_json(tmp_path):
    value = {"a": np.float32(0.5), "b": jnp.arange(3), "c": Path("x/y"), "d": (1, None, True), "e": float("inf")}
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json") == {"a": 0.5, "b": [0, 1, 2], "c": "x/y", "d": [1, None, True], "e": np.inf}


def test_a_value_json_cannot_hold_is_named_and_the_old_file_stays(tmp_path):
    write_json(tmp_path / "v.json", 1)
    with pytest.raises(TypeError, match="cannot hold a set"):
        write_json(tmp_path / "v.json", {"a": {1, 2}})
    assert json.loads((tmp_path / "v.json").read_text()) == 1


@pytest.mark.parametrize("content", [b'{"a": 1', b"\xff\xfe\x00", b""])
def test_broken_json_is_named(tmp_path, content):
    (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"v\.json is not valid JSON"):
        read_json(tmp_path / "v.json")
