"""Jobs on workers, from the submission to the file: with a backend that waits, on a real PostgreSQL."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from cluster_workers import (
    WaitingBackend,
    WorkerProcess,
    WorkerThread,
    task_for,
    two_workers,
    until,
    waiting_job,
    waiting_slot,
)

from distillery.driver import CancelToken, JobCancelled, JobError, Message, Preview, Stage, Step
from distillery.driver.cluster.backend import ClusterBackend
from distillery.driver.cluster.errors import ClusterError
from distillery.driver.errors import JobLost

pytestmark = pytest.mark.slow


@pytest.fixture
def backend(cluster, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATABASE", cluster.url)
    made = ClusterBackend("env", user="me")
    monkeypatch.setenv("DISTILLERY_STORE", cluster.store.url)
    yield made
    made.close()


def test_a_job_is_submitted_followed_and_its_result_fetched(cluster, backend, tmp_path):
    worker = cluster.worker()
    try:
        events = []
        task = task_for(tmp_path, 2500, preview=True)
        begun = []
        result = backend.run(task, events.append, CancelToken(), lambda: begun.append(1))
    finally:
        worker.stop()
    assert result.path == tmp_path / "out" / "a_2x.png" and result.path.read_bytes() == task.image.png
    assert (result.job_id, result.source_hash, begun) == (task.job.id, task.job.source_hash, [1])
    assert result.seconds["Waiting"] == pytest.approx(2.5, abs=0.5)
    assert {"Waiting", "Saving"} >= {e.title for e in events if isinstance(e, Stage)} >= {"Waiting"}
    assert any(isinstance(e, Step) and e.maximum == 4 for e in events)
    assert [e.image for e in events if isinstance(e, Preview)] == [task.image.png]
    assert cluster.states() == {"done": 1} and cluster.balances()
    assert cluster.database.value("SELECT count(*) FROM distillery_workers") == 0


def test_without_a_worker_it_is_said_at_once_and_the_job_waits_for_one(cluster, backend, tmp_path):
    said = []
    token = CancelToken()
    thread = threading.Thread(target=lambda: backend.run(task_for(tmp_path, 1), said.append, token))
    thread.start()
    until(lambda: cluster.states() == {"queued": 1})
    until(lambda: any(isinstance(e, Message) and "No worker is there" in e.text for e in said))
    worker = cluster.worker()
    thread.join(20)
    assert not thread.is_alive()
    worker.stop()


@pytest.mark.parametrize("running", [False, True])
def test_a_job_is_cancelled_wherever_it_is(cluster, backend, tmp_path, running):
    worker = cluster.worker() if running else None
    token, caught = CancelToken(), []

    def work():
        try:
            backend.run(task_for(tmp_path, 60_000), lambda event: None, token)
        except JobCancelled as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: cluster.states() == {"running" if running else "queued": 1})
    asked = time.monotonic()
    token.cancel()
    thread.join(10)
    assert caught and time.monotonic() - asked < 3
    assert cluster.states() == {"cancelled": 1} and cluster.balances()
    if worker is not None:
        worker.stop()


def test_the_jobs_own_failure_is_told_and_the_worker_goes_on(cluster, backend, tmp_path):
    def fail(task):
        if "--seed 13 " in task.job.command:
            raise JobError("The model does not like it.", "KSampler", "Take another.")

    worker = cluster.worker(WaitingBackend(fail=fail))
    with pytest.raises(JobError, match=r"The model does not like it. Take another.") as caught:
        backend.run(task_for(tmp_path, 13), lambda event: None, CancelToken())
    assert caught.value.node == "KSampler"
    backend.run(task_for(tmp_path, 14), lambda event: None, CancelToken())
    worker.stop()
    assert cluster.states() == {"failed": 1, "done": 1} and cluster.balances()


def test_a_servers_failure_sends_the_job_elsewhere_and_a_bad_worker_takes_itself_out(cluster, backend, tmp_path):
    def lost(task):
        raise JobLost("The server ended.")

    bad = cluster.worker(WaitingBackend(fail=lost))
    job = waiting_job()
    cluster.submit(job)
    until(lambda: cluster.job(job.job.id)["faults"] >= 1)
    good = cluster.worker()
    until(lambda: cluster.states().get("done", 0) + cluster.states().get("failed", 0) == 1)
    bad.stop()
    good.stop()
    assert cluster.balances()


def test_a_worker_that_fails_three_known_good_jobs_ends_with_the_reason(cluster, monkeypatch):
    monkeypatch.setattr("distillery.driver.cluster.slots.REST", (0.05, 0.05))

    def fail(task):
        raise JobError("CUDA is broken.")

    worker = WorkerThread(cluster.options(warm_up=True), waiting_slot(WaitingBackend(fail=fail)))
    cluster.submit(waiting_job())
    worker.join()
    assert isinstance(worker.error, ClusterError)
    assert "takes itself out" in str(worker.error) and "CUDA is broken." in str(worker.error)
    assert cluster.states() == {"queued": 1}


def test_a_picture_that_expired_fails_the_job_with_what_to_do(cluster):
    job = waiting_job()
    cluster.submit(type(job)(job.job, "f" * 64, 64, 64))
    worker = cluster.worker()
    until(lambda: cluster.states() == {"failed": 1})
    worker.stop()
    error = cluster.job(job.job.id)["error"]
    assert error["kind"] == "source" and "Submit it again" in error["advice"]


def test_a_deadline_ends_a_running_job(cluster):
    job = waiting_job(60_000, deadline=time.time() + 2)
    cluster.submit(job)
    worker = cluster.worker()
    until(lambda: cluster.states() == {"expired": 1}, 10)
    worker.stop()


def test_a_store_that_is_away_keeps_the_result_until_it_is_back(cluster, tmp_path):
    job = waiting_job(500)
    cluster.submit(job)
    worker = cluster.worker()
    until(lambda: cluster.states() == {"running": 1})
    folder = tmp_path / "store"
    results = folder / "results"
    results.write_text("in the way")  # no folder can be made here
    time.sleep(2)
    assert cluster.states() == {"running": 1}
    results.unlink()
    until(lambda: cluster.states() == {"done": 1})
    worker.stop()
    assert cluster.job(job.job.id)["run"] == 1


def test_sigterm_lets_the_running_job_end_and_takes_no_other(cluster):
    first, second = waiting_job(2000), waiting_job(2000)
    worker = WorkerProcess(cluster.url, cluster.store.url)
    cluster.submit(first)
    until(lambda: cluster.states() == {"running": 1})
    cluster.submit(second)
    assert worker.end() == 0
    assert cluster.job(first.job.id)["state"] == "done" and cluster.job(second.job.id)["state"] == "queued"


def test_after_the_grace_a_job_goes_back_and_no_attempt_is_counted(cluster):
    job = waiting_job(60_000)
    worker = WorkerProcess(cluster.url, cluster.store.url, 1, "--grace", "1")
    cluster.submit(job)
    until(lambda: cluster.states() == {"running": 1})
    assert worker.end() == 0
    row = cluster.job(job.job.id)
    assert (row["state"], row["deaths"], row["faults"]) == ("queued", 0, 0)
    assert cluster.database.value("SELECT status FROM procrastinate_jobs") == "todo"


def test_a_killed_workers_job_is_run_elsewhere(cluster):
    job = waiting_job(5000)
    victim, other = two_workers(cluster, job, 6)
    victim.signal(signal.SIGKILL)
    until(lambda: cluster.states() == {"done": 1}, 90)
    other.end()
    row = cluster.job(job.job.id)
    assert (row["run"], row["deaths"]) == (2, 1) and cluster.balances()
