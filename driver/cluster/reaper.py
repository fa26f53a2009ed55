"""Telling dead workers from silent ones.

A worker is dead once this process has seen its heartbeat stand still for DEAD_AFTER, and could ask all the while. No
clock but this process's own is believed: neither a jump of the database's, nor its absence, nor a pause of this
machine makes anybody look dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

BEAT = 5.0
"""Seconds between two heartbeats."""
WATCH = 2.0
"""Seconds between two looks at those of the others."""
DEAD_AFTER = 28.0
"""Seconds for which a heartbeat stands still before its worker is taken for dead."""
MAX_GAP = 10.0
"""Seconds between two looks after which all that was seen before is forgotten."""


@dataclass
class _Seen:
    beat: int
    since: float


class Reaper:
    """Watches the heartbeats of all workers. clock: monotonic, in seconds."""

    def __init__(self, dead_after: float = DEAD_AFTER, clock: Callable[[], float] = time.monotonic) -> None:
        self.dead_after = dead_after
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._looked = clock()

    def look(self, beats: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Take the heartbeats as they are now; returns those of workers that are dead."""
        now = self._clock()
        if now - self._looked > MAX_GAP:
            self._seen.clear()
        self._looked = now
        current: dict[str, _Seen] = {}
        for worker, beat in beats:
            seen = self._seen.get(worker)
            current[worker] = seen if seen is not None and seen.beat == beat else _Seen(beat, now)
        self._seen = current
        return [(worker, seen.beat) for worker, seen in current.items() if now - seen.since >= self.dead_after]
