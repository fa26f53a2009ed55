"""The local backend: jobs on ComfyUI servers that this driver talks to itself."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...nodes.generation import from_dict
from ...nodes.record import RECORD_KEY
from ..cancel import CancelToken
from ..errors import JobError, JobLost, JobOutOfMemory, JobRefused, JobStuck, ServerError
from ..events import Message
from ..log import job_log
from ..server import workflow
from ..server.api import upload_name
from ..server.client import ComfyClient, Outcome
from ..server.pool import PooledServer, ServerPool
from ..server.servers import Server
from .contact_sheet import before_after
from .download import save_download
from .existing import earlier_result
from .job import OnProgress, Result, prompt_id
from .prepare import Task
from .retry import RESTART_HINT, SMALL_TILE, Attempt, Retryable, react
from .tracker import ProgressTracker

log = logging.getLogger(__name__)

UNREACHABLE_WITH_FALLBACK = 20.0
"""Seconds without an answer after which a server is given up, where there are others."""
MAX_REMEMBERED_UPLOADS = 8
"""Uploads that are remembered a server."""


class LocalBackend:
    """Runs jobs on one or several ComfyUI servers, each on the least busy one; see :class:`.backend.Backend`."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.pool = ServerPool([PooledServer(server) for server in servers])

    @property
    def concurrency(self) -> int:
        """Jobs worth working on at a time: those that the servers take, one being fetched, one being written."""
        return len(self.pool.servers) * self.pool.max_in_flight + 2

    def start(self, say: Callable[[str], None]) -> None:
        """Start a managed server in the caller's thread, where Ctrl-C can end the start. Raises ServerError."""
        for pooled in self.pool.servers:
            pooled.server.start(say)

    def announce(self, ticket: int) -> None:
        """Say that the job with that ticket is about to be run."""
        self.pool.announce(ticket)

    def run(
        self, task: Task, report: OnProgress, cancel: CancelToken, on_begin: Callable[[], None] = lambda: None
    ) -> Result:
        """Run one job, anew on another server where one fails it, and write its result. Raises DistilleryError."""
        with job_log(task.job.source, task.job.id):
            started = time.monotonic()
            if (earlier := earlier_result(task, started)) is not None:
                return earlier
            log.info("begins", extra={"data": {"command": task.job.command}})
            return _JobRun(self.pool, task, report, cancel, on_begin, started).run()

    def free(self) -> None:
        """Have the servers drop their caches and unload their models."""
        for pooled in self.pool.servers:
            pooled.server.connect(lambda text: None).free()

    def close(self) -> None:
        """Close the connections."""
        for pooled in self.pool.servers:
            pooled.server.close()


@dataclass
class _JobRun:
    """One job under way: its attempts, until one succeeds or there is nothing left to try."""

    pool: ServerPool
    task: Task
    report: OnProgress
    cancel: CancelToken
    on_begin: Callable[[], None]
    started: float
    attempt: int = 1
    """Counts the runs of the whole job, on whichever server."""
    prompts: int = 0
    """Counts the prompts that servers were given: several an attempt where an upload is made again."""
    tile: int | None = None
    """Side of the HiRes tiles in pixels; None: what the server chooses by the model."""
    tracker: ProgressTracker = field(init=False)

    def __post_init__(self) -> None:
        self.tracker = ProgressTracker(self.report)

    def run(self) -> Result:
        while True:
            pooled: PooledServer | None = None
            client: ComfyClient | None = None
            try:
                with self.pool.slot(self.task.ticket, self.task.job.checkpoint, self.cancel) as pooled:
                    self.on_begin()
                    self.cancel.check()
                    client = pooled.server.connect(self.say, self.cancel)
                    graph, outcome = self._queue_and_wait(pooled, client)
                self.pool.mark_healthy(pooled)
                return self._finish(pooled.server, client, graph, outcome)
            except (JobOutOfMemory, ServerError, JobLost, JobStuck) as error:
                if pooled is None:
                    raise  # no server is left
                self._react(error, pooled, client)
            self.attempt += 1

    def say(self, text: str) -> None:
        self.report(Message(text))

    def _react(self, error: Retryable, pooled: PooledServer, client: ComfyClient | None) -> None:
        """Do what the failure leads to; raises it where the job is not run again."""
        server, servers = pooled.server, len(self.pool.servers)
        reaction = react(error, Attempt(self.attempt, servers, client is not None, server.can_restart, self.tile))
        if reaction.cool_down and not isinstance(error, JobOutOfMemory):
            self.pool.mark_failed(pooled, error)
        restarted = False
        if reaction.restart is not None and client is not None:
            restarted = server.restart(client, reaction.restart, self.say)
        if not reaction.again:
            if isinstance(error, JobOutOfMemory) and error.main and not restarted:
                raise JobOutOfMemory(error.reason, error.node, error.main, RESTART_HINT) from None
            raise error
        log.warning("again", extra={"data": {"attempt": self.attempt, "error": str(error)}})
        if reaction.small_tiles:
            self._shrink_tiles(client, restarted)
        else:
            reason = error.reason if isinstance(error, JobError) else str(error)
            self.say(f"{reason} Running it again{'' if servers == 1 else ' elsewhere'}.")

    def _shrink_tiles(self, client: ComfyClient | None, restarted: bool) -> None:
        self.say(f"The server ran out of memory. Trying once more with tiles of {SMALL_TILE} pixels.")
        if client is not None and not restarted:
            with contextlib.suppress(ServerError):
                client.free()
        self.tile = SMALL_TILE

    def _queue_and_wait(self, pooled: PooledServer, client: ComfyClient) -> tuple[dict[str, Any], Outcome]:
        """Upload, queue and wait; returns the graph that was run and what it left."""
        try:
            name, remembered = self._upload(pooled, client)
            try:
                return self._run_prompt(pooled, client, name)
            except JobRefused:
                if not remembered:
                    raise
            # The server has lost the picture meanwhile.
            name, _ = self._upload(pooled, client, again=True)
            return self._run_prompt(pooled, client, name)
        finally:
            pooled.server.keep_alive()

    def _upload(self, pooled: PooledServer, client: ComfyClient, again: bool = False) -> tuple[str, bool]:
        """Return the server's name of the uploaded image, and whether it was there from an earlier job."""
        key = (client.url, upload_name(*self.task.upload))
        with pooled.uploading:
            remembered = None if again else pooled.uploaded.get(key)
            name = remembered or client.upload_image(*self.task.upload)
            pooled.uploaded[key] = name
            while len(pooled.uploaded) > MAX_REMEMBERED_UPLOADS:
                del pooled.uploaded[next(iter(pooled.uploaded))]
        return name, remembered is not None

    def _run_prompt(self, pooled: PooledServer, client: ComfyClient, name: str) -> tuple[dict[str, Any], Outcome]:
        job = self.task.job
        self.prompts += 1
        # Each prompt has a prefix of its own: a fully cached one would otherwise name an older file.
        graph = workflow.build(name, job.command, f"distillery/{job.id}_{self.prompts}", tile=self.tile)
        plain = workflow.editor_workflow(name, job.command, "distillery/upscale", self.tile)
        extra: dict[str, Any] = {"extra_pnginfo": {"workflow": plain}}
        if job.preview:
            extra["preview_method"] = "auto"
        self.tracker.titles.update(workflow.titles(graph))
        unreachable = UNREACHABLE_WITH_FALLBACK if len(self.pool.servers) > 1 else None
        wanted = prompt_id(job.id, self.prompts)
        # The preview before and after is the editor's: here nobody sees it, and its files would stay.
        targets = [workflow.node_id(graph, workflow.SAVE_NODE)]
        try:
            return graph, client.run(graph, wanted, extra, self.tracker.event, self.cancel, unreachable, targets)
        except ServerError as error:
            if error.prompt_id is None:
                raise
            # Never run twice what may have succeeded: it is asked for once more before it goes elsewhere.
            try:
                outcome = client.resume(error.prompt_id, graph, self.cancel)
            except ServerError:
                pooled.orphaned_jobs.add(error.prompt_id)
                raise error from None
            if outcome is None:
                raise JobLost(f"The server at {client.url} has lost the job.") from error
            return graph, outcome

    def _finish(self, server: Server, client: ComfyClient, graph: Mapping[str, Any], outcome: Outcome) -> Result:
        """Download the result; nothing of this keeps the server from the next job."""
        task, job = self.task, self.task.job
        saved, record = _saved(outcome.outputs.get(workflow.node_id(graph, workflow.SAVE_NODE)))
        made_file = save_download(server, client, saved, task.output, job.stem)
        server.forget(client, outcome.prompt_id)
        path = made_file.path
        executed = None
        if outcome.started is not None and outcome.ended is not None:
            executed = (outcome.started, outcome.ended)
        generation = from_dict(record.get("generation"))
        for warning in made_file.warnings:
            generation = generation.warn(warning)
        if self.tile is not None:
            generation = generation.warn(f"the server ran out of memory: made with tiles of {self.tile} pixels")
        made = Result(
            path=path,
            width=made_file.width,
            height=made_file.height,
            generation=generation,
            recalled=task.image.generation,
            seconds=self.tracker.seconds,
            total=time.monotonic() - self.started,
            cached=tuple(self.tracker.titles[i] for i in outcome.cached if i in self.tracker.titles),
            server=client.url,
            prompt_id=outcome.prompt_id,
            source_hash=job.source_hash,
            executed=executed,
            job_id=job.id,
        )
        if task.compare:
            made = replace(made, compared=before_after(task.image.png, path), total=time.monotonic() - self.started)
        data = {"path": str(path), "prompt_id": made.prompt_id, "seconds": round(made.total, 3)}
        log.info("done", extra={"data": data})
        return made


def _saved(output: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """The saved image and the record that the Save node returned."""
    try:
        image = output["images"][0]
        return {k: str(image[k]) for k in ("filename", "subfolder", "type")}, json.loads(output[RECORD_KEY][0])
    except (KeyError, IndexError, TypeError, ValueError):
        raise JobError(
            "The job ended, but the Save node returned no image. Is the server's pack an older one?"
        ) from None
