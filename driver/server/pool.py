"""Several servers: which one a job goes to, and what becomes of one that fails.

Each server is given at most MAX_IN_FLIGHT jobs at a time: one that runs and one that waits behind it with its picture
already there, so that the server goes from one to the next without a pause.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...nodes.model_files.names import match_name
from ..cancel import CancelToken
from ..errors import JobLost, JobStuck, ServerError
from .servers import Server

Failure = ServerError | JobLost | JobStuck
"""A failure that has a server cool down."""

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 2
"""Jobs that one server is given at a time."""
QUEUE_TTL = 1.0
"""Seconds for which a server's queue length is believed."""
CHECKPOINTS_TTL = 60.0
"""Seconds for which a server's list of checkpoints is believed."""
ORDERING_GRACE = 1.0
"""Seconds for which a job that is still being read is waited for, so that jobs begin in their order. Not while a
server has nothing to do, except at the very beginning."""
COOLDOWN = (2.0, 60.0)
"""Seconds for which a failing server is cooling down: the first time, doubled each time after, and at most."""
MAX_WAIT = 120.0
"""Seconds for which a job waits while all servers are cooling down."""


@dataclass
class PooledServer:
    """One server of a pool."""

    server: Server
    in_flight: int = 0
    """Jobs of this pool that it was given and that have not ended."""
    load: int = 0
    """Jobs in its queue that are not this pool's, when it was last asked."""
    refreshed: float = -1e9
    checkpoints: Sequence[str] = ()
    listed: float = -1e9
    answered: bool = False
    """True once the server has answered at least once."""
    failures: int = 0
    """In a row."""
    retry_at: float = 0.0
    """It cools down until then (monotonic clock)."""
    error: Failure | None = None
    """Why it cools down."""
    uploaded: dict[tuple[str, str], str] = field(default_factory=dict)
    """Names that the server gave to the images uploaded last, by its URL (a managed one moves) and the image's name."""
    uploading: threading.Lock = field(default_factory=threading.Lock)
    """Held during an upload, so that two jobs of one picture upload it once."""
    orphaned_jobs: set[str] = field(default_factory=set)
    """Jobs that it may still have, and that were run elsewhere meanwhile."""

    def refresh(self) -> None:
        """Ask for its queue and its checkpoints, unless that was just done. Raises ServerError."""
        now = time.monotonic()
        if now - self.refreshed < QUEUE_TTL:
            return
        client = self.server.connect(lambda text: None)
        mine = self.in_flight
        self.load = max(0, client.queue_length() - mine)
        if now - self.listed > CHECKPOINTS_TTL:
            self.checkpoints, self.listed = client.checkpoints(), now
        for prompt_id in list(self.orphaned_jobs):
            client.cancel(prompt_id, timeout=5)
            self.orphaned_jobs.discard(prompt_id)
        self.refreshed, self.answered = now, True

    def knows(self, checkpoint: str | None) -> bool:
        """Return True if it has a checkpoint of that name, folder and extension aside."""
        return checkpoint is not None and match_name(checkpoint, self.checkpoints) is not None


class ServerPool:
    """Hands out servers. Safe for use by several threads.

    The least busy server comes first, among those that have the wanted checkpoint if any has it. One that fails is
    cools down, for longer each time, and tried again later.
    """

    def __init__(self, servers: Sequence[PooledServer], max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self.servers = list(servers)
        self.max_in_flight = max_in_flight
        self._change = threading.Condition()
        self._waiting: list[int] = []
        self._announced: dict[int, float] = {}
        self._begun = False

    def announce(self, ticket: int) -> None:
        """Say that a job of that ticket is about to come; those behind it let it go first, for a moment."""
        with self._change:
            self._announced[ticket] = time.monotonic() + ORDERING_GRACE

    def _first(self) -> int:
        now = time.monotonic()
        self._announced = {r: until for r, until in self._announced.items() if until > now}
        if self._begun and any(not m.in_flight and not self._cooling_down(m) for m in self.servers):
            return min(self._waiting)
        return min([*self._waiting, *self._announced])

    @contextlib.contextmanager
    def slot(self, ticket: int, checkpoint: str | None, cancel: CancelToken) -> Iterator[PooledServer]:
        """Lease a server for one job; the lowest ticket is served first.

        checkpoint: what the job would like to find there, or None where it does not matter. Raises JobCancelled, and
        ServerError where no server can be used.
        """
        server = self._acquire(ticket, checkpoint, cancel)
        try:
            yield server
        finally:
            with self._change:
                server.in_flight -= 1
                self._change.notify_all()

    def mark_failed(self, server: PooledServer, error: Failure) -> None:
        """Have a server that failed cool down."""
        with self._change:
            server.failures += 1
            pause = min(COOLDOWN[1], COOLDOWN[0] * 2 ** (server.failures - 1))
            server.retry_at = time.monotonic() + pause
            server.error = error
            server.refreshed = server.listed = -1e9
            server.uploaded.clear()
            self._change.notify_all()
        log.warning("%s cools down for %.0f s: %s", server.server.name, pause, error)

    def mark_healthy(self, server: PooledServer) -> None:
        """A job has come to its end there."""
        with self._change:
            server.failures, server.retry_at, server.error, server.answered = 0, 0.0, None, True

    def _notify(self) -> None:
        with self._change:
            self._change.notify_all()

    def _acquire(self, ticket: int, checkpoint: str | None, cancel: CancelToken) -> PooledServer:
        since = time.monotonic()
        with self._change:
            self._announced.pop(ticket, None)
            self._waiting.append(ticket)
            self._change.notify_all()
        try:
            with cancel.waking(self._notify):
                while True:
                    cancel.check()
                    with self._change:
                        if self._first() != ticket:
                            self._change.wait(ORDERING_GRACE if self._announced else 1.0)
                            continue
                    server = self._choose(checkpoint)
                    with self._change:
                        if server is not None and server.in_flight < self.max_in_flight:
                            server.in_flight += 1
                            self._begun = True
                            return server
                        patient = any(m.answered for m in self.servers) and time.monotonic() - since < MAX_WAIT
                        if not patient and all(self._cooling_down(m) for m in self.servers):
                            raise _none_left(self.servers)
                        if server is None:
                            self._change.wait(min(1.0, self._pause()))
        finally:
            with self._change:
                self._waiting.remove(ticket)
                self._change.notify_all()

    def _cooling_down(self, server: PooledServer) -> bool:
        # A single server that never answered is asked again for each job: there is nothing to wait for.
        return (len(self.servers) > 1 or server.answered) and server.retry_at > time.monotonic()

    def _pause(self) -> float:
        """Seconds until a server that is cooling down may be tried again."""
        now = time.monotonic()
        return max(0.01, min((m.retry_at - now for m in self.servers if m.retry_at > now), default=1.0))

    def _choose(self, checkpoint: str | None) -> PooledServer | None:
        """The server to take next, or None where it is better to wait. Asks the servers, so no lock is held."""
        if len(self.servers) == 1:
            server = self.servers[0]
            return server if server.in_flight < self.max_in_flight and not self._cooling_down(server) else None
        for server in self.servers:
            if not self._cooling_down(server):
                try:
                    server.refresh()
                except ServerError as error:
                    self.mark_failed(server, error)
        return best(self.servers, [not self._cooling_down(m) for m in self.servers], checkpoint, self.max_in_flight)


def best(
    servers: Sequence[PooledServer], usable: Sequence[bool], checkpoint: str | None, max_in_flight: int
) -> PooledServer | None:
    """The least busy usable server, among those that have the checkpoint if any has it.

    None where each of those has its ``max_in_flight`` jobs: waiting for the right server is better than the wrong one.
    """
    candidates = [m for m, can in zip(servers, usable, strict=True) if can]
    candidates = [m for m in candidates if m.knows(checkpoint)] or candidates
    free = [m for m in candidates if m.in_flight < max_in_flight]
    return min(free, key=lambda m: m.load + m.in_flight, default=None)


def _none_left(servers: Sequence[PooledServer]) -> Failure:
    if len(servers) == 1 and servers[0].error is not None:
        return servers[0].error
    reasons = " ".join(f"{m.error}" for m in servers)
    return ServerError(f"None of the {len(servers)} servers can be used. {reasons}")
