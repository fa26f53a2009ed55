"""Progress in a terminal: a bar with stage and step, or plain lines if the output is no terminal."""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from ..events import Message, Preview, Stage, Step
from ..events import Progress as Event
from .terminal_image import Protocol, escape_sequence

_QUICK = {"Upscale Parameters", "HiRes Result", "Pad for VAE", "HiRes Tiles"}
"""Stages too short to show; they would flicker."""
_PREVIEW_EVERY = 1.0
"""Minimum seconds between two previews."""


class TerminalProgress:
    """Context manager that shows the events of one job, or of several at a time, a bar for each.

    Safe for use by several threads.
    """

    def __init__(self, console: Console, label: str = "", previews: Protocol | None = None) -> None:
        self._console = console
        self._label = label
        self._previews = previews
        self._shown_at = 0.0
        self._plain = not console.is_terminal
        self._lock = threading.RLock()
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalProgress:
        if not self._plain:
            self._bar = Progress(
                SpinnerColumn(), TextColumn("{task.fields[label]}"), BarColumn(), TextColumn("{task.description}"),
                TimeElapsedColumn(), console=self._console, transient=True,
            )  # fmt: skip
            self._bar.start()
            if self._label:
                self._task(self._label)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show an event of the one job."""
        self.show(self._label, event)

    def show(self, label: str, event: Event) -> None:
        """Show an event of the job with that label."""
        with self._lock:
            if isinstance(event, Message):
                self._console.print(event.text, style=None if self._plain else "dim", markup=False, highlight=False)
            elif isinstance(event, Preview):
                self._show_preview(event)
            elif isinstance(event, Stage):
                if event.title in _QUICK:
                    return
                if self._bar is None:
                    self._console.print(f"{label}: {event.title}", highlight=False)
                else:
                    self._bar.update(self._task(label), description=event.title, completed=0, total=None)
            elif self._bar is not None and isinstance(event, Step):
                count = f"{event.title} {event.value}/{event.maximum}" if event.maximum < 10_000 else event.title
                self._bar.update(self._task(label), description=count, completed=event.value, total=event.maximum)

    def done(self, label: str) -> None:
        """Remove the bar of a job."""
        with self._lock:
            task = self._tasks.pop(label, None)
            if self._bar is not None and task is not None:
                self._bar.remove_task(task)

    def _task(self, label: str) -> TaskID:
        assert self._bar is not None
        if label not in self._tasks:
            self._tasks[label] = self._bar.add_task("preparing", total=None, label=label)
        return self._tasks[label]

    def _show_preview(self, event: Preview) -> None:
        now = time.monotonic()
        if self._previews is None or now - self._shown_at < _PREVIEW_EVERY:
            return
        self._shown_at = now
        with contextlib.suppress(ValueError):
            sequence = escape_sequence(event.image, self._previews)
            if self._bar is not None:
                self._bar.stop()
            self._console.file.write(sequence)
            self._console.file.flush()
            if self._bar is not None:
                self._bar.start()
