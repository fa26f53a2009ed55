"""Cancelling jobs from another thread, or from a signal."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from .errors import JobCancelled


class CancelToken:
    """Cancels whatever was started with it, once and for good. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._wake: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """True once :meth:`cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancel: queued and running jobs are taken off their servers, nothing new begins."""
        with self._lock:
            self._cancelled = True
            wake = list(self._wake)
        for callback in wake:
            callback()

    def check(self) -> None:
        """Raise JobCancelled where it was cancelled."""
        if self._cancelled:
            raise JobCancelled("The job was cancelled.")

    @contextlib.contextmanager
    def waking(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have ``callback`` called, in the cancelling thread, while the block waits for something."""
        with self._lock:
            self._wake.append(callback)
            late = self._cancelled
        if late:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._wake.remove(callback)
