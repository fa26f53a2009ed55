"""From a job's events to progress, and to seconds by stage."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ..events import Preview, Stage, Step
from ..server.event_stream import Cached, Executing, JobEvent, NodeProgress, PreviewFrame
from .job import OnProgress


@dataclass
class ProgressTracker:
    """Turns a job's events into progress and seconds by stage."""

    report: OnProgress
    titles: dict[str, str] = field(default_factory=dict)
    """Node id to title."""
    seconds: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    running: str | None = None
    since: float = 0.0

    def event(self, event: JobEvent) -> None:
        """Take the next event."""
        if isinstance(event, Cached):
            self.done.update(event.nodes)
        elif isinstance(event, Executing):
            self._switch(event.shown)
        elif isinstance(event, NodeProgress) and self.running is not None and event.maximum:
            self.report(Step(self.title(self.running), int(event.value), int(event.maximum)))
        elif isinstance(event, PreviewFrame):
            self.report(Preview(self.title(event.node), event.image, event.mime))

    def title(self, node: str) -> str:
        """A node's title."""
        return self.titles.get(node, node)

    def _switch(self, node: str | None) -> None:
        now = time.monotonic()
        if self.running is not None:
            title = self.title(self.running)
            self.seconds[title] = self.seconds.get(title, 0.0) + now - self.since
            self.done.add(self.running)
        self.running, self.since = node, now
        if node is not None:
            self.report(Stage(self.title(node), len(self.done), len(self.titles)))
