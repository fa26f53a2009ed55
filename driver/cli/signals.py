"""Being told to end: SIGTERM and SIGHUP do what Ctrl-C does, so that no job and no half-written file is left behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_NAMES = ("SIGTERM", "SIGHUP", "SIGBREAK")
"""The last one is Windows' Ctrl-Break."""


class Terminated(KeyboardInterrupt):
    """The process was told to end by another signal than Ctrl-C's."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def interrupted(error: KeyboardInterrupt) -> int:
    """Return the exit code: 128 and the signal's number, as shells have it."""
    return 128 + (error.number if isinstance(error, Terminated) else int(signal.SIGINT))


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise Terminated in the main thread on SIGTERM and SIGHUP; one that is ignored (nohup) stays so."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
