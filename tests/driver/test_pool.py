"""The choice among several servers, without one."""

from __future__ import annotations

import threading
import time

import pytest

from distillery.driver.cancel import CancelToken
from distillery.driver.errors import JobCancelled, ServerError
from distillery.driver.server.endpoint import Endpoint
from distillery.driver.server.pool import PooledServer, ServerPool, best
from distillery.driver.server.servers import GivenServer


def member(name: str, **state) -> PooledServer:
    class Down(GivenServer):
        def connect(self, say, cancel=None):
            raise ServerError(f"{self.name} is down.")

    made = PooledServer(Down(Endpoint(name)))
    for key, value in state.items():
        setattr(made, key, value)
    return made


def test_the_least_busy_server_is_taken_counting_queue_and_own_jobs():
    a, b, c = member("a", load=3), member("b", load=1, in_flight=1), member("c", load=1)
    assert best([a, b, c], [True] * 3, None, 2) is c
    assert best([a, b, c], [True, True, False], None, 2) is b
    b.in_flight = 2
    assert best([a, b, c], [True, True, False], None, 2) is a


def test_a_server_that_has_the_checkpoint_comes_first_and_is_waited_for():
    a, b = member("a"), member("b", load=9, checkpoints=["folder/Dream_v8.safetensors"])
    assert best([a, b], [True, True], "dream_v8.ckpt", 2) is b
    assert best([a, b], [True, True], "other", 2) is a
    b.in_flight = 2
    assert best([a, b], [True, True], "dream_v8.ckpt", 2) is None
    assert best([a, b], [True, False], "dream_v8.ckpt", 2) is a, "none that can be used has it"


def test_a_failing_server_is_set_aside_for_longer_each_time():
    pool = ServerPool([member("a"), member("b")])
    pauses = []
    for _ in range(8):
        pool.mark_failed(pool.servers[0], ServerError("x"))
        pauses.append(pool.servers[0].retry_at - time.monotonic())
    assert [round(pause) for pause in pauses] == [2, 4, 8, 16, 32, 60, 60, 60]
    pool.mark_healthy(pool.servers[0])
    assert pool.servers[0].retry_at == 0


def test_no_server_at_all_is_an_error_that_names_each():
    pool = ServerPool([member("http://a"), member("http://b")])
    with (
        pytest.raises(ServerError, match=r"None of the 2 servers.*http://a is down.*http://b is down"),
        pool.slot(0, None, CancelToken()),
    ):
        pass


def test_a_cancelled_job_does_not_wait_for_a_server():
    token = CancelToken()
    pool = ServerPool([member("a", in_flight=2)])
    threading.Timer(0.1, token.cancel).start()
    with pytest.raises(JobCancelled), pool.slot(0, None, token):
        pass
    assert pool.servers[0].in_flight == 2


def test_a_job_that_is_about_to_come_is_let_go_first_but_not_for_long():
    pool = ServerPool([member("a")], max_in_flight=1)
    order: list[int] = []

    def take(rank: int) -> None:
        with pool.slot(rank, None, CancelToken()):
            order.append(rank)

    def first() -> None:
        time.sleep(0.2)
        take(0)

    pool.announce(0)
    thread = threading.Thread(target=first)
    thread.start()
    take(1)
    thread.join()
    assert order == [0, 1]
    pool.announce(2)
    started = time.monotonic()
    take(3)
    assert time.monotonic() - started < 0.5, "a server that has nothing to do is not kept waiting"
