"""A cluster to measure: a PostgreSQL of its own, an empty store, workers in processes of their own."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from cluster_workers import PNG, PNG_NAME, WorkerProcess  # noqa: E402
from postgres import Postgres  # noqa: E402

from distillery.driver.cluster.database import OUTAGE, Database  # noqa: E402
from distillery.driver.cluster.schema import ensure_schema  # noqa: E402
from distillery.driver.cluster.store import Store, folder_url  # noqa: E402
from distillery.driver.cluster.submission import submit  # noqa: E402
from distillery.driver.cluster.values import ClusterJob, Deliver  # noqa: E402


@dataclass
class Bench:
    """An empty cluster."""

    postgres: Postgres
    url: str
    database: Database
    store: Store

    def submit(self, *jobs: ClusterJob, deliver: tuple[Deliver, ...] = (), estimate: bool = False) -> None:
        """Submit jobs, a hundred a transaction."""
        for at in range(0, len(jobs), 100):
            with self.database.connection() as connection, connection.transaction():
                for job in jobs[at : at + 100]:
                    submit(connection, job, deliver, estimate)

    def states(self) -> dict[str, int]:
        rows = self.database.rows("SELECT state, count(*) FROM distillery_jobs GROUP BY state")
        return {row["state"]: row["count"] for row in rows}

    def wait_for(self, condition: Callable[[], bool], seconds: float = 600, pause: float = 0.1) -> float:
        """Wait; returns the seconds that it took."""
        started = time.monotonic()
        while True:
            try:
                if condition():
                    return time.monotonic() - started
            except OUTAGE:
                pass
            if time.monotonic() - started > seconds:
                raise TimeoutError(f"{self.states()}")
            time.sleep(pause)

    def ready(self, slots: int) -> None:
        query = "SELECT COALESCE(sum(slots), 0) FROM distillery_workers WHERE state = 'ready'"
        self.wait_for(lambda: self.database.value(query) == slots, 120)

    def ledger(self) -> dict[str, Any]:
        """Return what the ledger says, and whether it balances."""
        rows = self.database.rows("SELECT event, count(*) FROM distillery_ledger GROUP BY event")
        events = {row["event"]: row["count"] for row in rows}
        ended = sum(events.get(event, 0) for event in ("done", "failed", "cancelled", "expired"))
        there = sum(self.states().get(state, 0) for state in ("queued", "running"))
        twice = self.database.value(
            "SELECT count(*) FROM (SELECT job_id FROM distillery_deliveries WHERE state = 'delivered' GROUP BY job_id "
            "HAVING count(*) > 1) AS twice"
        )
        accepted = events.get("accepted", 0) + events.get("replayed", 0)
        return {"events": events, "lost": accepted - ended - there, "delivered_twice": twice}


@contextmanager
def bench(*settings: str) -> Iterator[Bench]:
    postgres, folder = Postgres(*settings), Path(tempfile.mkdtemp(prefix="distillery-bench-"))
    try:
        url = postgres.new_database()
        ensure_schema(url)
        store = Store(folder_url(folder))
        store.put(PNG_NAME, PNG)
        database = Database(url, size=8)
        yield Bench(postgres, url, database, store)
        database.close()
    finally:
        postgres.remove()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def workers(made: Bench, number: int, *more: str, slots: int = 1) -> Iterator[list[WorkerProcess]]:
    started = [WorkerProcess(made.url, made.store.url, slots, *more) for _ in range(number)]
    try:
        made.ready(number * slots)
        yield started
    finally:
        for worker in started:
            worker.signal(signal.SIGKILL)
        for worker in started:
            worker.process.wait()


@contextmanager
def workers_more(made: Bench, number: int) -> Iterator[list[WorkerProcess]]:
    there = made.database.value("SELECT COALESCE(sum(slots), 0) FROM distillery_workers WHERE state = 'ready'")
    started = [WorkerProcess(made.url, made.store.url) for _ in range(number)]
    try:
        made.ready(int(there) + number)
        yield started
    finally:
        for worker in started:
            worker.kill()
