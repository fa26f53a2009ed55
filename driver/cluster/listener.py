"""Hearing of jobs: one connection and one thread for all that a process waits for."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from .database import CONNECT
from .progress import channel, read_payload

log = logging.getLogger(__name__)

TURN = 0.1
"""Seconds after which a channel that was added meanwhile is listened to."""
RETRY = 2.0
"""Seconds between attempts to connect again."""

Inbox = queue.SimpleQueue[dict[str, Any]]


class Listener:
    """Listens to the notifications of jobs. News may be lost while it reconnects: the row of a job is the truth."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._inboxes: dict[str, list[Inbox]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def following(self, job_id: str) -> Iterator[Inbox]:
        """Give an inbox that fills with what is told of a job, until the end of the block."""
        inbox: Inbox = queue.SimpleQueue()
        with self._lock:
            self._inboxes.setdefault(channel(job_id), []).append(inbox)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cluster listener", daemon=True)
                self._thread.start()
        try:
            yield inbox
        finally:
            with self._lock:
                others = self._inboxes[channel(job_id)]
                others.remove(inbox)
                if not others:
                    del self._inboxes[channel(job_id)]

    def close(self) -> None:
        """End the thread and its connection."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with psycopg.connect(self._conninfo, autocommit=True, **CONNECT) as connection:
                    self._listen(connection)
            except (psycopg.Error, OSError) as error:
                log.info("not listening: %s", type(error).__name__)
            self._ended.wait(RETRY)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        heard: set[str] = set()
        while not self._ended.is_set():
            with self._lock:
                wanted = set(self._inboxes)
            for command, names in (("LISTEN {}", wanted - heard), ("UNLISTEN {}", heard - wanted)):
                for name in names:
                    connection.execute(sql.SQL(command).format(sql.Identifier(name)))
            for name in wanted - heard:  # what was told before is not: its row is to be looked at now
                self._give(name, {"listening": True})
            heard = wanted
            for notification in connection.notifies(timeout=TURN, stop_after=50):
                self._give(notification.channel, read_payload(notification.payload))

    def _give(self, name: str, data: dict[str, Any]) -> None:
        with self._lock:
            for inbox in self._inboxes.get(name, ()):
                inbox.put(data)
