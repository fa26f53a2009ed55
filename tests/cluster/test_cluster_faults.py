"""Faults at every step, on real services: a job is done once, or there is one clear error."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time

import psycopg
import pytest
from cluster_database import new_cluster
from cluster_workers import PNG, PNG_NAME, WorkerProcess, task_for, two_workers, until, waiting_job
from faulty_line import Line
from postgres import Postgres

from distillery.benchmarks import cluster as bench
from distillery.driver import CancelToken, Message
from distillery.driver.cluster.backend import ClusterBackend
from distillery.driver.cluster.store import Store, folder_url

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_postgres():
    """A PostgreSQL that these tests end as they like, with fsync."""
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture
def cluster(own_postgres, tmp_path):
    made = new_cluster(own_postgres, tmp_path)
    yield made
    made.database.close()


def test_postgresql_ends_and_comes_back_in_the_middle_of_a_job(cluster, own_postgres, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATABASE", cluster.url)
    monkeypatch.setenv("DISTILLERY_STORE", cluster.store.url)
    backend, said, results = ClusterBackend("env", user="me"), [], []
    # Away for longer than a worker may be silent: nobody is to look dead afterwards.
    workers = [WorkerProcess(cluster.url, cluster.store.url, 1, "--dead-after", "8") for _ in range(2)]
    until(lambda: cluster.database.value("SELECT count(*) FROM distillery_workers WHERE state = 'ready'") == 2)
    task = task_for(tmp_path, 10_000)
    thread = threading.Thread(target=lambda: results.append(backend.run(task, said.append, CancelToken())))
    thread.start()
    until(lambda: cluster.states() == {"running": 1})
    other = waiting_job(30_000)
    cluster.submit(other)
    until(lambda: cluster.states() == {"running": 2})
    own_postgres.stop("immediate")
    time.sleep(14)  # the job ends meanwhile
    own_postgres.start()
    thread.join(60)
    assert results and results[0].path.is_file()
    assert any(isinstance(e, Message) and "does not answer" in e.text for e in said)
    until(lambda: cluster.states() == {"done": 2}, 90)
    assert cluster.job(task.job.id)["run"] == cluster.job(other.job.id)["run"] == 1 and cluster.balances()
    backend.close()
    assert [worker.end() for worker in workers] == [0, 0]


def test_a_job_that_is_submitted_while_postgresql_restarts_is_accepted_once(
    cluster, own_postgres, tmp_path, monkeypatch
):
    monkeypatch.setenv("DISTILLERY_DATABASE", cluster.url)
    monkeypatch.setenv("DISTILLERY_STORE", cluster.store.url)
    backend = ClusterBackend("env", user="me")
    backend.start(lambda text: None)
    worker = WorkerProcess(cluster.url, cluster.store.url)
    until(lambda: cluster.database.value("SELECT count(*) FROM distillery_workers WHERE state = 'ready'") == 1)
    own_postgres.stop("immediate")
    timer = threading.Timer(3, own_postgres.start)
    timer.start()
    assert backend.run(task_for(tmp_path, 10), lambda event: None, CancelToken()).path.is_file()
    assert cluster.ledger()["accepted"] == 1 and cluster.states() == {"done": 1}
    backend.close()
    worker.end()


@pytest.mark.parametrize("heals", ["before", "after"])
def test_a_worker_that_is_silent_for_long_and_comes_back(cluster, heals):
    """Frozen, as a worker whose network is gone is for all others: its job is done once, whoever is first."""
    job = waiting_job(4000)
    worker, other = two_workers(cluster, job, 5)
    worker.signal(signal.SIGSTOP)
    until(lambda: cluster.job(job.job.id)["run"] == 2, 90)
    if heals == "after":
        until(lambda: cluster.states() == {"done": 1}, 90)
    worker.signal(signal.SIGCONT)
    until(lambda: cluster.states() == {"done": 1}, 90)
    until(lambda: cluster.database.value("SELECT count(*) FROM distillery_workers") == 2, 90)  # it is taken back
    assert cluster.database.value("SELECT count(*) FROM distillery_results") == 1 and cluster.balances()
    assert worker.end() == 0 and other.end() == 0


@pytest.mark.parametrize("heals", ["before", "after"])
def test_a_worker_whose_way_to_the_database_is_gone_goes_on_and_stores_its_result(cluster, own_postgres, heals):
    """A network that lets nothing through and closes nothing: healed before and after the end of the job."""
    line = Line(f"http://127.0.0.1:{own_postgres.port}")
    url = cluster.url.replace(f":{own_postgres.port}/", f":{line.url.rpartition(':')[2]}/")
    worker = WorkerProcess(url, cluster.store.url, 1, "--dead-after", "60")
    job = waiting_job(6000)
    cluster.submit(job)
    until(lambda: cluster.states() == {"running": 1})
    line.flowing.clear()
    time.sleep(2 if heals == "before" else 12)
    line.flowing.set()
    until(lambda: cluster.states() == {"done": 1}, 90)
    assert cluster.job(job.job.id)["run"] == 1 and cluster.balances()
    worker.end()
    line.close()


def test_no_statement_of_a_worker_leaves_a_transaction_open(cluster):
    """A worker that is frozen between a statement and its commit would keep the others from burying it."""
    worker = cluster.worker()
    until(lambda: worker.worker.ready)
    connector = worker.worker._connector

    async def open_transactions() -> list[bool]:
        async with connector.pool.connection() as connection:
            await connection.execute("SELECT 1")
            return [connection.autocommit, connection.info.transaction_status.name == "IDLE"]

    future = asyncio.run_coroutine_threadsafe(open_transactions(), worker.loop)
    assert future.result(10) == [True, True]
    worker.stop()


def test_a_full_disk_keeps_the_result_until_there_is_room(cluster, tmp_path):
    store = tmp_path / "full"
    store.mkdir()
    if (
        os.name != "posix"
        or os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "x", store]).returncode
    ):
        pytest.skip("a small disk can only be made by root")
    try:
        full = Store(folder_url(store))
        full.put(PNG_NAME, PNG)
        worker = WorkerProcess(cluster.url, full.url)
        until(lambda: cluster.database.value("SELECT count(*) FROM distillery_workers WHERE state = 'ready'") == 1)
        filler = store / "filler"
        with contextlib.suppress(OSError):
            filler.write_bytes(b"x" * 65536)
        job = waiting_job(10)
        # Told to whoever follows the job: in the row it is still running.
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute(f"LISTEN distillery_job_{job.job.id}")
            cluster.submit(job)
            told = [n.payload for n in connection.notifies(timeout=4)]
        assert any("cannot be written" in text and "No space left" in text for text in told), told
        assert cluster.states() == {"running": 1}
        filler.unlink()
        until(lambda: cluster.states() == {"done": 1}, 90)
        assert cluster.job(job.job.id)["run"] == 1
        worker.end()
    finally:
        subprocess.run(["umount", "-l", store])


def test_a_short_soak_loses_nothing_and_delivers_nothing_twice():
    found = bench.soak(jobs=150, number=3, every=4.0, at_least=3)
    assert found["states"] == {"done": 150} and found["results"] == 150
    assert found["lost"] == 0 and found["delivered_twice"] == 0 and found["deliveries"] >= 150
    assert found["kills"]["worker"] >= 2
