"""SIGTERM and Ctrl-C as an orderly end: training saves its state first, anything else stops at once.

In a job of several processes all stop together, whichever was asked: after a training step, or where they would begin a
section or the next item of what they show the progress of.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from experiments.harness.job import Job

__all__ = ["StopSignals", "Stopped"]


class Stopped(BaseException):
    """The process was asked to stop; not an Exception, so that no handler takes it for a failure."""


@dataclass
class StopSignals:
    """The signal received, and whether it is held back for a training to poll or raised as `Stopped` at once."""

    job: Job = field(default_factory=Job)
    received: int | None = None
    deferring: bool = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handles the signals inside the block."""
        handlers = {signal.SIGTERM: self._handle, signal.SIGINT: self._handle}
        if not self.job.alone:
            handlers = {signal.SIGINT: _terminate}  # SIGTERM is the job's, which tells the other processes
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number, frame):
        again, self.received = self.received is not None, number
        if again or not self.deferring:
            raise Stopped

    def asked(self) -> bool:
        """Whether to stop; in a job the same at the same call in all processes, which must call it together."""
        if not self.job.alone and self.received is None and self.job.asked_to_stop():
            self.received = signal.SIGTERM
        return self.received is not None

    def stop_together(self) -> None:
        """Raises `Stopped`, in all processes of a job, if one was asked to stop, unless a training holds that back.

        A process that stands alone has raised it when the signal came; but that is lost in a callback of native code.
        """
        if not self.deferring and self.asked():
            raise Stopped

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Holds the first signal back until the end of the block; a second one stops at once."""
        self.deferring = True
        try:
            yield
        finally:
            self.deferring = False
        if self.received is not None:
            raise Stopped


def _terminate(number, frame):
    """Ctrl-C as SIGTERM; the second time as ever."""
    signal.signal(number, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGTERM)
