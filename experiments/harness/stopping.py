"""SIGTERM and Ctrl-C as an orderly end: training saves its state first, anything else stops at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["StopSignals", "Stopped"]


class Stopped(BaseException):
    """The process was asked to stop; not an Exception, so that no handler takes it for a failure."""


@dataclass
class StopSignals:
    """The signal received, and whether it is held back for a training to poll or raised as `Stopped` at once."""

    received: int | None = None
    deferring: bool = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handles the signals inside the block."""
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number, frame):
        again, self.received = self.received is not None, number
        if again or not self.deferring:
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
