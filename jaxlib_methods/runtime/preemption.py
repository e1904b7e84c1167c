"""The end of a job that one of its processes was asked to stop: all of them stop at the same poll.

    poll k of process p stops if k >= K,      K = 1 + max_p (polls of p when it heard of the request)

A thread of each process hears of the request, tells its number of polls through the coordination service, and holds
further polls back until all have told theirs. A training step waits for the other processes on the devices only, and
the thread never does, so none waits for one that waits for it. JAX's own `reached_preemption_sync_point` agrees in the
same way, but serves one caller in a program, and Orbax is one, with numbers of its own.
"""

import contextlib
import itertools
import threading
import time

import jax

from jaxlib_methods.runtime.distributed import coordination

__all__ = ["StopAgreement"]

SECONDS_BETWEEN_LOOKS = 0.25
_agreements = itertools.count()


class StopAgreement:
    """Polls that turn true at the same call in every process of a job, once `ask` was called in any of them.

    All processes must make their agreements in the same order, after they have joined the job, and poll them equally
    often. A process that stands alone agrees with itself.
    """

    def __init__(self):
        """Begins to listen for a request."""
        self._polls, self._stop_at = 0, None
        self._asked = False
        self._between_polls = threading.Lock()
        self._closed = threading.Event()
        self._index, self._count, self._service = coordination()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        if self._count > 1:
            self._name = f"jaxlib_methods/stop/{next(_agreements)}"
            self._listener.start()

    def ask(self) -> None:
        """Asks all processes to stop; may be called in a signal handler, and again."""
        self._asked = True

    def poll(self) -> bool:
        """Whether to stop."""
        if self._count == 1:
            return self._asked
        with self._between_polls:
            self._polls += 1
            return self._stop_at is not None and self._polls >= self._stop_at

    def close(self) -> None:
        """Ends the polls of this process; the others may go on with theirs."""
        if self._count > 1:
            self._closed.set()
            self._listener.join()

    def _listen(self) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # the job's first process is gone
            while not (closed := self._closed.wait(SECONDS_BETWEEN_LOOKS)) and not self._heard():
                pass
            with self._between_polls:
                self._service.key_value_set(f"{self._name}/polls/{self._index}", str(self._polls))
                if not closed:
                    self._stop_at = 1 + max(self._polls_of_all())

    def _heard(self) -> bool:
        if self._asked:
            self._service.key_value_set(f"{self._name}/asked/{self._index}", "", allow_overwrite=True)
        return self._asked or bool(self._service.key_value_dir_get(f"{self._name}/asked"))

    def _polls_of_all(self) -> list[int]:
        while len(told := self._service.key_value_dir_get(f"{self._name}/polls")) < self._count:
            time.sleep(0.01)
        return [int(polls) for _, polls in told]
