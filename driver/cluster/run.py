"""One job on a worker: its picture out of the store, the driver's own runner, its result into the store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...nodes.errors import DistilleryError
from ..cancel import CancelToken
from ..errors import JobCancelled, JobError
from ..events import Message, Preview, Progress
from ..jobs.job import Result
from .errors import MissingObject, StoreError
from .failures import error_data, fault_data, is_fault_of_worker, source_gone
from .manager import AsyncDatabase
from .progress import Outbox
from .slots import Slot
from .store import Store
from .values import read_job, result_data, task_of

log = logging.getLogger(__name__)

STORE_PATIENCE = 600.0
"""Seconds for which a result that is made is tried to be stored, before the job goes elsewhere."""
PREVIEW_EVERY = 1.0
"""Seconds between two previews."""


class Running:
    """A job that a slot runs. job_id, run: of its row; why_cancelled: who wants it to end."""

    def __init__(self, job_id: str, run: int, slot: Slot) -> None:
        self.job_id, self.run, self.slot = job_id, run, slot
        self.token = CancelToken()
        self.why_cancelled = ""
        self.began = time.monotonic()

    def cancel(self, why: str) -> None:
        """Have it end: ``user``, ``drained`` or ``deadline``. The first reason stands."""
        self.why_cancelled = self.why_cancelled or why
        self.token.cancel()


class JobRunner:
    """Runs the jobs of a worker. Lives in its event loop; the jobs are run in the slots' threads."""

    def __init__(self, worker: str, database: AsyncDatabase, store: Store) -> None:
        self._worker, self._database, self._store = worker, database, store
        self.done = 0
        self.failed: dict[str, int] = {}
        """Kind of error to number of jobs."""
        self.switches = 0
        self.stage_seconds: dict[str, float] = {}

    async def run(self, running: Running, data: dict[str, Any], model: str | None, deadline: float | None) -> bool:
        """Run one job to its end and write down what became of it; False where its slot is in doubt."""
        loop = asyncio.get_running_loop()
        outbox, news = Outbox(), asyncio.Event()

        def report(event: Progress) -> None:  # in the slot's thread
            loop.call_soon_threadsafe(_take, outbox, news, event)

        def show(preview: tuple[str, str, str]) -> None:
            loop.call_soon_threadsafe(_take_preview, outbox, news, preview)

        teller = asyncio.create_task(self._tell(running, outbox, news))
        timer = None
        if deadline is not None:
            timer = loop.call_later(max(0.0, deadline - time.time()), running.cancel, "deadline")
        switched = running.slot.loads(model)
        try:
            work = loop.run_in_executor(
                running.slot.executor,
                _work,
                self._store,
                running,
                data,
                _with_previews(self._store, running, report, show),
            )
            result, name = await _to_its_end(work, running)
        except DistilleryError as error:
            return await self._failed(running, error)
        except Exception as error:
            log.exception("unexpected error", extra={"data": {"cluster_job": running.job_id}})
            return await self._failed(running, JobError(f"The worker failed: {type(error).__name__}."))
        finally:
            teller.cancel()
            if timer is not None:
                timer.cancel()
            if data.get("preview"):
                loop.run_in_executor(None, self._store.delete, _preview_name(running))
        await self._done(running, result, name, switched)
        if model is not None:
            running.slot.loaded = model
        return True

    async def _done(self, running: Running, result: Result, name: str, switched: bool) -> None:
        stored = await self._database.insist(
            "SELECT distillery_store_v1(%s, %s, %s, %s::json, %s, %s, %s)",
            running.job_id, self._worker, running.run, json.dumps(result_data(result)), name,
            time.monotonic() - running.began, switched,
        )  # fmt: skip
        self.done += 1
        self.switches += switched
        for title, seconds in result.seconds.items():
            self.stage_seconds[title] = self.stage_seconds.get(title, 0.0) + seconds
        if not stored:
            log.warning("dropped", extra={"data": {"cluster_job": running.job_id, "run": running.run}})

    async def _failed(self, running: Running, error: DistilleryError) -> bool:
        """Write down a failure: the job's own, a wish to end it, or one of this worker's; False for the last."""
        fault = False
        state, data = "failed", error_data(error)
        if running.token.cancelled or isinstance(error, JobCancelled):
            if running.why_cancelled == "drained":
                await self._requeue(running, "drained", {})
                return True
            state = "expired" if running.why_cancelled == "deadline" else "cancelled"
            data = {"kind": "deadline" if state == "expired" else "cancelled"}
        elif isinstance(error, MissingObject):
            data = source_gone(error)
        elif is_fault_of_worker(error) or isinstance(error.__cause__, OSError):
            fault = True
        kind = str(data["kind"])
        self.failed[kind] = self.failed.get(kind, 0) + 1
        log.warning("failed", extra={"data": {"cluster_job": running.job_id, "kind": kind, "error": str(error)}})
        if fault:
            await self._requeue(running, "fault", fault_data(error))
            return False
        await self._database.insist(
            "SELECT distillery_fail_v1(%s, %s, %s, %s::jsonb, %s)",
            running.job_id, running.run, state, json.dumps(data), time.monotonic() - running.began,
        )  # fmt: skip
        return True

    async def _requeue(self, running: Running, why: str, error: dict[str, Any]) -> None:
        await self._database.insist(
            "SELECT distillery_requeue_v1(%s, %s, %s, %s::jsonb)", running.job_id, running.run, why, json.dumps(error)
        )

    async def _tell(self, running: Running, outbox: Outbox, news: asyncio.Event) -> None:
        """Tell those who follow the job how it goes, while it does. What cannot be told is left out."""
        told = ""
        while True:
            await news.wait()
            await asyncio.sleep(outbox.wait())
            news.clear()
            stage = outbox.stage.title if outbox.stage is not None and outbox.stage.title != told else None
            payload = outbox.take()
            if payload is None:
                continue
            told = stage or told
            with contextlib.suppress(Exception):
                await self._database.rows(
                    "SELECT distillery_tell_v1(%s, %s, %s, %s)", running.job_id, running.run, payload, stage
                )


async def _to_its_end(work: asyncio.Future[tuple[Result, str]], running: Running) -> tuple[Result, str]:
    """Wait for the slot's thread, also where this task is cancelled: then it is told to end, and waited for."""
    while True:
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.cancelled():
                raise
            running.cancel("user")  # the reason is another where one was given before


def _take(outbox: Outbox, news: asyncio.Event, event: Progress) -> None:
    outbox.add(event)
    news.set()


def _take_preview(outbox: Outbox, news: asyncio.Event, preview: tuple[str, str, str]) -> None:
    outbox.preview = preview
    news.set()


def _preview_name(running: Running) -> str:
    return f"previews/{running.job_id}"


def _with_previews(
    store: Store, running: Running, report: Callable[[Progress], None], show: Callable[[tuple[str, str, str]], None]
) -> Callable[[Progress], None]:
    """Return what hears the runner's events: previews go through the store, at a modest rate."""
    shown_at = -PREVIEW_EVERY

    def hear(event: Progress) -> None:
        nonlocal shown_at
        if not isinstance(event, Preview):
            report(event)
        elif time.monotonic() - shown_at >= PREVIEW_EVERY:
            shown_at = time.monotonic()
            with contextlib.suppress(StoreError):
                store.put(_preview_name(running), event.image)
                show((event.title, _preview_name(running), event.mime))

    return hear


def _work(
    store: Store, running: Running, data: dict[str, Any], report: Callable[[Progress], None]
) -> tuple[Result, str]:
    """Run the job in this thread; returns its result and the result's name in the store. Raises DistilleryError."""
    running.token.check()
    job = read_job(data)
    png = store.get_by_hash(f"sources/{job.image}.png")
    try:
        with tempfile.TemporaryDirectory(prefix="distillery-") as folder:
            result = running.slot.backend.run(task_of(job, png, Path(folder)), report, running.token)
            picture = result.path.read_bytes()
    except OSError as error:
        raise StoreError(f"The disk of this worker failed: {error.strerror or error}.") from error
    return result, _store_result(store, running, picture, report)


def _store_result(store: Store, running: Running, picture: bytes, report: Callable[[Progress], None]) -> str:
    """Store the picture, with patience: the work is done. Raises StoreError, JobCancelled."""
    until, pause = time.monotonic() + STORE_PATIENCE, 1.0
    while True:
        running.token.check()
        try:
            return store.put_once("results", picture)
        except StoreError as error:
            if time.monotonic() > until:
                raise
            log.error("%s The result is kept, and tried again.", error)
            report(Message(f"{error} The result is kept by the worker, and tried again."))
            time.sleep(pause)
            pause = min(15.0, 2 * pause)
