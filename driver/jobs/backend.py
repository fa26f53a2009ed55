"""The protocol of what runs jobs: ComfyUI servers reached from this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..cancel import CancelToken
from .job import OnProgress, Result
from .prepare import Task


class Backend(Protocol):
    """Runs jobs. Safe for use by several threads."""

    @property
    def concurrency(self) -> int:
        """Jobs that are worth being worked on at a time, those being read and written included."""

    def start(self, say: Callable[[str], None]) -> None:
        """Start what has to be started before the first job, in the caller's thread. Raises ServerError."""

    def announce(self, ticket: int) -> None:
        """Say that the job with that ticket is about to be run, so that jobs begin in the order of their tickets."""

    def run(
        self, task: Task, report: OnProgress, cancel: CancelToken, on_begin: Callable[[], None] = lambda: None
    ) -> Result:
        """Run one job to its end and write its result.

        report: called with :mod:`driver.events`, in this thread. cancel: takes the job off, from another thread.
        on_begin: called when the job has got what it runs on. Raises DistilleryError.
        """

    def free(self) -> None:
        """Have the servers drop their caches and unload their models."""

    def close(self) -> None:
        """Close the connections."""
