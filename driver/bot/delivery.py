"""Results on their way to Discord: the rows that the end of a job makes are worked off until each has reached somebody."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import discord
from discord import ui

from ...nodes.errors import DistilleryError
from ...nodes.generation import from_dict, to_dict
from ..cluster.database import Row
from ..cluster.errors import MissingObject, StoreError
from ..cluster.failures import read_error
from ..cluster.store import Store
from ..errors import JobError
from ..jobs.drift import Drift, best_power, next_power
from . import cards
from .config import BotConfig
from .database import OUTAGE, BotDatabase
from .intake import Intake
from .pictures import Fitted, before, drift_of, fit, pixels_or_nothing, sheet
from .posting import KEPT, TOKEN, Files, Posting, TooLarge, TryLater
from .refusals import failure_text
from .values import Request, power_of, with_values

log = logging.getLogger(__name__)

LEASE = 120.0
"""Seconds that a delivery may take before another bot tries it."""
AT_A_TIME = 4
PAUSES = (2.0, 5.0, 15.0, 60.0, 300.0)
"""Seconds before the next attempt, the last one for all that follow."""
CARD_PATIENCE = 20.0
"""Seconds for which the card of a request is waited for before its result looks for another place."""
GIVE_UP = 200
"""Attempts: about 16 hours."""
ENDED = ("done", "failed", "cancelled", "expired")


class Delivery:
    """Delivers. settle: awaited with a request's id before its last card is shown, so that no other edit comes after it."""

    def __init__(
        self,
        database: BotDatabase,
        store: Store,
        posting: Posting,
        intake: Intake,
        config: BotConfig,
        settle: Callable[[str], Awaitable[None]],
        due: asyncio.Event,
    ) -> None:
        self._database, self._store, self._posting, self._intake = database, store, posting, intake
        self._config, self._settle = config, settle
        self.due = due
        """Set where a delivery may be due; without it they are looked for every two seconds."""

    async def run(self) -> None:
        """Deliver for as long as the bot runs."""
        await asyncio.gather(*(self._work() for _ in range(AT_A_TIME)))

    async def _work(self) -> None:
        while True:
            try:
                row = await self._database.take_delivery(LEASE)
                if row is not None:
                    self.due.set()  # there may be more
                    await self._attempt(row)
                    continue
            except OUTAGE:
                await asyncio.sleep(2)
            except Exception:
                log.exception("unexpected error")
            self.due.clear()
            try:
                await asyncio.wait_for(self.due.wait(), 2)
            except asyncio.TimeoutError:
                pass

    async def _attempt(self, row: Row) -> None:
        """Make one delivery, or put it off."""
        try:
            await self.deliver(str(row["target"]), str(row["job_id"]))
            await self._database.end_delivery(row["id"])
        except OUTAGE:
            raise
        except Exception as error:
            foreseen = isinstance(error, (TryLater, StoreError))
            if not foreseen:
                log.exception("a delivery failed", extra={"data": {"request": row["target"]}})
            reason = str(error) if foreseen else type(error).__name__
            if row["attempts"] >= GIVE_UP:
                await self._database.update(str(row["target"]), state="kept", delivered_by=KEPT)
                await self._database.end_delivery(row["id"], f"given up: {reason}"[:300])
            else:
                pause = PAUSES[min(len(PAUSES), int(row["attempts"])) - 1] if foreseen else PAUSES[-1]
                await self._database.put_off_delivery(row["id"], pause, reason)

    async def deliver(self, request_id: str, job_id: str) -> None:
        """Show what has become of a request, as far as there is something to be shown. Raises TryLater, StoreError."""
        request = await self._database.request(request_id)
        if request is None or request.state in ("deleted", "delivered", "kept"):
            return
        age = (datetime.now(timezone.utc) - request.created).total_seconds()
        if request.message_id is None and age < CARD_PATIENCE:
            raise TryLater("its card is not there yet")
        jobs = await self._database.jobs(request_id)
        try:
            if request.kind == "auto":
                if not await self._next_power(request, jobs):
                    return
            elif any(job["state"] not in ENDED for job in jobs):
                return  # the last one shows all
            elif request.kind == "sweep":
                await self._show_sweep(request, jobs)
            else:
                await self._show_one(request, next(job for job in jobs if job["job_id"] == job_id))
        except (JobError, MissingObject) as error:
            text, ways = failure_text(error)
            await self._settle(request.id)
            how, message = await self._posting.deliver(request, lambda to: cards.failed(request, text, ways, to))
            await self._done(request, how, message)

    async def show_kept(self, request: Request) -> tuple[ui.LayoutView, Files]:
        """Return card and files of a result that reached nobody. Raises StoreError, DistilleryError."""
        jobs = await self._database.jobs(request.id)
        done = [job for job in jobs if job["state"] == "done"]
        if not done:
            card, files, _ = self._without_result(request, jobs[-1]) if jobs else (_forgotten(request), (), None)
            return card(None), files
        card, files, _ = await self._result_card(request, done[-1], request.size_limit)
        return card(None), files

    async def cell(self, request: Request, number: int) -> Row:
        """Return the job of one picture of a sweep. Raises JobError."""
        jobs = await self._database.jobs(request.id)
        found = next((job for job in jobs if job["number"] == number and job["state"] == "done"), None)
        if found is None:
            raise JobError("That picture is no longer kept.", advice="Upscale once more with its power.")
        return found

    async def show_cell(self, request: Request, job: Row) -> tuple[ui.LayoutView, Files]:
        """Return card and files of a picture of a sweep. request: one of its own. Raises StoreError, JobError."""
        card, files, _ = await self._result_card(request, job, request.size_limit)
        return card(None), files

    # --- one picture ---

    async def _show_one(self, request: Request, job: Row, why: str = "") -> None:
        limit = request.size_limit
        await self._settle(request.id)
        while True:
            if job["state"] == "done":
                card, files, sent = await self._result_card(request, job, limit, why)
            else:
                card, files, sent = self._without_result(request, job)
            try:
                how, message = await self._posting.deliver(request, card, files)
                break
            except TooLarge:  # it is told less than it was
                limit //= 2
                if limit < 200_000:
                    raise TryLater("no size is taken") from None
        await self._database.update(request.id, data={"final": str(job["command"]), "object": job["object"]})
        await self._done(request, how, message)
        if sent is not None:
            attachment = message.attachments[0].id if message is not None and message.attachments else None
            await self._remember(request, sent, job["result"]["generation"], attachment)

    async def _result_card(
        self, request: Request, job: Row, limit: int, why: str = ""
    ) -> tuple[Callable[[int | None], ui.LayoutView], Files, Fitted | None]:
        result: Mapping[str, Any] = job["result"]
        try:
            png = await asyncio.to_thread(self._store.get_by_hash, job["object"])
        except MissingObject as error:
            raise JobError(f"The result is gone: {error}", advice="Upscale once more.") from error
        fitted = await asyncio.to_thread(
            fit, png, request.stem, limit, lambda: self._link(job["object"]), self._config.link_hours
        )
        files = [(fitted.name, fitted.data)]
        try:
            source = await asyncio.to_thread(self._store.get_by_hash, request.picture)
            small = await asyncio.to_thread(before, source)
            if len(small) + len(fitted.data) < max(limit, 8_000_000) and len(small) < limit:
                files.append(("before.webp", small))
        except (StoreError, OSError, KeyError) as error:
            log.info("no picture from before: %s", error)
        generation = from_dict(result.get("generation"))
        power = generation.hires.denoise if generation.hires.denoise is not None else power_of(str(job["command"]))
        took = (job["finished"] - job["started"]).total_seconds() if job["started"] else float(result.get("total", 0))

        def card(mention: int | None) -> ui.LayoutView:
            made = cards.Finished(
                int(result["width"]), int(result["height"]), took, str(generation.seed or 0) if power else "", power,
                fitted.note, why, generation.warnings, mention,
            )  # fmt: skip
            # What buttons go on from is the command that made this very picture.
            return cards.result(replace(request, command=str(job["command"])), made, [name for name, _ in files])

        return card, files, fitted

    def _without_result(
        self, request: Request, job: Row
    ) -> tuple[Callable[[int | None], ui.LayoutView], Files, Fitted | None]:
        if job["state"] == "cancelled":
            return (lambda mention: cards.cancelled(request)), (), None
        if job["state"] is None:
            return _forgotten(request), (), None
        text, ways = failure_text(read_error(job["state"], job["error"]))
        return (lambda mention: cards.failed(request, text, ways, mention)), (), None

    def _link(self, name: str) -> str | None:
        try:
            return self._store.link(name, self._config.link_hours * 3600)
        except StoreError as error:
            log.warning("no link: %s", error)
            return None

    async def _done(self, request: Request, how: str, message: discord.Message | None) -> None:
        columns: dict[str, Any] = {"state": "kept" if how == KEPT else "delivered", "delivered_by": how}
        if message is not None:
            columns["message_id"] = message.id
            if how != TOKEN:
                columns["channel_id"] = message.channel.id
        await self._database.update(request.id, **columns)

    async def _remember(self, request: Request, sent: Fitted, generation: Any, attachment: int | None) -> None:
        pixels = await asyncio.to_thread(pixels_or_nothing, sent.data)
        digest = hashlib.sha256(sent.data).hexdigest()
        known = to_dict(from_dict(generation), carried=False)
        await self._database.remember(request.id, digest, pixels, attachment, known)

    # --- powers that are tried ---

    async def _next_power(self, request: Request, jobs: list[Row]) -> bool:
        """Try the next power, or show the best; True once something was shown."""
        last = jobs[-1]
        if last["state"] not in ENDED:
            return False
        if last["state"] != "done":
            await self._show_one(request, last)
            return True
        measured = {float(p): Drift(*d) for p, d in (request.data.get("measured") or {}).items()}
        if last["number"]:
            power = power_of(str(last["command"]))
            if power not in measured:
                reference, candidate = [
                    await asyncio.to_thread(self._store.get_by_hash, job["object"]) for job in (jobs[0], last)
                ]
                measured[power] = await asyncio.to_thread(drift_of, reference, candidate)
        data = {**request.data, "measured": {f"{p:g}": [d.structure, d.novelty] for p, d in measured.items()}}
        power_next = next_power(measured)
        if power_next is not None:
            command = with_values(request.command, power=power_next)
            await self._intake.next_job(replace(request, data=data), len(jobs), command)
            return False
        choice = best_power(measured)
        best = next(job for job in jobs[1:] if power_of(str(job["command"])) == choice.power)
        await self._show_one(replace(request, data=data), best, f"Power {choice.power:g} was chosen: {choice.reason}")
        return True

    # --- sweeps ---

    async def _show_sweep(self, request: Request, jobs: list[Row]) -> None:
        bad = next((job for job in jobs if job["state"] != "done"), None)
        if bad is not None:
            await self._show_one(request, bad)
            return
        pictures = []
        for job in jobs:
            png = await asyncio.to_thread(self._store.get_by_hash, job["object"])
            pictures.append((f"power {power_of(str(job['command'])):g}", png))
        data = await asyncio.to_thread(sheet, pictures, request.size_limit)
        took = max(job["finished"] for job in jobs) - request.created
        labels = [label for label, _ in pictures]

        def card(mention: int | None) -> ui.LayoutView:
            return cards.sweep(request, labels, "sweep.webp", took.total_seconds(), mention)

        await self._settle(request.id)
        how, message = await self._posting.deliver(request, card, [("sweep.webp", data)])
        await self._done(request, how, message)


def _forgotten(request: Request) -> Callable[[int | None], ui.LayoutView]:
    error: DistilleryError = JobError("The job is no longer known.", advice="Upscale once more.")
    return lambda mention: cards.failed(request, *failure_text(error), mention)
