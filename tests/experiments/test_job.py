"""The processes' conversation, with threads for processes and a dictionary for the coordination service."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from experiments.harness.config import UsageError
from experiments.harness.job import ElsewhereError, Ending, Job


class Service:
    """Texts by name, as JAX's coordination service keeps them."""

    def __init__(self):
        self.texts = {}
        self.changed = threading.Condition()

    def key_value_set(self, key, text, allow_overwrite=False):
        with self.changed:
            assert allow_overwrite or key not in self.texts
            self.texts[key] = text
            self.changed.notify_all()

    def blocking_key_value_get(self, key, timeout):
        with self.changed:
            assert self.changed.wait_for(lambda: key in self.texts, timeout=10)
            return self.texts[key]

    def key_value_dir_get(self, key):
        with self.changed:
            return [(name, text) for name, text in self.texts.items() if name.startswith(key)]


@pytest.fixture
def together():
    """Runs a function of the job in three processes at once and returns what it returned or raised in each."""
    service, jobs = Service(), [Job() for _ in range(3)]
    for index, job in enumerate(jobs):
        job.index, job.count, job._service = index, 3, service

    def run(act):
        def attempt(job):
            try:
                return act(job)
            except Exception as error:
                return error

        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(attempt, jobs, timeout=20))

    return run


def test_what_the_first_process_makes_all_have(together):
    made = []
    for value in ("folder", None, {"steps": [1, 2]}):
        assert together(lambda job: job.share(lambda: made.append(job.index) or value)) == [value] * 3  # noqa: B023
    assert made == [0, 0, 0]


def test_an_error_of_the_first_process_is_its_own_and_ends_the_others(together):
    def refuse():
        raise UsageError("no such run")

    first, *others = together(lambda job: job.share(refuse))
    assert isinstance(first, UsageError)
    assert all(isinstance(error, ElsewhereError) for error in others)
    assert together(lambda job: job.share(lambda: 7)) == [7, 7, 7]


def test_what_all_make_for_themselves_the_first_makes_before_the_others(together):
    order = []

    def load(job):
        if job.first:
            time.sleep(0.1)
        order.append(job.index)
        return job.index

    assert together(lambda job: job.everywhere(lambda: load(job), KeyError)) == [0, 1, 2]
    assert order[0] == 0


def test_what_fails_in_one_process_as_it_may_fails_in_all(together):
    def load(job):
        if job.index == 1:
            raise KeyError("mnist")

    errors = together(lambda job: job.everywhere(lambda: load(job), KeyError))
    assert [type(error) for error in errors] == [KeyError] * 3
    assert all("mnist" in str(error) for error in errors)
    assert "process 1" in str(errors[0])


@pytest.mark.parametrize(
    ("endings", "verdict"),
    [
        ([Ending(), Ending(), Ending()], Ending()),
        ([Ending(1), Ending(), Ending()], Ending(1)),
        ([Ending(143), Ending(143), Ending(143)], Ending(143)),
        ([Ending(), Ending(), Ending(1, "disk")], Ending(1, "process 2: disk")),
        ([Ending(1, "data"), Ending(1, "data"), Ending(1, "data")], Ending(1, "data")),
    ],
)
def test_a_job_ends_as_its_first_process_unless_another_fails(together, endings, verdict):
    assert together(lambda job: job.meet(endings[job.index])) == [verdict] * 3
    assert together(lambda job: job.leave(Ending())) == [0, 0, 0]


def test_a_beat_that_stands_still_is_noticed(together):
    heard, service = {}, Service()
    job = Job()
    job.count, job._service, job._patience = 3, service, 10
    for second in range(15):
        for index in (0, 1, 2):
            if index < 2 or second < 3:
                service.key_value_set(f"jaxlib_methods/beat/{index}", str(second), allow_overwrite=True)
        silent = job._silent(heard, 100.0 + second)
        assert silent == (2 if second > 12 else None)
