"""Procrastinate's job manager, with the cluster's own choice of the next job and without an end when PostgreSQL is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import psycopg
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, NotificationCallback
from procrastinate.psycopg_connector import PsycopgConnector
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from .database import OUTAGE, Row
from .values import QUEUE, TASK

log = logging.getLogger(__name__)

PAUSE = (0.5, 5.0)
"""Seconds between attempts to reach the database: the first time, doubled each time after, and at most."""


class AsyncDatabase:
    """The connections of a worker, for its event loop."""

    def __init__(self, connector: PsycopgConnector) -> None:
        self._connector = connector

    async def rows(self, query: str, *arguments: Any) -> list[Row]:
        """Run one statement and return its rows. Raises what OUTAGE names where the database does not answer."""
        async with (
            self._connector.pool.connection() as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute(query, arguments)  # type: ignore[arg-type]
            return await cursor.fetchall() if cursor.description else []

    async def value(self, query: str, *arguments: Any) -> Any:
        """Run one statement and return the first column of its first row."""
        rows = await self.rows(query, *arguments)
        return next(iter(rows[0].values())) if rows else None

    async def insist(self, query: str, *arguments: Any) -> Any:
        """Do what :meth:`value` does, again until the database answers: what is done is worth waiting for."""
        pause = PAUSE[0]
        while True:
            try:
                return await self.value(query, *arguments)
            except (*OUTAGE, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
                if pause == PAUSE[0]:
                    log.warning("the database does not answer (%s); trying on", type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(PAUSE[1], 2 * pause)


class ClusterJobManager(JobManager):
    """Takes the next job by fairness and by what is loaded.

    The states of jobs are set by the functions of the schema, together with results and the ledger, so that what
    Procrastinate's worker would write at a job's end is left out. claim: see :meth:`fetch_job`.
    """

    def __init__(self, connector: BaseConnector, claim: Callable[[int], Awaitable[Row | None]]) -> None:
        super().__init__(connector)
        self._claim = claim

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Take the next job for a slot that is free, None where there is none of either."""
        try:
            row = await self._claim(worker_id)
        except (*OUTAGE, ConnectorException, PoolTimeout):
            await asyncio.sleep(1)
            return None
        if row is None:
            return None
        return Job(
            id=row["task"], status="doing", queue=QUEUE, task_name=TASK, lock=None, queueing_lock=None,
            task_kwargs={name: row[name] for name in ("job_id", "run", "model", "job", "deadline")}, worker_id=worker_id,
        )  # fmt: skip

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """Do nothing: the task has ended its job itself, together with its result."""

    async def retry_job(self, job: Job, *arguments: Any, **options: Any) -> None:
        """Do nothing: as for :meth:`finish_job`."""

    async def update_heartbeat(self, worker_id: int) -> None:
        """Do nothing: the cluster has a heartbeat that goes on while the worker drains."""

    async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:
        """Do nothing: after an outage of the database all workers look stalled; see :mod:`.reaper`."""
        return []

    async def unregister_worker(self, worker_id: int) -> None:
        """Remove the worker's row, if the database answers."""
        try:
            await super().unregister_worker(worker_id)
        except ConnectorException:
            log.warning("the worker could not sign off: the database does not answer")

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        """Listen, again after every break."""
        names: Sequence[str] | None = None if queues is None else list(queues)
        while True:
            try:
                await super().listen_for_jobs(on_notification=on_notification, queues=names)
            except (ConnectorException, OSError) as error:
                log.info("not listening: %s", type(error).__name__)
            await asyncio.sleep(2)
