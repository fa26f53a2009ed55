"""Submitting, the order of the queue, limits: all in SQL, on a real PostgreSQL."""

from __future__ import annotations

import time
import uuid
from collections import Counter

import psycopg
import pytest
from cluster_workers import waiting_job

from distillery.driver.cluster.errors import ClusterError, LimitReached
from distillery.driver.cluster.submission import submit

CLAIM = "SELECT * FROM distillery_claim_v1(%s, NULL, %s::text[], %s::text[])"
WORKER = str(uuid.uuid4())


def claim(cluster, loaded=(), elsewhere=(), worker=WORKER):
    return cluster.database.row(CLAIM, worker, list(loaded), list(elsewhere))


def finish(cluster, row, seconds=1.0, switched=False):
    return cluster.database.value(
        "SELECT distillery_store_v1(%s, %s, %s, '{}', 'results/x.png', %s, %s)",
        row["job_id"], WORKER, row["run"], seconds, switched,
    )  # fmt: skip


def test_an_id_that_is_submitted_twice_is_one_job(cluster):
    job = waiting_job()
    assert not cluster.submit(job).again
    assert cluster.submit(job).again
    assert cluster.states() == {"queued": 1}
    assert cluster.ledger() == {"accepted": 1}


def test_the_id_of_another_job_is_refused(cluster):
    job = waiting_job()
    cluster.submit(job)
    with pytest.raises(ClusterError, match="that of another job"):
        cluster.submit(waiting_job(77, id=job.job.id))
    with pytest.raises((ClusterError, psycopg.errors.UniqueViolation)):
        cluster.submit(waiting_job(10, user="other", id=job.job.id))


def test_a_job_is_accepted_together_with_what_its_caller_writes_or_not_at_all(cluster):
    with cluster.database.connection() as connection:
        connection.execute("CREATE TABLE requests (id text)")
        with pytest.raises(RuntimeError), connection.transaction():
            connection.execute("INSERT INTO requests VALUES ('a')")
            submit(connection, waiting_job())
            raise RuntimeError
        assert cluster.states() == {}
        with connection.transaction():
            connection.execute("INSERT INTO requests VALUES ('a')")
            submit(connection, waiting_job())
    assert cluster.states() == {"queued": 1}
    assert cluster.database.value("SELECT count(*) FROM procrastinate_jobs") == 1


def test_one_job_behind_another_users_hundred_is_the_next(cluster):
    for _ in range(100):
        cluster.submit(waiting_job(user="many"), estimate=False)
    first = claim(cluster)
    finish(cluster, first)
    mine = waiting_job(user="one")
    cluster.submit(mine)
    assert mine.job.id == claim(cluster)["job_id"]


def test_shares_go_by_the_weights_of_the_tiers(cluster):
    cluster.database.rows("INSERT INTO distillery_tiers (name, weight) VALUES ('gold', 3) RETURNING name")
    for _ in range(120):
        cluster.submit(waiting_job(user="a", tier="gold"), estimate=False)
        cluster.submit(waiting_job(user="b"), estimate=False)
    users = Counter(claim(cluster)["job"]["user"] for _ in range(120))
    assert users["a"] == pytest.approx(90, abs=3)


def test_limits_refuse_honestly_and_the_rest_is_accepted(cluster):
    cluster.database.rows(
        "INSERT INTO distillery_tiers (name, max_queued, max_daily) VALUES ('free', 2, 3) RETURNING name"
    )
    for _ in range(2):
        cluster.submit(waiting_job(tier="free"))
    with pytest.raises(LimitReached, match=r"has 2 jobs waiting, and 2 is the limit of the tier free. Wait"):
        cluster.submit(waiting_job(tier="free"))
    finish(cluster, claim(cluster))
    cluster.submit(waiting_job(tier="free"))
    finish(cluster, claim(cluster))
    with pytest.raises(LimitReached, match=r"has had 3 jobs today, and 3 a day is the limit .* midnight UTC"):
        cluster.submit(waiting_job(tier="free"))
    cluster.submit(waiting_job(tier="free", user="somebody else"))
    with pytest.raises(ClusterError, match=r"no tier 'silver'; there are '', 'free'"):
        cluster.submit(waiting_job(tier="silver"))


def test_a_user_runs_no_more_than_its_tier_allows_and_holds_nobody_up(cluster):
    cluster.database.rows("INSERT INTO distillery_tiers (name, max_running) VALUES ('free', 1) RETURNING name")
    for _ in range(70):
        cluster.submit(waiting_job(user="a", tier="free"), estimate=False)
    first = claim(cluster)
    assert first is not None and claim(cluster) is None
    cluster.submit(waiting_job(user="b"))
    assert claim(cluster)["job"]["user"] == "b"
    finish(cluster, first)
    assert claim(cluster)["job"]["user"] == "a"


def test_what_is_loaded_goes_first_among_the_jobs_of_a_user(cluster):
    jobs = [waiting_job(checkpoint=name) for name in ("a.safetensors", "b.ckpt", "sub/A.safetensors", "b.ckpt")]
    for job in jobs:
        cluster.submit(job)
    order = [claim(cluster, loaded=["b"])["job_id"] for _ in range(4)]
    assert order[:2] == [jobs[1].job.id, jobs[3].job.id] and set(order[2:]) == {jobs[0].job.id, jobs[2].job.id}


def test_nothing_is_passed_over_more_than_64_times(cluster):
    odd = waiting_job(checkpoint="odd")
    cluster.submit(odd)
    for _ in range(300):
        cluster.submit(waiting_job(checkpoint="loaded"), estimate=False)
    order = []
    while odd.job.id not in order:
        order.append(claim(cluster, loaded=["loaded"])["job_id"])
    assert 30 <= len(order) - 1 <= 64


def test_a_job_that_comes_back_from_below_the_floor_is_found(cluster):
    for _ in range(5):
        cluster.submit(waiting_job(user="many"), estimate=False)
    first = claim(cluster)
    claim(cluster)
    floor = "SELECT last_value FROM distillery_floor"
    cluster.database.rows("SELECT distillery_floor_v1()")
    assert cluster.database.value(floor) > first["job"].get("virtual_start", 0)
    cluster.database.value("SELECT distillery_requeue_v1(%s, 1, 'drained', '{}')", first["job_id"])
    assert cluster.database.value(floor) == 0
    assert claim(cluster)["job_id"] == first["job_id"]
    for _ in range(3):
        finish(cluster, claim(cluster))
    cluster.database.rows("UPDATE distillery_settings SET value = '0' WHERE name = 'floor'")
    cluster.database.rows("SELECT distillery_floor_v1()")  # nothing waits
    late = waiting_job(user="new")
    cluster.submit(late)
    assert claim(cluster)["job_id"] == late.job.id


def test_what_is_loaded_goes_first_however_long_the_queue_has_been_worked_on(cluster):
    """Places in the queue are not taken for being passed over: otherwise all would be due, and the order that of their coming."""
    for n in range(240):
        cluster.submit(waiting_job(checkpoint=f"m{n % 4}"), estimate=False)
    models = [claim(cluster, loaded=["m0"])["model"] for _ in range(12)]
    loaded, switches = models[-1], 0
    for _ in range(150):
        model = claim(cluster, loaded=[loaded])["model"]
        switches += model != loaded
        loaded = model
    assert switches < 40


def test_what_another_worker_has_is_left_to_it_and_what_none_has_is_not(cluster):
    theirs, nobodys = waiting_job(checkpoint="theirs"), waiting_job(checkpoint="nobodys")
    cluster.submit(theirs)
    cluster.submit(nobodys)
    assert claim(cluster, elsewhere=["theirs"])["job_id"] == nobodys.job.id
    assert claim(cluster, elsewhere=["theirs"]) is None
    assert claim(cluster)["job_id"] == theirs.job.id


def test_the_wait_is_estimated_from_measured_seconds(cluster):
    for megapixels_side in (64, 128, 192, 256) * 3:
        job = waiting_job()
        cluster.submit(type(job)(job.job, job.image, megapixels_side, megapixels_side), estimate=False)
        row = claim(cluster)
        finish(cluster, row, seconds=1 + 10 * row["job"]["megapixels"])
    cost = cluster.database.value("SELECT distillery_cost_v1(NULL, 1.0)")
    assert cost == pytest.approx(11, rel=0.05)
    cluster.database.rows("SELECT distillery_beat_v1(%s, 'w', '1', 2, '{}', 'ready', NULL)", WORKER)
    accepted = [cluster.submit(waiting_job()) for _ in range(6)]
    assert [a.place for a in accepted] == [1, 2, 3, 4, 5, 6]
    assert accepted[0].slots == 2 and accepted[0].seconds == 0
    each = 1 + 10 * waiting_job().megapixels
    assert accepted[5].seconds == pytest.approx(5 * each / 2, rel=0.15)


def test_a_deadline_that_passed_in_the_queue_ends_the_job(cluster):
    job = waiting_job(deadline=time.time() - 1)
    cluster.submit(job)
    assert claim(cluster) is None
    assert cluster.job(job.job.id)["state"] == "expired"
    assert cluster.balances()


def test_a_later_result_of_the_same_job_is_dropped(cluster):
    job = waiting_job()
    cluster.submit(job)
    zombie = claim(cluster)
    cluster.database.value("SELECT distillery_requeue_v1(%s, %s, 'death', '{}')", job.job.id, zombie["run"])
    second = claim(cluster, worker=str(uuid.uuid4()))
    assert second["run"] == 2
    assert finish(cluster, zombie) is True
    assert finish(cluster, second) is False
    assert cluster.database.value("SELECT count(*) FROM distillery_results") == 1
    assert cluster.ledger()["dropped"] == 1 and cluster.balances()


def test_an_earlier_run_ends_no_later_one(cluster):
    job = waiting_job()
    cluster.submit(job)
    zombie = claim(cluster)
    cluster.database.value("SELECT distillery_requeue_v1(%s, %s, 'death', '{}')", job.job.id, zombie["run"])
    claim(cluster)
    assert cluster.database.value("SELECT distillery_fail_v1(%s, 1, 'failed', '{}', 1)", job.job.id) is False
    assert cluster.job(job.job.id)["state"] == "running"


def test_the_third_worker_that_dies_with_a_job_is_its_last_and_it_can_be_replayed(cluster):
    job = waiting_job()
    cluster.submit(job)
    for expected in ("queued", "queued", "failed"):
        row = claim(cluster)
        dead = '{"kind": "dead"}'
        state = cluster.database.value(
            "SELECT distillery_requeue_v1(%s, %s, 'death', %s::jsonb)", job.job.id, row["run"], dead
        )
        assert state == expected
    assert cluster.database.value("SELECT distillery_replay_v1(%s)", job.job.id) == "failed"
    finish(cluster, claim(cluster))
    assert cluster.states() == {"done": 1} and cluster.balances()
    assert cluster.database.value("SELECT count(*) FROM procrastinate_jobs") == 0
