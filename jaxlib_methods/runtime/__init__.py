"""Meshes, the training loop, checkpoints, metrics, files and data: all that touches devices, disks and signals."""

import importlib
from typing import Any

_MODULES = {
    "checkpoint": ("CheckpointError", "Checkpointer"),
    "data": ("DataError", "ImageSet", "data_path", "load"),
    "distributed": ("is_first_process", "job_kind", "join_job"),
    "files": ("read_json", "write_atomic", "write_json"),
    "mesh": ("axis_key", "make_mesh", "pad_and_shard_rows", "replicate", "shard_rows", "to_host"),
    "metrics": ("MetricsWriter", "read_metrics"),
    "train": ("Interrupted", "TrainState", "catch_sigterm", "make_train_step", "train_init"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
