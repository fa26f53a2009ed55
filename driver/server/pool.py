"""Several servers: which one a job goes to, and what becomes of one that fails.

Each server is given at most DEPTH jobs at a time: one that runs and one that waits behind it with its picture
already there, so that the server goes from one to the next without a pause.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ...nodes.model_files.names import match_name
from ..cancel import CancelToken
from ..errors import JobLost, JobStuck, ServerError
from .client import ComfyClient

Failure = ServerError | JobLost | JobStuck
"""What a server is set aside for."""

log = logging.getLogger(__name__)

Say = Callable[[str], None]

DEPTH = 2
"""Jobs that one server is given at a time."""
FRESH = 1.0
"""Seconds for which a server's queue length is believed."""
CHECKPOINTS_FRESH = 60.0
"""Seconds for which a server's list of checkpoints is believed."""
GRACE = 1.0
"""Seconds for which a job that is still being read is waited for, so that jobs begin in their order. Not while a
server has nothing to do, except at the very beginning."""
BACKOFF = (2.0, 60.0)
"""Seconds for which a failing server is set aside: the first time, doubled each time after, and at most."""
PATIENCE = 120.0
"""Seconds for which a job waits while all servers are set aside."""


@dataclass
class Member:
    """One server of a pool."""

    name: str
    """For messages: its URL, or ``the managed server``."""
    connect: Callable[[Say], ComfyClient]
    """The client of a server that is known to answer and to have this pack. Raises ServerError."""
    in_flight: int = 0
    """Jobs of this pool that it was given and that have not ended."""
    load: int = 0
    """Jobs in its queue that are not this pool's, when it was last asked."""
    asked: float = -1e9
    checkpoints: Sequence[str] = ()
    listed: float = -1e9
    answered: bool = False
    """Whether it ever did."""
    failures: int = 0
    """In a row."""
    retry_at: float = 0.0
    """It is set aside until then (monotonic clock)."""
    error: Failure | None = None
    """Why it is set aside."""
    uploaded: dict[str, str] = field(default_factory=dict)
    """Names of the pictures that were uploaded last to the names that the server gave them."""
    uploading: threading.Lock = field(default_factory=threading.Lock)
    """Held during an upload, so that two jobs of one picture upload it once."""
    orphans: set[str] = field(default_factory=set)
    """Jobs that it may still have, and that were run elsewhere meanwhile."""

    def ask(self) -> None:
        """Ask for its queue and its checkpoints, unless that was just done. Raises ServerError."""
        now = time.monotonic()
        if now - self.asked < FRESH:
            return
        client = self.connect(lambda text: None)
        mine = self.in_flight
        self.load = max(0, client.queue_length() - mine)
        if now - self.listed > CHECKPOINTS_FRESH:
            self.checkpoints, self.listed = client.checkpoints(), now
        for prompt_id in list(self.orphans):
            client.cancel(prompt_id, timeout=5)
            self.orphans.discard(prompt_id)
        self.asked, self.answered = now, True

    def knows(self, checkpoint: str | None) -> bool:
        """Whether it has a checkpoint of that name, folder and extension aside."""
        return checkpoint is not None and match_name(checkpoint, self.checkpoints) is not None


class ServerPool:
    """Hands out servers. Safe for use by several threads.

    The least busy server comes first, among those that have the wanted checkpoint if any has it. One that fails is
    set aside, for longer each time, and tried again later.
    """

    def __init__(self, members: Sequence[Member], depth: int = DEPTH) -> None:
        self.members = list(members)
        self.depth = depth
        self._change = threading.Condition()
        self._waiting: list[int] = []
        self._expected: dict[int, float] = {}
        self._begun = False

    def expect(self, rank: int) -> None:
        """Say that a job of that rank is about to come; those behind it let it go first, for a moment."""
        with self._change:
            self._expected[rank] = time.monotonic() + GRACE

    def _first(self) -> int:
        now = time.monotonic()
        self._expected = {r: until for r, until in self._expected.items() if until > now}
        if self._begun and any(not m.in_flight and not self._aside(m) for m in self.members):
            return min(self._waiting)
        return min([*self._waiting, *self._expected])

    @contextlib.contextmanager
    def slot(self, rank: int, checkpoint: str | None, cancel: CancelToken) -> Iterator[Member]:
        """A server to give one job to; the lowest rank is served first.

        checkpoint: what the job would like to find there, or None where it does not matter. Raises JobCancelled, and
        ServerError where no server can be used.
        """
        member = self._acquire(rank, checkpoint, cancel)
        try:
            yield member
        finally:
            with self._change:
                member.in_flight -= 1
                self._change.notify_all()

    def failed(self, member: Member, error: Failure) -> None:
        """Set a server aside that did not do what it should."""
        with self._change:
            member.failures += 1
            pause = min(BACKOFF[1], BACKOFF[0] * 2 ** (member.failures - 1))
            member.retry_at = time.monotonic() + pause
            member.error = error
            member.asked = member.listed = -1e9
            member.uploaded.clear()
            self._change.notify_all()
        log.warning("%s is set aside for %.0f s: %s", member.name, pause, error)

    def worked(self, member: Member) -> None:
        """A job has come to its end there."""
        with self._change:
            member.failures, member.retry_at, member.error, member.answered = 0, 0.0, None, True

    def _notify(self) -> None:
        with self._change:
            self._change.notify_all()

    def _acquire(self, rank: int, checkpoint: str | None, cancel: CancelToken) -> Member:
        since = time.monotonic()
        with self._change:
            self._expected.pop(rank, None)
            self._waiting.append(rank)
            self._change.notify_all()
        try:
            with cancel.waking(self._notify):
                while True:
                    cancel.check()
                    with self._change:
                        if self._first() != rank:
                            self._change.wait(GRACE if self._expected else 1.0)
                            continue
                    member = self._choose(checkpoint)
                    with self._change:
                        if member is not None and member.in_flight < self.depth:
                            member.in_flight += 1
                            self._begun = True
                            return member
                        patient = any(m.answered for m in self.members) and time.monotonic() - since < PATIENCE
                        if not patient and all(self._aside(m) for m in self.members):
                            raise _none_left(self.members)
                        if member is None:
                            self._change.wait(min(1.0, self._pause()))
        finally:
            with self._change:
                self._waiting.remove(rank)
                self._change.notify_all()

    def _aside(self, member: Member) -> bool:
        # A single server that never answered is asked again for each job: there is nothing to wait for.
        return (len(self.members) > 1 or member.answered) and member.retry_at > time.monotonic()

    def _pause(self) -> float:
        """Seconds until a server that is set aside may be tried again."""
        now = time.monotonic()
        return max(0.01, min((m.retry_at - now for m in self.members if m.retry_at > now), default=1.0))

    def _choose(self, checkpoint: str | None) -> Member | None:
        """The server to take next, or None where it is better to wait. Asks the servers, so no lock is held."""
        if len(self.members) == 1:
            member = self.members[0]
            return member if member.in_flight < self.depth and not self._aside(member) else None
        for member in self.members:
            if not self._aside(member):
                try:
                    member.ask()
                except ServerError as error:
                    self.failed(member, error)
        return best(self.members, [not self._aside(m) for m in self.members], checkpoint, self.depth)


def best(members: Sequence[Member], usable: Sequence[bool], checkpoint: str | None, depth: int) -> Member | None:
    """The least busy usable server, among those that have the checkpoint if any has it.

    None where each of those has its ``depth`` jobs: waiting for the right server is better than the wrong one.
    """
    candidates = [m for m, can in zip(members, usable, strict=True) if can]
    candidates = [m for m in candidates if m.knows(checkpoint)] or candidates
    free = [m for m in candidates if m.in_flight < depth]
    return min(free, key=lambda m: m.load + m.in_flight, default=None)


def _none_left(members: Sequence[Member]) -> Failure:
    if len(members) == 1 and members[0].error is not None:
        return members[0].error
    reasons = " ".join(f"{m.error}" for m in members)
    return ServerError(f"None of the {len(members)} servers can be used. {reasons}")
