"""Work on several things at a time, with the results in order."""

from __future__ import annotations

import threading
import time

import pytest

from distillery.driver.cancel import CancelToken
from distillery.driver.errors import SourceError
from distillery.driver.jobs.ordered_map import ordered


def test_results_come_in_order_however_long_each_takes():
    def work(index, seconds):
        time.sleep(seconds)
        return index

    assert list(ordered(work, [0.2, 0.0, 0.1, 0.0], 3, CancelToken())) == [0, 1, 2, 3]


def test_several_are_worked_on_at_a_time_and_no_more_than_that():
    running, most = 0, 0
    lock = threading.Lock()

    def work(index, _):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1

    list(ordered(work, range(8), 3, CancelToken()))
    assert most == 3


def test_an_error_comes_in_its_turn_and_ends_the_rest():
    token, begun = CancelToken(), []

    def work(index, _):
        begun.append(index)
        if index == 1:
            raise SourceError("no")
        time.sleep(0.05)
        return index

    results = ordered(work, range(50), 2, token)
    assert next(results) == 0
    with pytest.raises(SourceError):
        next(results)
    assert token.cancelled and len(begun) < 10


def test_stopping_early_cancels_and_waits_for_what_runs():
    token = CancelToken()

    def work(index, _):
        while index and not token.cancelled:
            time.sleep(0.01)
        return index

    results = ordered(work, range(5), 2, token)
    next(results)
    results.close()
    assert token.cancelled and not [t for t in threading.enumerate() if t.name.startswith("job_")]
