"""Jobs whose sender is gone: a driver that was killed cannot cancel what it queued, so that the server does.

A job with LEASE_KEY in its ``extra_data`` is taken off the queue, or interrupted, once nothing was heard of its sender for that
many seconds: no websocket with its client id, no renewal. Jobs without the key, those of the editor among them, go on without
anybody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

LEASE_KEY = "distillery_lease"
"""In a job's ``extra_data``: seconds, 10 to 86,400."""
EVERY = 5.0
"""Seconds between two looks at the queue."""
MAX_RENEWALS = 1000
"""Renewals that are remembered; the oldest are forgotten first."""
_SHORTEST, _LONGEST = 10.0, 86_400.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leased:
    """A job with a lease."""

    prompt_id: str
    client_id: str
    seconds: float


@dataclass
class Leases:
    """What was heard of the senders of jobs, and when. Times are of a monotonic clock, in seconds."""

    heard: dict[str, float] = field(default_factory=dict)
    """Job to the time at which its sender was last known to live."""

    def renew(self, prompt_id: str, now: float) -> None:
        """Note that a job's sender lives."""
        self.heard.pop(prompt_id, None)
        self.heard[prompt_id] = now
        while len(self.heard) > MAX_RENEWALS:
            del self.heard[next(iter(self.heard))]

    def expired(self, jobs: Iterable[Leased], connected: Collection[str], now: float) -> list[str]:
        """Return the jobs whose sender is gone. connected: the client ids that have a websocket."""
        gone = []
        for job in jobs:
            if job.client_id in connected or job.prompt_id not in self.heard:
                self.renew(job.prompt_id, now)
            elif now - self.heard[job.prompt_id] > job.seconds:
                gone.append(job.prompt_id)
        return gone


def lease_of(extra_data: Any) -> float | None:
    """Return the seconds that a job's ``extra_data`` asks for, within bounds; None: it has no lease."""
    seconds = extra_data.get(LEASE_KEY) if isinstance(extra_data, Mapping) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return min(max(float(seconds), _SHORTEST), _LONGEST) if seconds == seconds else None


def leased_jobs(items: Iterable[Any]) -> list[Leased]:
    """Return the jobs with a lease among items of ComfyUI's queue, which are tuples (number, id, graph, extra data, …)."""
    found = []
    for item in items:
        seconds = lease_of(item[3])
        if seconds is not None:
            found.append(Leased(str(item[1]), str(item[3].get("client_id")), seconds))
    return found


class Watcher:
    """Looks at a server's queue while it has jobs with a lease, in a thread of its own."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._leases = Leases()
        self._lock = threading.Lock()
        self._running = False

    def on_prompt(self, json_data: Any) -> Any:
        """See each job that is queued; ComfyUI calls this with the body of the request."""
        if isinstance(json_data, Mapping) and lease_of(json_data.get("extra_data")) is not None:
            with self._lock:
                if not self._running:
                    self._running = True
                    threading.Thread(target=self._watch, daemon=True, name="distillery leases").start()
        return json_data

    def renew(self, prompt_id: str) -> None:
        """Note that a job's sender lives, though it has no websocket."""
        with self._lock:
            self._leases.renew(prompt_id, time.monotonic())

    def _watch(self) -> None:
        while True:
            time.sleep(EVERY)
            queue = self._server.prompt_queue
            running, queued = queue.get_current_queue_volatile()
            jobs = leased_jobs([*running, *queued])
            with self._lock:
                if not jobs:
                    self._running = False
                    self._leases = Leases()
                    return
                gone = self._leases.expired(jobs, set(self._server.sockets), time.monotonic())
            for prompt_id in gone:
                log.warning("job %s: nothing was heard of who sent it; it is cancelled", prompt_id)
                _cancel(queue, prompt_id)


def _cancel(queue: Any, prompt_id: str) -> None:
    if queue.delete_queue_item(lambda item: item[1] == prompt_id):
        return
    if hasattr(queue, "interrupt_if_running"):
        queue.interrupt_if_running(prompt_id)
        return
    import nodes  # ComfyUI's own module of that name

    with queue.mutex:  # so that the job does not end between the look and the interruption
        if any(item[1] == prompt_id for item in queue.currently_running.values()):
            nodes.interrupt_processing()
