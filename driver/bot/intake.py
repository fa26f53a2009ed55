"""From a request to jobs in the queue: the picture is had, read and stored at once, then the job is one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...nodes.command import parse_command
from ...nodes.generation import Generation, from_dict
from ...nodes.model_files.names import match_name, nearest
from ...nodes.recall import recall
from ..cluster.errors import MissingObject
from ..cluster.store import Store
from ..cluster.submission import Accepted
from ..cluster.values import job_of
from ..jobs import auto_power
from ..jobs.job import Options
from ..jobs.output import Output
from ..jobs.prepare import Task, prepare
from ..sources.clean_image import check_header
from ..sources.fetch import FetchPolicy, public_url
from ..sources.load import Rules, fetch
from .config import BotConfig
from .database import BotDatabase
from .pictures import pixel_hash
from .refusals import COMMAND, PICTURE, Refusal
from .texts import plain
from .values import Request, job_id, shown_data, with_values

log = logging.getLogger(__name__)

THREADS = 4
"""Pictures that are fetched and read at a time."""


@dataclass(frozen=True)
class Taken:
    """A request whose jobs are in the queue."""

    request: Request
    accepted: Accepted


class Intake:
    """Takes requests. policy: how links are fetched; None: as usual. token: of the bot, which renews expired links."""

    def __init__(
        self, database: BotDatabase, store: Store, config: BotConfig, token: str, policy: FetchPolicy | None = None
    ) -> None:
        self._database, self._store, self._config = database, store, config
        self._token, self._policy = token, policy
        self._rules = Rules(config.allow_hosts, config.max_pixels)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="intake")

    def close(self) -> None:
        """Wait for nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def take(self, request: Request) -> Taken:
        """Read the picture of a request that is written down and put its jobs into the queue.

        Done a second time, after a restart, it finds the jobs there. Raises DistilleryError, Refusal, what OUTAGE names.
        """
        await self._check_model(request)
        data, name = await self._in_thread(self._picture, request, await self._parent_image(request))
        generation = await self._recall(request, data)
        task = await self._in_thread(self._prepare, request, data, name, generation)
        await self._in_thread(self._store.put_once, "sources", task.image.png)
        jobs = [(job_of(t, request.user, request.tier), t.job.command) for t in self._tasks(request, task)]
        shown = shown_data(task.image.generation, jobs[0][0].image, task.image.width, task.image.height)
        shown["name"] = name
        accepted = await self._database.submit(request, jobs, {**request.data, **shown})
        return Taken(replace(request, state="waiting", data={**request.data, **shown}), accepted)

    async def _check_model(self, request: Request) -> None:
        """Raise Refusal for a checkpoint that no worker has, where one has a name like it; others can be aliases."""
        wanted = parse_command(request.command).model
        if wanted is not None:
            there = await self._database.models()
            near = nearest(wanted, there) if match_name(wanted, there) is None else []
            if near:
                names = ", ".join(f"**{plain(name, 60)}**" for name in near[:3])
                raise Refusal(f"No machine has the checkpoint {plain(wanted, 80)}. There is {names}.", (COMMAND,))

    async def recall(self, request: Request) -> Generation:
        """Return how a request's picture was made, as far as that is known. Raises DistilleryError."""
        data, _ = await self._in_thread(self._picture, request, await self._parent_image(request))
        return await self._recall(request, data)

    async def next_job(self, request: Request, number: int, command: str) -> None:
        """Put one more job of a request that tries powers into the queue."""
        png = await self._in_thread(self._store.get_by_hash, request.picture)
        task = await self._in_thread(
            self._prepare, replace(request, command=command, kind="one"), png, request.name, None
        )
        job = replace(task.job, id=job_id(request.id, number), command=command)
        await self._database.submit(
            request, [(job_of(replace(task, job=job), request.user, request.tier), command)], request.data
        )

    def _tasks(self, request: Request, task: Task) -> Sequence[Task]:
        if request.kind != "sweep":
            return [task]
        commands = [with_values(request.command, power=0.0)]
        commands += [with_values(request.command, power=power) for power in self._config.sweep_powers]
        stem = task.job.stem
        return [
            replace(
                task,
                job=replace(
                    task.job, id=job_id(request.id, at), command=text, stem=f"{stem}_power{parse_command(text).power:g}",
                    checkpoint=task.job.checkpoint if at else None,
                ),
            )
            for at, text in enumerate(commands)
        ]  # fmt: skip

    async def _parent_image(self, request: Request) -> str | None:
        if not request.source.parent:
            return None
        parent = await self._database.request(request.source.parent)
        if parent is None or "image" not in parent.data:
            raise _gone()
        return parent.picture

    def _picture(self, request: Request, stored: str | None) -> tuple[bytes, str]:
        """Fetch the picture; returns the bytes of its file and its name."""
        if stored is not None:
            try:
                return self._store.get_by_hash(stored), request.name
            except MissingObject:
                raise _gone() from None
        data, name = fetch(request.source.url, self._rules.allow_hosts, self._policy, self._token)
        check_header(data, name, self._rules.max_pixels)  # before anything looks into it
        return data, name

    def _prepare(self, request: Request, data: bytes, name: str, known: Generation | None) -> Task:
        command = auto_power.first_command(request.command) if request.kind == "auto" else request.command
        if request.kind == "sweep":  # of its jobs the one that asks for most: a prompt, a checkpoint
            command = with_values(request.command, power=self._config.sweep_powers[0])
        file = io.BytesIO(data)
        file.name = name
        task = prepare(file, command, Output(Path(".")), self._rules, Options(True, job_id=job_id(request.id)), known)
        source = public_url(request.source.url) if request.source.url else name
        deadline = time.time() + self._config.deadline_hours * 3600
        text = with_values(command, power=0.0) if request.kind == "auto" else command
        job = replace(task.job, source=source, deadline=deadline, command=text)
        return replace(task, job=job)

    async def _recall(self, request: Request, data: bytes) -> Generation:
        """Return what the file says; of a picture that the bot has sent itself and whose file says nothing, what the bot knows."""
        generation: Generation = await self._in_thread(recall, data)
        if not generation.empty:
            return generation
        pixels = await self._in_thread(pixel_hash, data, self._config.max_pixels)
        found = await self._database.recall(hashlib.sha256(data).hexdigest(), pixels, request.source.attachment)
        return generation if found is None else from_dict(found)

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _gone() -> Refusal:
    return Refusal("The picture of that request is no longer kept. Send it again.", (PICTURE,))
