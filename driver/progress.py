"""Showing progress in a terminal: a bar with stage and step, or plain lines where there is no terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from .events import Message, Stage, Step
from .events import Progress as Event

_QUICK = {"Upscale Parameters", "HiRes Result", "Pad for VAE", "HiRes Tiles"}
"""Stages that take no time and would only flicker."""


class TerminalProgress:
    """Shows the events of one job; a context manager."""

    def __init__(self, console: Console, label: str) -> None:
        self._console = console
        self._label = label
        self._plain = not console.is_terminal
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> TerminalProgress:
        if not self._plain:
            self._bar = Progress(
                SpinnerColumn(), TextColumn("{task.fields[label]}"), BarColumn(), TextColumn("{task.description}"),
                TimeElapsedColumn(), console=self._console, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("preparing", total=None, label=self._label)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Message):
            self._console.print(event.text, style=None if self._plain else "dim", markup=False, highlight=False)
        elif isinstance(event, Stage):
            if event.title in _QUICK:
                return
            if self._plain:
                self._console.print(f"{self._label}: {event.title}", highlight=False)
            elif self._bar is not None and self._task is not None:
                self._bar.update(self._task, description=event.title, completed=0, total=None)
        elif isinstance(event, Step) and self._bar is not None and self._task is not None:
            count = f"{event.title} {event.value}/{event.maximum}" if event.maximum < 10_000 else event.title
            self._bar.update(self._task, description=count, completed=event.value, total=event.maximum)
