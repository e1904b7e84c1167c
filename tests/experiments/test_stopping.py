"""An orderly end is not lost, wherever the signal finds the process."""

import os
import signal

import pytest

from experiments.harness.stopping import Stopped, StopSignals


class Interrupted:
    """What Python ignores the exceptions of."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(10))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_swallowed_by_a_callback_stops_the_next_section():
    signals = StopSignals()
    with signals.caught():
        interrupted = [Interrupted()]
        interrupted.clear()
        assert signals.received == signal.SIGTERM
        with pytest.raises(Stopped):
            signals.stop_together()
