"""Working on several things at once and giving them back in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from ..cancel import CancelToken

T = TypeVar("T")
R = TypeVar("R")


def ordered(
    work: Callable[[int, T], R], things: Sequence[T], workers: int, cancel: CancelToken
) -> Generator[R, None, None]:
    """``work(index, thing)`` for each thing, ``workers`` at a time, begun and yielded in the order of the things.

    An exception of one is raised in its turn. Where the consumer stops early, an exception or Ctrl-C in it included,
    ``cancel`` is cancelled and what is being worked on is waited for.
    """
    done: dict[int, tuple[R | None, BaseException | None]] = {}
    change = threading.Condition()
    indices = iter(range(len(things)))
    stop = threading.Event()

    def loop() -> None:
        while True:
            with change:
                index = None if stop.is_set() else next(indices, None)
            if index is None:
                return
            result: R | None = None
            error: BaseException | None = None
            try:
                result = work(index, things[index])
            except BaseException as raised:
                error = raised
            with change:
                done[index] = (result, error)
                change.notify_all()

    threads = [threading.Thread(target=loop, name=f"job {i}", daemon=True) for i in range(min(workers, len(things)))]
    finished = False
    try:
        for thread in threads:
            thread.start()
        for index in range(len(things)):
            with change:
                while index not in done:
                    change.wait(0.5)  # not for ever: on Windows that would not hear Ctrl-C
                result, error = done.pop(index)
            if error is not None:
                raise error
            yield result  # type: ignore[misc]
        finished = True
    finally:
        stop.set()
        if not finished:
            cancel.cancel()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
