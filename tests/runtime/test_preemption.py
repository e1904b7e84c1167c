"""Processes of a job, as threads around a store of texts, stop at the same poll wherever each of them is."""

import itertools
import threading
import time

import jax
import pytest

from jaxlib_methods.runtime import preemption
from jaxlib_methods.runtime.preemption import StopAgreement


class Store:
    """What the coordination service offers."""

    def __init__(self):
        self.texts, self.lost = {}, False

    def key_value_set(self, name, text, allow_overwrite=False):
        if self.lost:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE")
        assert allow_overwrite or name not in self.texts
        self.texts[name] = text

    def key_value_dir_get(self, folder):
        if self.lost:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE")
        return [(name, text) for name, text in list(self.texts.items()) if name.startswith(f"{folder}/")]


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def agreements(monkeypatch, store):
    """Of three processes."""
    places = iter([(index, 3, store) for index in range(3)])
    monkeypatch.setattr(preemption, "coordination", lambda: next(places))
    monkeypatch.setattr(preemption, "_agreements", itertools.repeat(0))
    monkeypatch.setattr(preemption, "SECONDS_BETWEEN_LOOKS", 0.02)
    made = [StopAgreement() for _ in range(3)]
    yield made
    for agreement in made:
        agreement.close()


def until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def first_true(agreement, stopped, index, pace):
    count = next(count for count in itertools.count(1) if agreement.poll() or time.sleep(pace))
    stopped[index] = count


@pytest.mark.parametrize("asked", [0, 2])
def test_all_stop_at_the_same_poll_after_those_that_were_made(agreements, asked):
    stopped = {}
    paces = [0.001, 0.003, 0.005]
    threads = [threading.Thread(target=first_true, args=(a, stopped, i, paces[i])) for i, a in enumerate(agreements)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    made = max(agreement._polls for agreement in agreements)
    agreements[asked].ask()
    for thread in threads:
        thread.join(60)
    assert len(stopped) == 3
    assert len(set(stopped.values())) == 1
    assert stopped[0] > made


def test_a_process_ahead_and_waiting_for_the_others_does_not_hold_them_up(agreements):
    """It polls no more until they do, as when its devices wait for theirs."""
    ahead, *others = agreements
    assert not any(ahead.poll() for _ in range(7))
    others[0].ask()
    until(lambda: all(agreement._stop_at for agreement in agreements))
    assert [[agreement.poll() for _ in range(9)].index(True) for agreement in others] == [7, 7]
    assert ahead.poll()


def test_a_true_poll_stays_true(agreements):
    agreements[0].ask()
    until(lambda: all(agreement._stop_at for agreement in agreements))
    assert all(agreement.poll() and agreement.poll() for agreement in agreements)


def test_without_a_request_none_stops(agreements):
    time.sleep(0.1)  # some looks of the listeners
    assert not any(agreement.poll() for agreement in agreements for _ in range(100))


def test_a_process_that_is_done_counts_with_all_its_polls(agreements):
    done, *others = agreements
    assert not any(done.poll() for _ in range(4))
    done.close()
    others[1].ask()
    until(lambda: all(agreement._stop_at for agreement in others))
    assert [[agreement.poll() for _ in range(5)] for agreement in others] == [[False] * 4 + [True]] * 2


def test_a_lost_service_leaves_the_polls_false(agreements, store):
    store.lost = True
    agreements[0].ask()
    until(lambda: not any(agreement._listener.is_alive() for agreement in agreements))
    assert not any(agreement.poll() for agreement in agreements)


def test_a_process_that_stands_alone_stops_at_once():
    agreement = StopAgreement()
    assert not agreement.poll()
    agreement.ask()
    assert agreement.poll()
    agreement.close()
    assert agreement.poll()
