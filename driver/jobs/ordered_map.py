"""Work on several things at once and give them back in order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from ..cancel import CancelToken

T = TypeVar("T")
R = TypeVar("R")


def ordered(
    work: Callable[[int, T], R], things: Sequence[T], workers: int, cancel: CancelToken
) -> Generator[R, None, None]:
    """Yield ``work(index, thing)`` for each thing, ``workers`` at a time, begun and yielded in the order of the things.

    An exception of one is raised in its turn. Where the consumer stops early, an exception or Ctrl-C in it included,
    ``cancel`` is cancelled and what is being worked on is waited for.
    """
    executor = ThreadPoolExecutor(max(1, min(workers, len(things))), thread_name_prefix="job")
    finished = False
    try:
        futures = [executor.submit(work, index, thing) for index, thing in enumerate(things)]
        for future in futures:
            while not wait([future], timeout=0.5).done:
                pass  # not for ever: on Windows that would not hear Ctrl-C
            yield future.result()
        finished = True
    finally:
        if not finished:
            cancel.cancel()
        executor.shutdown(wait=True, cancel_futures=True)
