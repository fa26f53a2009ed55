"""The queue of a cluster, measured: claims, shares, switches of checkpoint, scaling, estimates; and a simulation."""

from __future__ import annotations

import heapq
import math
import multiprocessing
import random
import statistics
import sys
import time
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "benchmarks")]

from cluster_bench import Bench, bench, workers  # noqa: E402
from cluster_workers import waiting_job  # noqa: E402

from distillery.driver.cluster.database import connect  # noqa: E402
from distillery.driver.cluster.values import ClusterJob  # noqa: E402


def _claimer(url: str, until: float, seconds: float, counts: Any, index: int) -> None:
    with connect(url) as connection:
        me, number, asked = str(uuid.uuid4()), 0, 0.0
        time.sleep(max(0, until - seconds - time.time()))  # all begin together
        while time.time() < until:
            if time.time() - asked > 2:  # as workers do
                asked = time.time()
                connection.execute("SELECT distillery_floor_v1()")
            row = connection.execute("SELECT * FROM distillery_claim_v1(%s, NULL, ARRAY['m1'], '{}')", (me,)).fetchone()
            if row is None:
                break
            number += 1
        counts[index] = number


def claims(queued: int = 50_000, processes: int = 8, seconds: float = 20, hold: float = 0) -> dict[str, Any]:
    """Claims a second. hold: seconds for which a transaction was open before, so that nothing could be vacuumed."""
    rng = random.Random(2)
    with bench() as made:
        models = [f"m{n}" for n in range(20)]
        weights = [1 / (n + 1) for n in range(20)]
        chosen = rng.choices(models, weights, k=queued)
        started = time.monotonic()
        made.submit(*[waiting_job(10, user=f"u{n % 500}", checkpoint=chosen[n]) for n in range(queued)])
        submitted = time.monotonic() - started
        made.database.rows("ANALYZE distillery_jobs")
        rates, held = [], None
        if hold:
            held = connect(made.url)
            held.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            held.execute("SELECT count(*) FROM distillery_jobs")
        rounds = max(1, math.ceil(hold / seconds)) if hold else 1
        for _ in range(rounds):
            fresh = multiprocessing.get_context("spawn")  # a fork would share the sockets of this process
            counts = fresh.Array("i", processes)
            until = time.time() + seconds + 5
            tasks = [
                fresh.Process(target=_claimer, args=(made.url, until, seconds, counts, n)) for n in range(processes)
            ]
            for task in tasks:
                task.start()
            for task in tasks:
                task.join()
            rates.append(sum(counts) / seconds)
            if hold:  # as many as were taken, so that the queue stays as long
                made.submit(*[waiting_job(10, user=f"u{n % 500}", checkpoint="m1") for n in range(sum(counts))])
        if held is not None:
            held.close()
        return {
            "what": "claims", "queued": queued, "processes": processes, "held_s": hold,
            "submitted_per_s": round(queued / submitted), "claims_per_s": [round(rate, 1) for rate in rates],
            "commits_per_s": commits(made),
        }  # fmt: skip


def commits(made: Bench, seconds: float = 5) -> int:
    """Commits a second of one connection on this disk."""
    with connect(made.url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS commits (n int)")
        until, number = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            connection.execute("INSERT INTO commits VALUES (1)")
            number += 1
    return round(number / seconds)


def fairness() -> dict[str, Any]:
    """One job behind another user's 500, and shares by weight."""
    with bench() as made, workers(made, 2) as _:
        made.submit(*[waiting_job(1000, user="many") for _ in range(500)])
        made.wait_for(lambda: made.states().get("done", 0) >= 4)
        mine = waiting_job(1000, user="one")
        made.submit(mine)
        query = "SELECT extract(epoch FROM started - created)::float FROM distillery_jobs WHERE id = %s AND started IS NOT NULL"
        made.wait_for(lambda: made.database.value(query, mine.job.id) is not None, 60)
        waited = made.database.value(query, mine.job.id)
    with bench() as made:
        made.database.rows("INSERT INTO distillery_tiers (name, weight) VALUES ('three', 3), ('two', 2) RETURNING name")
        for tier in ("", "two", "three"):
            made.submit(*[waiting_job(100, user=f"of {tier}", tier=tier) for _ in range(200)])
        with workers(made, 4) as _:
            made.wait_for(lambda: made.states().get("done", 0) >= 240)
            first = "(SELECT tier FROM distillery_jobs WHERE started IS NOT NULL ORDER BY started LIMIT 240) AS f"
            rows = made.database.rows(f"SELECT tier, count(*) FROM {first} GROUP BY tier")
    shares = {row["tier"] or "one": row["count"] for row in rows}
    total = sum(shares.values())
    wanted = {"one": 1 / 6, "two": 2 / 6, "three": 3 / 6}
    errors = {name: round(shares.get(name, 0) / total / share - 1, 3) for name, share in wanted.items()}
    return {"what": "fairness", "job_s": 1, "waited_s": round(waited, 2), "share_errors": errors}


def affinity(jobs: int = 600, number: int = 8) -> dict[str, Any]:
    """Switches of checkpoint with 20 of them by Zipf, and how often a job was passed over at most."""
    rng = random.Random(3)
    with bench() as made:
        names = [f"m{n}" for n in range(20)]
        chosen = rng.choices(names, [1 / (n + 1) for n in range(20)], k=jobs)
        made.submit(*[waiting_job(100, user=f"u{n % 40}", checkpoint=chosen[n]) for n in range(jobs)])
        models = ("--models", ",".join(names), "--load", "0.3")
        with workers(made, number, *models) as _:
            made.wait_for(lambda: made.states() == {"done": jobs})
        rows = made.database.rows(
            "SELECT id, number, worker::text, model, started, virtual_start, created FROM distillery_jobs ORDER BY started"
        )
        made_by: dict[str, str] = {}
        switches = 0
        for row in rows:
            switches += made_by.get(row["worker"]) != row["model"]
            made_by[row["worker"]] = row["model"]
        by_number = sorted(rows, key=lambda row: row["number"])
        # As all jobs cost the same, they are in the order of their numbers but for what is loaded.
        order = [row["number"] for row in rows]
        passed = max(sum(other > number for other in order[:at]) for at, number in enumerate(order))
        fifo = sum(a["model"] != b["model"] for a, b in zip(by_number, by_number[number:], strict=False)) / jobs
        return {
            "what": "affinity",
            "jobs": jobs,
            "workers": number,
            "switches": round(switches / jobs, 3),
            "in_order": round(fifo, 3),
            "passed_over_at_most": passed,
        }


def scaling(each: float = 5.0, jobs: int = 12) -> list[dict[str, Any]]:
    """1, 2, 4, 8 workers with jobs that wait: share of the ideal throughput, and what a job costs the database.

    The overhead of one worker foretells the others in the simulation: see :func:`serve`.
    """
    rows: list[dict[str, Any]] = []
    written = "SELECT pg_current_wal_lsn() - '0/0' AS bytes, xact_commit AS commits FROM pg_stat_database WHERE datname = current_database()"
    overhead = 0.0
    for number in (1, 2, 4, 8):
        with bench() as made, workers(made, number) as _:
            count = jobs * number
            before = made.database.row(written)
            made.submit(*[waiting_job(int(1000 * each)) for _ in range(count)])
            made.wait_for(lambda made=made, count=count: made.states() == {"done": count}, pause=2)
            after = made.database.row(written)
            seconds = made.database.value(
                "SELECT extract(epoch FROM max(finished) - min(started))::float FROM distillery_jobs"
            )
        if number == 1:
            overhead = seconds / count - each
        foretold = serve([0.0] * count, [each] * count, number, overhead)[0]
        rows.append({
            "what": "scaling", "workers": number, "jobs": count, "seconds": round(seconds, 2), "of_ideal":
            round(count * each / number / seconds, 4), "foretold_s": round(foretold, 2), "commits_a_job":
            round((after["commits"] - before["commits"]) / count, 1), "wal_bytes_a_job":
            int((after["bytes"] - before["bytes"]) / count),
        })  # fmt: skip
    return rows


def estimate(jobs: int = 120, number: int = 4) -> dict[str, Any]:
    """Error of the estimate of the wait: jobs of two models and of several sizes, after 40 to learn from."""
    rng = random.Random(4)
    with bench() as made, workers(made, number) as _:

        def some(count: int) -> list[ClusterJob]:
            made_jobs = []
            for _ in range(count):
                model = rng.choice(["small", "large"])
                side = rng.choice([256, 384, 512])
                megapixels = 4 * side * side / 1e6
                seconds = (0.6 + 1.2 * megapixels) * (1 if model == "small" else 2) * rng.uniform(0.85, 1.15)
                job = waiting_job(int(1000 * seconds), user=f"u{rng.randrange(5)}", checkpoint=model)
                made_jobs.append(ClusterJob(job.job, job.image, side, side))
            return made_jobs

        made.submit(*some(40))
        made.wait_for(lambda: made.states() == {"done": 40})
        for job in some(jobs):
            made.submit(job, estimate=True)
            time.sleep(rng.expovariate(1 / 0.45))
        made.wait_for(lambda: made.states() == {"done": 40 + jobs})
        rows = made.database.rows(
            "SELECT estimate, waited FROM distillery_ledger WHERE event = 'done' AND estimate IS NOT NULL AND waited > 2"
        )
        long = [abs(r["estimate"] - r["waited"]) / r["waited"] for r in rows if r["waited"] > 8]
        signed = [(row["estimate"] - row["waited"]) / row["waited"] for row in rows]
        errors = sorted(abs(error) for error in signed)
        return {
            "what": "estimate", "jobs": len(errors), "median": round(statistics.median(errors), 3),
            "p90": round(errors[int(0.9 * len(errors))], 3), "bias": round(statistics.median(signed), 3),
            "over_8_s": len(long), "median_over_8_s": round(statistics.median(long), 3) if long else None,
        }  # fmt: skip


def serve(
    arrivals: list[float], lengths: list[float], slots: int, overhead: float, database_s: float = 0.0
) -> tuple[float, list[float]]:
    """Simulate a queue; returns the end of the last job and the waits, in seconds.

    overhead: seconds a job beyond its length, in its slot. database_s: seconds a job of the database, one after the other.
    """
    free = [0.0] * slots
    database, end, waits = 0.0, 0.0, []
    for at, length in zip(arrivals, lengths, strict=True):
        begin = database = max(at, heapq.heappop(free), database) + database_s
        heapq.heappush(free, begin + length + overhead)
        end = max(end, begin + length + overhead)
        waits.append(begin - at)
    return end, waits


def simulate(
    slots: int = 1000, hours: float = 24, overhead: float = 0.12, rates: tuple[float, ...] = (200, 100, 75, 50, 40)
) -> list[dict[str, Any]]:
    """A day of bursts on many GPUs, with a database that claims so many jobs a second."""
    rng, clock = random.Random(5), 0.0
    arrivals: list[float] = []
    while clock < hours * 3600:
        burst = 0.9 if (clock // 3600) % 6 == 3 and clock % 3600 < 900 else 0.0
        load = 0.5 + 0.3 * math.sin(2 * math.pi * clock / 86400) + burst
        clock += rng.expovariate(load * slots / 20.0)
        arrivals.append(clock)
    lengths = [rng.lognormvariate(math.log(18), 0.45) for _ in arrivals]
    rows = []
    for rate in rates:
        end, waits = serve(arrivals, lengths, slots, overhead, 1 / rate)
        waits.sort()
        rows.append({
            "what": "simulation", "slots": slots, "hours": hours, "jobs": len(waits), "claims_per_s": rate, "median_wait_s":
            round(waits[len(waits) // 2], 2), "p99_wait_s": round(waits[int(0.99 * len(waits))], 1), "longest_wait_s":
            round(waits[-1], 1), "busy": round(sum(lengths) / slots / end, 3),
        })  # fmt: skip
    return rows
