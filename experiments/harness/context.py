"""What a run gives its experiment: seed, mesh, data, progress, metrics, timings, and training that can be resumed."""

import functools
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh

from experiments.harness.job import Job
from experiments.harness.progress import progress
from experiments.harness.stopping import StopSignals
from jaxlib_methods.runtime.checkpoint import Checkpointer
from jaxlib_methods.runtime.data import DataError, ImageSet, load
from jaxlib_methods.runtime.files import encode_json, write_atomic
from jaxlib_methods.runtime.metrics import MetricsWriter, read_metrics
from jaxlib_methods.runtime.train import TrainState, train

__all__ = ["Context"]

Item = TypeVar("Item")


@dataclass
class Context:
    """The surroundings of one run.

    Attributes:
      seed: what `key` is made from.
      directory: the run's folder.
      preset: name of the preset in use.
      mesh: device mesh, None on one device.
      data_directory: where data files are looked for first.
      job: the processes that run together; each has its own context, and all make the same calls on it.
      stop: says whether the process was asked to stop.
      timings: seconds spent in each `section`, by label.
    """

    seed: int
    directory: Path
    preset: str = "quick"
    mesh: Mesh | None = None
    data_directory: Path | None = None
    job: Job = field(default_factory=Job)
    stop: StopSignals = field(default_factory=StopSignals)
    timings: dict[str, float] = field(default_factory=dict)
    _metrics: MetricsWriter | None = field(default=None, init=False, repr=False)

    def __post_init__(self):
        """Keeps of an earlier attempt's metrics what trainings logged; all else is logged anew."""
        self._rewrite_metrics(lambda record: "training" in record)

    @property
    def key(self) -> jax.Array:
        """The run's typed random key."""
        return jax.random.key(self.seed)

    def data(self, name: str) -> ImageSet:
        """An image set by name, one of `IMAGE_SETS`."""
        return self.job.everywhere(lambda: load(name, directory=self.data_directory), DataError)

    def progress(self, iterable: Iterable[Item], label: str, total: int | None = None) -> Iterable[Item]:
        """Passes the items through and shows how far they are."""
        for item in progress(iterable, label, total):
            self.stop.stop_together()
            yield item

    @contextmanager
    def section(self, label: str) -> Iterator[None]:
        """Adds the wall time of the block to `timings[label]`."""
        self.stop.stop_together()
        started = time.perf_counter()
        try:
            yield
        finally:
            self.timings[label] = self.timings.get(label, 0.0) + time.perf_counter() - started

    def log(self, step: int, **values: Any) -> None:
        """Appends one line to `metrics.jsonl`."""
        if self._metrics is not None:
            self._metrics.write(step, **values)

    def records(self, training: str | None = None) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`, or those of one training."""
        return [record for record in self.job.share(self._read) if training in (None, record.get("training"))]

    def train(
        self, name: str, loss: Callable, params: Any, batch: Callable, optimizer: Any, *, steps: int, **options: Any
    ) -> TrainState:
        """Runs `jaxlib_methods.runtime.train.train`, and goes on where an interrupted run of this folder stopped.

        Adds to it the key (from the seed and `name`), the mesh, checkpoints in `checkpoints/<name>` (every tenth of the
        steps), metrics (lines with `training` = `name`), progress, and the saving of the state when the process is
        told to stop. Every option of `train` can be given and wins.

        Args:
          name: names the training within the run.
          loss: `loss(params, batch, key)`.
          params: initial parameters.
          batch: `batch(step)`.
          optimizer: an optax transformation.
          steps: total number of steps.
          **options: further arguments of `train`.

        Returns:
          The final state.
        """

        def drop_what_will_be_logged_again(start):
            again = lambda record: record.get("training") == name and (start is None or record["step"] > start)
            self._rewrite_metrics(lambda record: not again(record))

        directory = self.directory / "checkpoints" / name
        with self.section(name), self.stop.deferred(), Checkpointer(directory) as checkpointer:
            ours = {
                "key": jax.random.fold_in(self.key, zlib.crc32(name.encode())),
                "mesh": self.mesh,
                "log": functools.partial(self.log, training=name),
                "on_start": drop_what_will_be_logged_again,
                "checkpointer": checkpointer,
                "checkpoint_every": max(1, steps // 10),
                "progress": lambda iterable, total, label: self.progress(iterable, name, total),
                "interrupted": self.stop.asked,
            }
            return train(loss, params, batch, optimizer, steps=steps, **(ours | options))

    def close(self) -> None:
        """Closes the metrics file."""
        if self._metrics is not None:
            self._metrics.close()

    @property
    def _metrics_file(self) -> Path:
        return self.directory / "metrics.jsonl"

    def _read(self) -> list[dict[str, Any]]:
        return read_metrics(self._metrics_file) if self._metrics_file.exists() else []

    def _rewrite_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        if self.job.first:
            kept = [encode_json(record) + "\n" for record in self._read() if keep(record)]
            self.close()
            write_atomic(self._metrics_file, "".join(kept))
            self._metrics = MetricsWriter(self._metrics_file, resume_at=sys.maxsize)
