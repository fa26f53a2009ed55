"""What a cluster holds and how fast: a soak with kills, recovery, claims, fairness, affinity, cancelling, scaling.

    ./distillery python benchmarks/cluster.py soak --jobs 2000
    ./distillery python benchmarks/cluster.py claims | dead | outage | fairness | affinity | cancel | scaling | estimate | simulate

Each on a PostgreSQL of its own (the system's, else the wheel's, with fsync) and workers in processes of their own, whose
jobs only wait. Prints one line of JSON a measurement; benchmarks/results/cluster.md has what came out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "benchmarks")]

from cluster_bench import Bench, bench, workers, workers_more  # noqa: E402
from cluster_queue import affinity, claims, estimate, fairness, scaling, simulate  # noqa: E402
from cluster_workers import WorkerProcess, waiting_job  # noqa: E402

from distillery.driver.cluster.database import OUTAGE  # noqa: E402
from distillery.driver.cluster.values import ClusterJob, Deliver  # noqa: E402


def soak(
    jobs: int = 2000, number: int = 4, every: float = 5.0, dead_after: float = 6.0, at_least: int = 0
) -> dict[str, Any]:
    """Jobs of 50 to 400 ms on workers of which one is killed every few seconds, and PostgreSQL in between.

    However fast the machine, `at_least` kills are spread evenly over the jobs' course.
    """
    rng, started = random.Random(1), time.monotonic()
    with bench() as made:
        more = ("--dead-after", str(dead_after))
        running = [WorkerProcess(made.url, made.store.url, 2, *more) for _ in range(number)]
        given = [waiting_job(rng.randrange(50, 400), user=f"u{n % 7}") for n in range(jobs)]
        submitting = threading.Thread(target=_submit_through_outages, args=(made, given))
        submitting.start()
        stop, delivered = threading.Event(), [0]
        bot = threading.Thread(target=_deliver, args=(made, stop, delivered))
        bot.start()
        kills = {"worker": 0, "PostgreSQL": 0}
        last, turn = time.monotonic(), 0

        def ended() -> int:
            with contextlib.suppress(OUTAGE):
                return sum(n for state, n in made.states().items() if state not in ("queued", "running"))
            return 0

        while (done := ended()) < jobs:
            due = turn < at_least and done >= jobs * (turn + 1) / (at_least + 1)
            if due or time.monotonic() - last > every:
                last, turn = time.monotonic(), turn + 1
                if turn % 6 == 0:
                    made.postgres.stop("immediate")
                    made.postgres.start()
                    kills["PostgreSQL"] += 1
                else:
                    index = rng.randrange(number)
                    running[index].kill()
                    running[index] = WorkerProcess(made.url, made.store.url, 2, *more)
                    kills["worker"] += 1
            time.sleep(0.3)
        submitting.join()
        pending = "SELECT count(*) FROM distillery_deliveries WHERE state = 'pending'"
        made.wait_for(lambda: made.database.value(pending) == 0, 60)
        stop.set()
        bot.join()
        for worker in running:
            worker.kill()
        return {
            "what": "soak", "jobs": jobs, "workers": number, "kills": kills, "states": made.states(), **made.ledger(),
            "deliveries": delivered[0],
            "run_more_than_once": made.database.value("SELECT count(*) FROM distillery_jobs WHERE run > 1"),
            "results": made.database.value("SELECT count(*) FROM distillery_results"),
            "seconds": round(time.monotonic() - started, 1),
        }  # fmt: skip


def _submit_through_outages(made: Bench, jobs: list[ClusterJob]) -> None:
    for at in range(0, len(jobs), 50):
        while True:
            try:
                made.submit(*jobs[at : at + 50], deliver=(Deliver("bot", "channel"),))
                break
            except OUTAGE:
                time.sleep(0.5)  # the ids make a second submission the same jobs


def _deliver(made: Bench, stop: threading.Event, delivered: list[int]) -> None:
    """A bot: takes deliveries and marks them."""
    while not stop.is_set():
        try:
            row = made.database.row("SELECT * FROM distillery_take_delivery_v1(ARRAY['bot'], 5)")
            if row is None:
                time.sleep(0.1)
                continue
            made.database.rows(
                "UPDATE distillery_deliveries SET state = 'delivered', delivered = now() WHERE id = %s RETURNING id",
                row["id"],
            )
            delivered[0] += 1
        except OUTAGE:
            time.sleep(0.5)


def dead(times: int = 3) -> dict[str, Any]:
    """Seconds from the SIGKILL of a worker until its job is run elsewhere, at the defaults."""
    took = []
    for _ in range(times):
        with bench() as made, workers(made, 1) as (victim,):
            made.submit(waiting_job(3_600_000))
            made.wait_for(lambda made=made: made.states() == {"running": 1})
            with workers_more(made, 1):
                time.sleep(12)
                victim.kill()
                query = "SELECT run FROM distillery_jobs WHERE state = 'running'"
                took.append(made.wait_for(lambda made=made, query=query: made.database.value(query) == 2, 90))
    return {"what": "dead worker", "seconds": [round(t, 1) for t in took]}


def outage(seconds: float = 60) -> dict[str, Any]:
    """PostgreSQL away in the middle of jobs: how many are run again."""
    with bench() as made, workers(made, 4):
        made.submit(*[waiting_job(int(1000 * length)) for length in (10, 30, seconds + 15, seconds + 30)])
        made.wait_for(lambda: made.states() == {"running": 4})
        made.postgres.stop("immediate")
        time.sleep(seconds)
        made.postgres.start()
        took = made.wait_for(lambda: made.states() == {"done": 4}, 180)
        again = made.database.value("SELECT count(*) FROM distillery_jobs WHERE run > 1")
        return {
            "what": "outage",
            "seconds_away": seconds,
            "run_again": again,
            "done_after": round(took, 1),
            **made.ledger(),
        }


def cancel(times: int = 40) -> dict[str, Any]:
    """Seconds from the wish to cancel a running job until it is cancelled."""
    took = []
    with bench() as made, workers(made, 2) as _:
        for _ in range(times):
            job = waiting_job(600_000)
            made.submit(job)
            state = "SELECT state FROM distillery_jobs WHERE id = %s"
            made.wait_for(lambda state=state, job=job: made.database.value(state, job.job.id) == "running", 30, 0.02)
            time.sleep(random.random())
            made.database.value("SELECT distillery_cancel_v1(%s)", job.job.id)
            took.append(
                made.wait_for(
                    lambda state=state, job=job: made.database.value(state, job.job.id) == "cancelled", 30, 0.01
                )
            )
    return {
        "what": "cancel",
        "times": times,
        "median_s": round(statistics.median(took), 3),
        "p95_s": round(sorted(took)[int(0.95 * times)], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what",
        choices=(
            "soak",
            "dead",
            "outage",
            "claims",
            "fairness",
            "affinity",
            "cancel",
            "scaling",
            "estimate",
            "simulate",
        ),
    )
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--hold", type=float, default=0)
    options = parser.parse_args()
    calls: dict[str, Callable[[], Any]] = {
        "soak": lambda: soak(options.jobs or 2000), "dead": dead, "outage": lambda: outage(options.seconds or 60),
        "claims": lambda: claims(options.jobs or 50_000, seconds=options.seconds or 20, hold=options.hold),
        "fairness": fairness, "affinity": lambda: affinity(options.jobs or 600), "cancel": cancel, "scaling": lambda: scaling(options.seconds or 5),
        "estimate": lambda: estimate(options.jobs or 120), "simulate": simulate,
    }  # fmt: skip
    found = calls[options.what]()
    for row in found if isinstance(found, list) else [found]:
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
