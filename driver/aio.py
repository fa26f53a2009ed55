"""The driver for asyncio: the same jobs, awaited."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from ..nodes.generation import Generation
from .cancel import CancelToken
from .events import Progress
from .upscaler import Item, OnProgress, Result, Upscaler

T = TypeVar("T")


class AsyncUpscaler:
    """:class:`driver.upscaler.Upscaler` for asyncio: same arguments, results, events and errors.

    Jobs may be awaited together; a task that is cancelled takes its job off the server before the cancellation
    goes on. Events are given to ``on_progress`` in the event loop.

        async with AsyncUpscaler() as upscaler:
            result = await upscaler.upscale("picture.png", power=0.2)
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._upscaler = Upscaler(*args, **options)

    async def __aenter__(self) -> AsyncUpscaler:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, as :meth:`driver.upscaler.Upscaler.close`."""
        await asyncio.to_thread(self._upscaler.close)

    async def recall(self, source: str | Path) -> Generation:
        """What an image says of how it was made. Needs no server."""
        return await asyncio.to_thread(self._upscaler.recall, source)

    async def upscale(
        self, source: str | Path, command: str = "", on_progress: OnProgress | None = None, **options: Any
    ) -> Result:
        """Upscale one image, see :meth:`driver.upscaler.Upscaler.upscale`."""
        token = options.pop("cancel", None) or CancelToken()
        report = _in_loop(on_progress) if on_progress is not None else None
        return await _run(
            functools.partial(self._upscaler.upscale, source, command, report, cancel=token, **options), token
        )

    async def upscale_many(
        self,
        sources: Iterable[str | Path],
        command: str = "",
        on_progress: Callable[[int, Progress], None] | None = None,
        **options: Any,
    ) -> AsyncIterator[Item]:
        """Upscale images, overlapped; yields one Item for each, in order: see :meth:`driver.upscaler.Upscaler.upscale_many`."""
        token = options.pop("cancel", None) or CancelToken()
        report = _in_loop(on_progress) if on_progress is not None else None
        items = self._upscaler.upscale_many(sources, command, report, cancel=token, **options)
        try:
            while (item := await _run(functools.partial(next, items, None), token)) is not None:
                yield item
        finally:
            await asyncio.shield(asyncio.to_thread(items.close))


async def _run(work: Callable[[], T], token: CancelToken) -> T:
    """Run it in a thread; a cancelled task cancels the job and waits until it is gone."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

    def target() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        loop.call_soon_threadsafe(settle, result, error)

    # A thread of its own: the loop's pool is small, and a job can take hours.
    threading.Thread(target=target, name="upscale", daemon=True).start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        token.cancel()
        await asyncio.wait([future])
        if future.done() and not future.cancelled():
            future.exception()  # it is told as a cancellation
        raise


def _in_loop(callback: Callable[..., None]) -> Callable[..., None]:
    loop = asyncio.get_running_loop()

    def report(*event: Any) -> None:
        loop.call_soon_threadsafe(callback, *event)

    return report
