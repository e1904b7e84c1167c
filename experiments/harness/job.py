"""The processes of a job as one program: what the first decides all know, and none waits for one that is gone.

Every process runs the whole experiment; only the first prints and writes. Once a second each tells the job's
coordination service that it lives, and asks it for news. If a process fails or is not heard of any more, the first one
says so and all end: some seconds after an error, and after a sudden death JAX_HEARTBEAT_TIMEOUT seconds later still.
"""

import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn, TypeVar

import jax

from experiments.harness.config import UsageError
from jaxlib_methods.runtime.distributed import coordination, heartbeat_timeout, join_job
from jaxlib_methods.runtime.preemption import StopAgreement

__all__ = ["ElsewhereError", "Ending", "Job"]

BEATS, GONE = "jaxlib_methods/beat/", "jaxlib_methods/gone/"
SECONDS_BETWEEN_BEATS = 1.0
SECONDS_TO_FOLLOW = 3.0  # for a process to meet the error that another has met, before it is taken to be stuck
SECONDS_FOR_OTHERS_TO_GO = 5.0
SECONDS_TO_END = 60  # for all of this, before JAX aborts the processes

T = TypeVar("T")


class Ending(NamedTuple):
    """How a process comes to an end: its exit code, and its error if it has one."""

    code: int = 0
    error: str | None = None


class ElsewhereError(Exception):
    """The first process has an error to tell; this one has none of its own."""


class Job:
    """This process among those of its job; it stands alone until `join` finds others."""

    def __init__(self):
        """Stands alone."""
        self.index, self.count = 0, 1
        self._tell = _print
        self._calls, self._meetings = itertools.count(), 0
        self._agreement = StopAgreement()
        self._posted: Ending | None = None
        self._reported = False
        self._left = threading.Event()

    @property
    def first(self) -> bool:
        """Whether this process prints and writes."""
        return self.index == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    def join(self) -> None:
        """Joins the job that the environment describes, if there is one; before any array is made.

        In a job of several processes SIGTERM asks all of them to stop from then on.

        Raises:
          UsageError: if the variables that describe it make no sense.
          OSError: if the other processes cannot be reached.
        """
        try:
            if not join_job(grace=SECONDS_TO_END):
                return
            self._patience = heartbeat_timeout()
        except ValueError as error:
            raise UsageError(str(error)) from error
        except RuntimeError as error:
            raise OSError(f"cannot join the other processes: {error}") from error
        self.index, self.count, self._service = coordination()
        if not self.alone:
            _take_standard_output(self.first)
            self._agreement = StopAgreement()
            signal.signal(signal.SIGTERM, lambda *_: self._agreement.ask())
            threading.Thread(target=self._watch, daemon=True).start()

    def share(self, make: Callable[[], Any]) -> Any:
        """Returns, in every process, what `make` returns in the first: a JSON value. All must call it together.

        Raises:
          ElsewhereError: in the other processes, if `make` raised in the first.
        """
        if self.alone:
            return make()
        key = f"jaxlib_methods/shared/{next(self._calls)}"
        made = []
        if self.first:
            try:
                made.append(make())
            finally:
                self._service.key_value_set(key, json.dumps(made))
        else:
            made = json.loads(self._service.blocking_key_value_get(key, 2**31 - 1))
        if not made:
            raise ElsewhereError
        return made[0]

    def everywhere(self, make: Callable[[], T], kind: type[Exception]) -> T:
        """Calls `make` in every process, in the first before the others; raises in all of them if it does in one.

        Args:
          make: what to call.
          kind: the exception expected from it; processes in which nothing went wrong raise it with the words of
            another's. Other exceptions are failures of the run.
        """
        if self.alone:
            return make()
        key = f"jaxlib_methods/everywhere/{next(self._calls)}/"
        if not self.first:
            self._service.blocking_key_value_get(f"{key}0", 2**31 - 1)
        try:
            made, words = [make()], ""
        except kind as error:
            made, words = [], f"process {self.index}: {error}"
        self._service.key_value_set(f"{key}{self.index}", words)
        said = self._wait_for_all(key)
        if not any(said.values()):
            return made[0]
        raise kind(next(words for _, words in sorted(said.items()) if words))

    def meet(self, ending: Ending) -> Ending:
        """Waits for all processes to end what they do, and returns how it ended for the job as a whole.

        That is the first process's ending, or another's if that has an error and the first has none. If a process
        stays away because of an error elsewhere, or is gone, this process ends here.
        """
        if self.alone:
            return ending
        self._post(ending)
        self._wait_for_all(self._meeting)
        endings = self._endings()
        self._meetings, self._posted = self._meetings + 1, None
        return _verdict(endings)

    @contextmanager
    def telling(self, tell: Callable[[Ending], None]) -> Iterator[None]:
        """Says with `tell`, in the first process, if the job is lost inside the block."""
        self._tell = tell
        try:
            yield
        finally:
            self._tell = _print

    def leave(self, ending: Ending) -> int:
        """Ends the job with all its processes; returns the exit code, which is that of the first."""
        ending = self.meet(ending)
        self._left.set()
        self._agreement.close()
        return ending.code

    def asked_to_stop(self) -> bool:
        """Whether a process was sent SIGTERM; the same in all of them, at the same call. All must call it together."""
        return self._agreement.poll()

    @property
    def _meeting(self) -> str:
        return f"jaxlib_methods/meeting/{self._meetings}/"

    def _said(self, key: str) -> dict[int, str]:
        return {int(name.rpartition("/")[2]): text for name, text in self._service.key_value_dir_get(key)}

    def _wait_for_all(self, key: str) -> dict[int, str]:
        while len(said := self._said(key)) < self.count:
            time.sleep(0.02)
        return said

    def _endings(self) -> dict[int, Ending]:
        return {index: Ending(*json.loads(text)) for index, text in self._said(self._meeting).items()}

    def _post(self, ending: Ending) -> None:
        if self._posted is None or (ending.error and not self._posted.error):
            self._posted = ending
            self._service.key_value_set(f"{self._meeting}{self.index}", json.dumps(ending), allow_overwrite=True)

    def _watch(self) -> None:
        """Beats and listens, and ends the process if the job cannot go on."""
        heard: dict[int, tuple[str, float]] = {}
        troubled_since = None
        for beat in itertools.count():
            if self._left.wait(SECONDS_BETWEEN_BEATS):
                return
            now = time.monotonic()
            try:
                self._service.key_value_set(f"{BEATS}{self.index}", str(beat), allow_overwrite=True)
                if self.first and (silent := self._silent(heard, now)):
                    lost = Ending(1, f"process {silent} has not been heard of for {self._patience} s")
                    self._post(lost)
                    self._report(lost)
                endings = self._endings()
            except jax.errors.JaxRuntimeError:
                _print(Ending(1, "the first process is gone"))
                os._exit(1)
            if len(endings) == self.count or not any(ending.error for ending in endings.values()):
                troubled_since = None
                continue
            troubled_since = troubled_since or now
            if now - troubled_since > SECONDS_TO_FOLLOW:
                self._report(_verdict(endings))
                self._go(_verdict(endings).code)

    def _silent(self, heard: dict[int, tuple[str, float]], now: float) -> int | None:
        """A process whose beat has stood still for too long; `heard` keeps the last beats and when they came."""
        for index, beat in self._said(BEATS).items():
            if heard.get(index, ("", 0.0))[0] != beat:
                heard[index] = beat, now
            elif now - heard[index][1] > self._patience:
                return index
        return None

    def _go(self, code: int) -> NoReturn:
        """Ends this process; the first goes last, because the others cannot do without the service that it runs."""
        if self.first:
            deadline = time.monotonic() + SECONDS_FOR_OTHERS_TO_GO
            while len(self._said(GONE)) < self.count - 1 and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(0.5)
        else:
            self._service.key_value_set(f"{GONE}{self.index}", "")
        sys.stdout.flush()
        os._exit(code)

    def _report(self, ending: Ending) -> None:
        if self.first and not self._reported:
            self._reported = True
            self._tell(ending)


def _verdict(endings: dict[int, Ending]) -> Ending:
    first = endings.get(0, Ending())
    others = [ending._replace(error=f"process {i}: {ending.error}") for i, ending in endings.items() if ending.error]
    return first if first.error or not others else others[0]


def _print(ending: Ending) -> None:
    print(f"error: {ending.error}", file=sys.stderr, flush=True)


def _take_standard_output(keep: bool) -> None:
    """Leaves it to this program in the first process and to nobody in the others; native code prints there too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1 if keep else nowhere), "w", encoding=sys.stdout.encoding)
    os.dup2(nowhere, 1)
