"""A worker: the process beside the ComfyUIs of a host that runs a cluster's jobs, one at a time on each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from procrastinate import App
from procrastinate.job_context import JobContext
from procrastinate.psycopg_connector import PsycopgConnector
from procrastinate.worker import Worker

from ... import __version__
from .addresses import LOCAL
from .database import CONNECT, OUTAGE, Database, Row, resolve, statement_error
from .errors import ClusterError
from .failures import DEAD
from .manager import AsyncDatabase, ClusterJobManager
from .reaper import BEAT, DEAD_AFTER, WATCH, Reaper
from .run import JobRunner, Running
from .schema import ensure_schema
from .settings import open_store, remember_store
from .slots import Slot, SlotState, choose, make_ready
from .store import Store
from .values import QUEUE, TASK
from .webhooks import Webhooks

log = logging.getLogger(__name__)
for noisy in ("procrastinate", "psycopg.pool"):
    logging.getLogger(noisy).setLevel(logging.ERROR)  # a worker says itself what concerns its jobs

GRACE = 900.0
"""Seconds that running jobs are given to end after SIGTERM."""
KEEP_DAYS = 7.0
"""Days for which jobs that ended are kept; what became of them stays in the ledger."""
AFTER_OUTAGE = 1.0
"""Seconds after which what the database did not answer is asked again."""


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker works."""

    database: str = LOCAL
    store: str | None = None
    name: str = ""
    """Shown in lists; empty: name of the host."""
    grace: float = GRACE
    keep_days: float = KEEP_DAYS
    dead_after: float = DEAD_AFTER
    """Seconds without a heartbeat after which a worker is dead; the same for all workers."""
    warm_up: bool = True
    webhook_hosts: Sequence[str] = ()
    """Exact names of hosts that webhooks may go to."""


def prepare_cluster(options: WorkerOptions) -> tuple[str, Store]:
    """See that database, schema and store are there; returns the connection string and the store. Raises ClusterError."""
    conninfo = resolve(options.database)
    ensure_schema(conninfo)
    database = Database(conninfo, size=1)
    try:
        store = open_store(database, options.database, options.store)
        store.check()
        remember_store(database, store, options.store is not None)
    except psycopg.Error as error:
        raise statement_error(conninfo, error) from None
    finally:
        database.close()
    return conninfo, store


async def _commit_each_statement(connection: psycopg.AsyncConnection[Any]) -> None:
    """Leave no transaction open: one of a worker that is frozen would hold its locks for hours, the others' reaper waiting."""
    await connection.set_autocommit(True)


class ClusterWorker:
    """A worker of a cluster. conninfo, store: of :func:`prepare_cluster`. slots: what runs its jobs."""

    def __init__(self, options: WorkerOptions, conninfo: str, store: Store, slots: Sequence[Slot]) -> None:
        self.options = options
        self.id = str(uuid.uuid4())
        self.name = options.name or socket.gethostname()
        self.slots = list(slots)
        self.answered = 0.0
        """When the database answered last (monotonic clock); 0: not yet."""
        self.draining = False
        self.running: dict[int, Running] = {}
        """Procrastinate's id to the job."""
        # Short: the pool doubles its pauses for as long as it tries, and whoever asks anew has it begin anew. After an
        # outage of a minute it would be silent for another, and this worker be taken for dead.
        self._connector = PsycopgConnector(
            conninfo=conninfo, kwargs=dict(CONNECT), min_size=1, max_size=3, timeout=5, reconnect_timeout=3,
            configure=_commit_each_statement,
        )  # fmt: skip
        self._database = AsyncDatabase(self._connector)
        self._app = App(connector=self._connector)
        self._app.job_manager = ClusterJobManager(self._connector, self._claim)
        self._app.task(name=TASK, queue=QUEUE, pass_context=True)(self._perform)
        self.runner = JobRunner(self.id, self._database, store)
        self._reaper = Reaper(options.dead_after)
        self._webhooks = Webhooks(self._database, store, options.webhook_hosts)
        self._elsewhere: list[str] = []
        self._unknown: set[str] = set()
        self._worker: Worker | None = None
        self._wish_to_stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def ready(self) -> bool:
        """True while it takes jobs."""
        usable = any(slot.state in (SlotState.FREE, SlotState.BUSY) for slot in self.slots)
        return usable and not self.draining and time.monotonic() - self.answered < 6 * BEAT

    def stop(self) -> None:
        """Take no more jobs, finish those that run within the grace, hand back the others."""
        self._wish_to_stop.set()

    async def run(self) -> None:
        """Work until :meth:`stop`, SIGTERM or Ctrl-C. Raises ClusterError where no slot is left."""
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGINT"):
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # Windows; another thread
                loop.add_signal_handler(getattr(signal, name), self.stop)
        async with self._app.open_async():
            self._worker = Worker(
                self._app, queues=[QUEUE], concurrency=len(self.slots), install_signal_handlers=False,
                fetch_job_polling_interval=2.0, shutdown_graceful_timeout=self.options.grace + 120,
            )  # fmt: skip
            self._begin(self._every(BEAT, self._beat))
            self._begin(self._every(WATCH, self._watch))
            self._begin(self._every(60.0, self._tidy))
            self._begin(self._webhooks.run())
            for slot in self.slots:
                self._begin(make_ready(slot, self._changed, self.options.warm_up))
            work = asyncio.create_task(self._worker.run())  # type: ignore[no-untyped-call]
            try:
                await asyncio.wait(
                    [work, asyncio.create_task(self._wish_to_stop.wait())], return_when=asyncio.FIRST_COMPLETED
                )
                await self._drain(work)
            finally:
                for task in list(self._tasks):
                    task.cancel()
                with contextlib.suppress(*OUTAGE):
                    await self._database.rows("DELETE FROM distillery_workers WHERE id = %s", self.id)
                for slot in self.slots:
                    slot.executor.shutdown(wait=False)
        if all(slot.state is SlotState.OUT for slot in self.slots):
            reasons = " ".join(f"{slot.name}: {slot.error}" for slot in self.slots)
            raise ClusterError(f"The worker takes itself out: it failed three known-good jobs. {reasons}")

    async def _drain(self, work: asyncio.Task[None]) -> None:
        """Let what runs end; after the grace it goes back into the queue."""
        self.draining = True
        log.info("draining", extra={"data": {"running": len(self.running)}})
        self._begin(self._beat())
        assert self._worker is not None
        self._worker.stop()  # type: ignore[no-untyped-call]
        _, pending = await asyncio.wait([work], timeout=self.options.grace)
        if pending:
            for running in list(self.running.values()):
                running.cancel("drained")
        await work

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something again and again, whatever becomes of it."""
        while True:
            pause = seconds
            try:
                await work()
            except OUTAGE:  # insist() tells of it where it matters
                pause = min(seconds, AFTER_OUTAGE)
            except Exception:
                log.exception("unexpected error")
            await asyncio.sleep(pause)

    def _changed(self) -> None:
        """A slot has become free or is out: look for jobs, or end."""
        self._begin(self._beat())
        if all(slot.state is SlotState.OUT for slot in self.slots):
            self.stop()
        elif self._worker is not None:
            self._worker._new_job_event.set()

    async def _beat(self) -> None:
        """Tell the others that this worker lives, and what it has."""
        usable = [slot for slot in self.slots if slot.state in (SlotState.FREE, SlotState.BUSY)]
        models = sorted(set().union(*(slot.models for slot in usable)))
        state = "draining" if self.draining else "ready" if usable else "starting"
        number = self._worker.worker_id if self._worker is not None else None
        await self._database.rows(
            "SELECT distillery_beat_v1(%s, %s, %s, %s, %s, %s, %s)",
            self.id, self.name, __version__, len(usable), models, state, number,
        )  # fmt: skip
        self.answered = time.monotonic()
        self._elsewhere = await self._database.value(
            "SELECT COALESCE(array_agg(DISTINCT m), '{}') FROM distillery_workers, unnest(models) AS m "
            "WHERE id <> %s AND state = 'ready' AND m <> ALL (%s)",
            self.id, models,
        )  # fmt: skip
        await self._hand_back_unknown()

    async def _hand_back_unknown(self) -> None:
        """Hand back jobs that the database gave to this worker, but whose row never got here."""
        rows = await self._database.rows(
            "SELECT id, run FROM distillery_jobs WHERE worker = %s AND state = 'running'", self.id
        )
        mine = {running.job_id for running in self.running.values()}
        unknown = {row["id"] for row in rows} - mine
        for row in rows:
            if row["id"] in unknown & self._unknown:  # twice: it was not about to be taken
                log.warning("handed back", extra={"data": {"cluster_job": row["id"]}})
                await self._database.rows(
                    "SELECT distillery_requeue_v1(%s, %s, 'drained', '{}')", row["id"], row["run"]
                )
        self._unknown = unknown

    async def _watch(self) -> None:
        """Look for dead workers, and for jobs of this one that are to end."""
        await self._database.rows("SELECT distillery_floor_v1()")
        rows = await self._database.rows("SELECT id::text, beat FROM distillery_workers WHERE id <> %s", self.id)
        for worker, beat in self._reaper.look((row["id"], row["beat"]) for row in rows):
            buried = await self._database.rows(
                "SELECT distillery_bury_v1(%s, %s, %s::jsonb) AS job", worker, beat, json.dumps(DEAD)
            )
            log.warning("buried", extra={"data": {"worker": worker, "jobs": [row["job"] for row in buried]}})
        if self.running:
            ids = [running.job_id for running in self.running.values()]
            rows = await self._database.rows("SELECT id FROM distillery_jobs WHERE id = ANY (%s) AND cancelling", ids)
            for row in rows:
                for running in list(self.running.values()):
                    if running.job_id == row["id"]:
                        running.cancel("user")

    async def _tidy(self) -> None:
        """End what waits past its deadline, delete what is old."""
        await self._database.rows("SELECT distillery_expire_v1()")
        await self._database.rows("SELECT distillery_prune_v1(%s)", self.options.keep_days)

    async def _claim(self, procrastinate_worker: int) -> Row | None:
        """Take the next job for a slot that is free; see ``distillery_claim_v1``."""
        free = [slot for slot in self.slots if slot.state is SlotState.FREE]
        if not free or self.draining:
            return None
        loaded = [slot.loaded for slot in free if slot.loaded is not None]
        rows = await self._database.rows(
            "SELECT * FROM distillery_claim_v1(%s, %s, %s::text[], %s::text[])",
            self.id, procrastinate_worker, loaded, self._elsewhere,
        )  # fmt: skip
        self.answered = time.monotonic()
        if not rows:
            return None
        slot = choose(self.slots, rows[0]["model"])
        assert slot is not None  # nothing else takes slots
        slot.state = SlotState.BUSY
        self.running[rows[0]["task"]] = Running(rows[0]["job_id"], rows[0]["run"], slot)
        return rows[0]

    async def _perform(
        self,
        context: JobContext,
        *,
        job_id: str,
        run: int,
        model: str | None,
        job: dict[str, Any],
        deadline: float | None,
    ) -> None:
        """Procrastinate's task: run one job."""
        assert context.job.id is not None
        running = self.running[context.job.id]
        log.info("begins", extra={"data": {"cluster_job": job_id, "run": run, "slot": running.slot.name}})
        well = False
        try:
            well = await self.runner.run(running, job, model, deadline)
        finally:
            del self.running[context.job.id]
            running.slot.state = SlotState.FREE if well else SlotState.TRYING
            if not well and not self.draining:
                self._begin(make_ready(running.slot, self._changed, self.options.warm_up))
