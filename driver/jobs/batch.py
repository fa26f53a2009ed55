"""Many sources: their jobs overlapped so that no server waits, their outcomes in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from ...nodes.errors import DistilleryError
from ..cancel import CancelToken
from ..errors import JobCancelled, NotStarted, ServerError
from ..events import Message, Progress
from ..paths import user_path
from ..sources import label
from ..sources.load import STANDARD_INPUT, Source
from .backend import Backend
from .job import Item, Result
from .ordered_map import ordered

NO_EVENTS: Callable[[int, Progress], None] = lambda index, event: None  # noqa: E731


class State(Enum):
    """State of a job of a batch."""

    WAITING = "waiting"
    """Being read, or waiting for a server."""
    BEGUN = "begun"
    """Given to a server: it is finished, whatever becomes of the others."""
    ENDED = "ended"


@dataclass
class _Entry:
    """One source of a batch."""

    source: Source
    ticket: int
    state: State = State.WAITING
    cancel: CancelToken = field(default_factory=CancelToken)


RunOne = Callable[[Source, int, CancelToken, Callable[[Progress], None], Callable[[], None]], Result]
"""Runs the job of one source: its source, ticket, token, what hears its events, and what is called once it has a server."""


class Batch:
    """Jobs of one call. After an error nothing more is begun, unless ``continue_on_error``; what has begun is finished.

    tickets: one for each source, ascending. run_one: see :data:`RunOne`. on_done: called with each Item once it is done,
    before its turn, from several threads.
    """

    def __init__(
        self,
        backend: Backend,
        sources: Sequence[Source],
        tickets: Sequence[int],
        run_one: RunOne,
        cancel: CancelToken,
        continue_on_error: bool = False,
        on_progress: Callable[[int, Progress], None] = NO_EVENTS,
        on_done: Callable[[Item], None] = lambda item: None,
    ) -> None:
        self._backend = backend
        self._entries = [_Entry(source, ticket) for source, ticket in zip(sources, tickets, strict=True)]
        self._run_one = run_one
        self._cancel = cancel
        self._continue_on_error = continue_on_error
        self._on_progress = on_progress
        self._on_done = on_done
        self._lock = threading.Lock()
        self._stopped = False

    def run(self) -> Generator[Item, None, None]:
        """Yield one Item for each source, in their order. Closing the iterator cancels what runs."""
        with self._cancel.waking(self._cancel_all):
            try:
                self._start_server()
            except ServerError as error:
                for index in range(len(self._entries)):
                    yield self._done(index, None, error)
                return
            yield from ordered(self._work, range(len(self._entries)), self._backend.concurrency, self._cancel)

    def _start_server(self) -> None:
        """Start a managed server in the caller's thread, where Ctrl-C can end the start, if there is any work."""
        first = next((i for i, entry in enumerate(self._entries) if _may_exist(entry.source)), None)
        if first is not None:
            self._backend.start(lambda text: self._on_progress(first, Message(text)))

    def _work(self, index: int, _: int) -> Item:
        entry = self._entries[index]
        self._backend.announce(entry.ticket)
        try:
            entry.cancel.check()
            result = self._run_one(
                entry.source,
                entry.ticket,
                entry.cancel,
                lambda event: self._on_progress(index, event),
                lambda: self._begin(entry),
            )
            return self._done(index, result, None)
        except DistilleryError as error:
            return self._done(index, None, self._failed(entry, error))

    def _begin(self, entry: _Entry) -> None:
        """Note that a job has got a server; it goes no further where the batch was stopped meanwhile."""
        with self._lock:
            if self._stopped and entry.state is State.WAITING:
                entry.cancel.cancel()
            else:
                entry.state = State.BEGUN

    def _failed(self, entry: _Entry, error: DistilleryError) -> DistilleryError:
        """Stop what has not begun, and say of a job that was stopped so that it was not started."""
        with self._lock:
            if not self._continue_on_error and not self._cancel.cancelled and not self._stopped:
                self._stopped = True
                for other in self._entries:
                    if other.state is State.WAITING and other is not entry:
                        other.cancel.cancel()
            if isinstance(error, JobCancelled) and not self._cancel.cancelled and entry.state is State.WAITING:
                return NotStarted("Not started, because of an error before it.")
            return error

    def _done(self, index: int, result: Result | None, error: DistilleryError | None) -> Item:
        entry = self._entries[index]
        with self._lock:
            entry.state = State.ENDED
        item = Item(index, label(entry.source), result, error)
        self._on_done(item)
        return item

    def _cancel_all(self) -> None:
        for entry in reversed(self._entries):  # what waits first: it must not begin when the running one ends
            entry.cancel.cancel()


def _may_exist(source: Source) -> bool:
    """True if the source might exist, so that a server is worth starting."""
    if isinstance(source, str) and (source.strip() == STANDARD_INPUT or "://" in source):
        return True
    if not isinstance(source, str | Path):
        return True
    try:
        return user_path(source).is_file()
    except (OSError, ValueError):  # a NUL in the name
        return False
