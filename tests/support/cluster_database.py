"""An empty cluster on a real PostgreSQL, looked at from outside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cluster_workers import PNG, PNG_NAME, WaitingBackend, WorkerThread, waiting_slot
from postgres import Postgres

from distillery.driver.cluster.database import Database
from distillery.driver.cluster.schema import ensure_schema
from distillery.driver.cluster.store import Store, folder_url
from distillery.driver.cluster.submission import Accepted, submit
from distillery.driver.cluster.values import ClusterJob, Deliver
from distillery.driver.cluster.worker import WorkerOptions


@dataclass
class Cluster:
    """A database with the schema, and a store with the picture of the waiting jobs."""

    url: str
    database: Database
    store: Store

    def submit(self, job: ClusterJob, *deliver: Deliver, estimate: bool = True) -> Accepted:
        with self.database.connection() as connection:
            return submit(connection, job, deliver, estimate)

    def states(self) -> dict[str, int]:
        rows = self.database.rows("SELECT state, count(*) FROM distillery_jobs GROUP BY state")
        return {row["state"]: row["count"] for row in rows}

    def job(self, job_id: str) -> dict:
        return self.database.row("SELECT * FROM distillery_jobs WHERE id = %s", job_id)

    def ledger(self) -> dict[str, int]:
        rows = self.database.rows("SELECT event, count(*) FROM distillery_ledger GROUP BY event")
        return {row["event"]: row["count"] for row in rows}

    def balances(self) -> bool:
        """What was accepted is what ended and what is there."""
        events, states = self.ledger(), self.states()
        ended = sum(events.get(event, 0) for event in ("done", "failed", "cancelled", "expired"))
        there = states.get("queued", 0) + states.get("running", 0)
        return events.get("accepted", 0) + events.get("replayed", 0) == ended + there

    def options(self, **more) -> WorkerOptions:
        return WorkerOptions(**{"database": self.url, "store": self.store.url, "warm_up": False, "grace": 20.0, **more})

    def worker(self, backend: WaitingBackend | None = None, slots: int = 1, models=(), **more) -> WorkerThread:
        made = [waiting_slot(backend or WaitingBackend(), models) for _ in range(slots)]
        return WorkerThread(self.options(**more), *made)


def new_cluster(server: Postgres, folder: Path) -> Cluster:
    url = server.new_database()
    ensure_schema(url)
    store = Store(folder_url(folder / "store"))
    store.put(PNG_NAME, PNG)
    return Cluster(url, Database(url), store)
