"""Cards that move: place in the queue, stages, steps and previews, as often as Discord likes and no more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import sql

from ..cluster.database import CONNECT
from ..cluster.errors import StoreError
from ..cluster.progress import channel, events_of, preview_of, read_payload
from ..cluster.store import Store
from ..events import Message, Stage, Step
from . import cards
from .database import OUTAGE, BotDatabase
from .posting import Posting, TooLarge, TryLater, Unreachable
from .values import Request

log = logging.getLogger(__name__)

TICK = 0.5
LOOK = 2.0
"""Seconds between two looks at the rows of jobs: what is told of them may be lost."""
BACKOFF = (5.0, 15.0, 30.0)
"""Seconds from one edit of a card to the next where its stage is the same; the last for all that follow."""
BETWEEN_STAGES = 2.0
"""Seconds at least between two edits of a card."""
PER_CHANNEL = 1.5
"""Seconds between two edits in a channel: Discord takes about five in five seconds, and results need some of them."""
AT_A_TIME = 8
MAX_FOLLOWED = 200
"""Jobs whose notifications are listened to; others are looked at."""
_WHY = {
    "death": "A machine died; the job goes on elsewhere.",
    "fault": "A machine could not do it; the job goes on elsewhere.",
    "drained": "A machine is being closed; the job goes on elsewhere.",
}


@dataclass
class Followed:
    """A request whose card moves."""

    request: Request
    jobs: list[str] = field(default_factory=list)
    """Ids of its jobs that have not ended."""
    state: str = "queued"
    done: int = 0
    total: int = 1
    """Of its jobs."""
    wait: cards.Wait = field(default_factory=cards.Wait)
    now: cards.Running = field(default_factory=cards.Running)
    nodes: tuple[int, int] = (0, 1)
    """Done and all of the workflow."""
    preview: tuple[str, str, str] | None = None
    shown: tuple[Any, ...] = ()
    """What the card shows."""
    stage_shown: tuple[Any, ...] = ()
    edited: float = 0.0
    """When (monotonic clock)."""
    edits: int = 0
    dead: bool = False
    """True where no edit gets there."""


class Follower:
    """Follows the requests that it is given.

    delivery_due: set where a delivery may be due. quiet: tells whether Discord is to be asked for nothing but results.
    """

    def __init__(
        self,
        database: BotDatabase,
        store: Store,
        posting: Posting,
        delivery_due: asyncio.Event,
        quiet: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database, self._store, self._posting, self._due = database, store, posting, delivery_due
        self._quiet = quiet
        self._followed: dict[str, Followed] = {}
        self._by_job: dict[str, Followed] = {}
        self._channels: dict[int, float] = {}
        self._editing: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def follow(self, request: Request, wait: cards.Wait | None = None) -> None:
        """Follow a request from now on. Its card is there, and shows the wait."""
        followed = Followed(request, wait=wait or cards.Wait(), edited=time.monotonic())
        followed.shown = followed.stage_shown = ("queued",)
        self._followed[request.id] = followed
        self._changed.set()

    def end(self, request_id: str) -> None:
        """Follow a request no longer."""
        followed = self._followed.pop(request_id, None)
        if followed is not None:
            for job in followed.jobs:
                self._by_job.pop(job, None)

    async def settle(self, request_id: str) -> None:
        """Follow a request no longer, and wait for the edit that is under way: the next one is the last."""
        self.end(request_id)
        while request_id in self._editing:
            await asyncio.sleep(0.02)

    async def run(self) -> None:
        """Follow for as long as the bot runs."""
        await asyncio.gather(self._listen(), self._look(), self._edit())

    # --- what is heard ---

    async def _listen(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._database.conninfo, autocommit=True, **CONNECT)
                async with connection:
                    await connection.execute("LISTEN distillery_deliveries")
                    self._due.set()
                    await self._hear(connection)
            except (psycopg.Error, OSError) as error:
                log.info("not listening: %s", type(error).__name__)
            await asyncio.sleep(2)

    async def _hear(self, connection: psycopg.AsyncConnection[Any]) -> None:
        heard: set[str] = set()
        while True:
            wanted = {channel(job) for job in list(self._by_job)[:MAX_FOLLOWED]}
            for command, names in (("LISTEN {}", wanted - heard), ("UNLISTEN {}", heard - wanted)):
                for name in names:
                    await connection.execute(sql.SQL(command).format(sql.Identifier(name)))
            heard = wanted
            async for told in connection.notifies(timeout=TICK, stop_after=100):
                if told.channel == "distillery_deliveries":
                    self._due.set()
                elif (followed := self._by_job.get(told.channel.removeprefix(channel("")))) is not None:
                    hear(followed, read_payload(told.payload))

    async def _look(self) -> None:
        """Look at the rows: what is told can be lost, and places in the queue are not told."""
        while True:
            try:
                await self._look_once()
            except OUTAGE:
                pass
            except Exception:
                log.exception("unexpected error")
            try:
                await asyncio.wait_for(self._changed.wait(), LOOK)
            except asyncio.TimeoutError:
                pass
            self._changed.clear()

    async def _look_once(self) -> None:
        if not self._followed:
            return
        rows = await self._database.rows(
            "SELECT q.id, q.state AS request_state, array_agg(j.id ORDER BY b.number) FILTER (WHERE j.state IN ('queued', "
            "'running')) AS jobs, count(*) AS total, count(*) FILTER (WHERE j.state NOT IN ('queued', 'running')) AS done, "
            "bool_or(j.state = 'running') AS running, max(j.stage) AS stage FROM distillery_bot_requests q "
            "JOIN distillery_bot_jobs b ON b.request_id = q.id LEFT JOIN distillery_jobs j ON j.id = b.job_id "
            "WHERE q.id = ANY (%s) GROUP BY q.id, q.state",
            list(self._followed),
        )
        for row in rows:
            followed = self._followed.get(row["id"])
            if followed is None:
                continue
            if row["request_state"] != "waiting":
                self.end(row["id"])
                continue
            for job in followed.jobs:
                self._by_job.pop(job, None)
            followed.jobs = row["jobs"] or []
            followed.total, followed.done = row["total"], row["done"]
            for job in followed.jobs:
                self._by_job[job] = followed
            followed.state = "running" if row["running"] else "queued" if followed.jobs else "ended"
            if followed.state == "running" and row["stage"] and followed.now.stage == "Starting":
                followed.now = replace(followed.now, stage=row["stage"])
        await self._look_at_places()

    async def _look_at_places(self) -> None:
        """Ask for the places of the waiting cards that are to be edited next: it takes as long as the queue."""
        now = time.monotonic()
        waiting = [f for f in self._followed.values() if f.state == "queued" and f.jobs and now >= f.edited + pause(f)]
        for followed in sorted(waiting, key=lambda f: f.edited)[:20]:
            row = await self._database.place(followed.jobs[0])
            if row is not None:
                followed.wait = cards.read_wait(row)

    # --- what is shown ---

    async def _edit(self) -> None:
        while True:
            now = time.monotonic()
            for followed in sorted(self._followed.values(), key=lambda f: f.edited):
                if len(self._editing) >= AT_A_TIME or self._quiet():
                    break
                where = followed.request.channel_id or 0
                free = now >= self._channels.get(where, 0.0) and not self._posting.results_in(where)
                if followed.request.id not in self._editing and free and is_due(followed, now):
                    self._channels[where] = now + PER_CHANNEL
                    self._editing.add(followed.request.id)
                    task = asyncio.create_task(self._show(followed))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            if len(self._channels) > 1000:
                self._channels = {where: at for where, at in self._channels.items() if at > now}
            await asyncio.sleep(TICK)

    async def _show(self, followed: Followed) -> None:
        request = followed.request
        showing, stage = shown(followed), stage_of(followed)
        try:
            fresh = await self._database.request(request.id)
            if fresh is None or fresh.state != "waiting":  # another bot has shown its end
                self.end(request.id)
                return
            request = followed.request = fresh
            files = []
            if followed.state == "running" and followed.preview is not None:
                try:
                    data = await asyncio.to_thread(self._store.get, followed.preview[1])
                    files = [("preview.png" if followed.preview[2] == "image/png" else "preview.jpg", data)]
                except StoreError:
                    pass
            if request.id not in self._followed:
                return  # its result is being shown
            if followed.state == "running":
                card = cards.running(request, now_of(followed), files[0][0] if files else None)
            else:
                card = cards.waiting(request, followed.wait)
            await self._posting.edit(request, card, files)
            followed.edits = followed.edits + 1 if stage == followed.stage_shown else 0
        except Unreachable:
            followed.dead = True  # its result looks for another way
        except (TryLater, TooLarge, *OUTAGE) as error:
            log.info("a card was not edited: %s", error)
        except Exception:
            log.exception("unexpected error")
        finally:
            followed.shown, followed.stage_shown, followed.edited = showing, stage, time.monotonic()
            self._editing.discard(request.id)


def hear(followed: Followed, data: Mapping[str, Any]) -> None:
    """Take what is told of a job."""
    if data.get("state") == "queued":
        followed.state = "queued"
        followed.now = cards.Running(note=_WHY.get(str(data.get("why")), ""))
        followed.preview = None
        return
    for event in events_of(data):
        followed.state = "running"
        if isinstance(event, Stage):
            followed.nodes = (event.done, max(1, event.total))
            followed.now = replace(followed.now, stage=event.title, share=event.done / max(1, event.total), detail="")
        elif isinstance(event, Step):
            share = (followed.nodes[0] + event.value / max(1, event.maximum)) / followed.nodes[1]
            detail = f"{event.value} of {event.maximum}" if event.maximum > 1 else ""
            followed.now = replace(followed.now, stage=event.title, share=min(1.0, share), detail=detail)
        elif isinstance(event, Message):
            followed.now = replace(followed.now, note=event.text)
    followed.preview = preview_of(data) or followed.preview


def now_of(followed: Followed) -> cards.Running:
    """Return how far a request is, over all of its jobs."""
    if followed.total <= 1:
        return followed.now
    share = (followed.done + followed.now.share) / followed.total
    detail = f"picture {min(followed.total, followed.done + 1)} of {followed.total}"
    return replace(followed.now, share=min(1.0, share), detail=detail)


def shown(followed: Followed) -> tuple[Any, ...]:
    """Return what a card would show, to compare."""
    if followed.state == "running":
        now = now_of(followed)
        return ("running", now.stage, now.detail, round(now.share, 2), now.note, followed.preview)
    return ("queued", followed.wait.place, followed.wait.slots == 0, followed.now.note)


def stage_of(followed: Followed) -> tuple[Any, ...]:
    """Return what of a card is worth an edit at once."""
    return ("running", followed.now.stage, followed.done) if followed.state == "running" else ("queued",)


def pause(followed: Followed) -> float:
    """Return the seconds from the last edit of a card to the next one where its stage is the same."""
    return BACKOFF[min(followed.edits, len(BACKOFF) - 1)]


def is_due(followed: Followed, now: float) -> bool:
    """Return True where a card is to be edited. now: of the monotonic clock."""
    if followed.dead or followed.state == "ended":
        return False
    if stage_of(followed) != followed.stage_shown:
        return now >= followed.edited + BETWEEN_STAGES
    return now >= followed.edited + pause(followed) and shown(followed) != followed.shown
