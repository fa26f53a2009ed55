"""The driver for asyncio: the same jobs, awaited."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ..nodes.generation import Generation
from ..nodes.image_formats import MAX_PIXELS
from .cancel import CancelToken
from .events import Progress
from .jobs.job import Item, OnProgress, Result
from .server.managed import DEFAULT
from .sources.load import Source
from .upscaler import Upscaler

T = TypeVar("T")


class AsyncUpscaler:
    """:class:`driver.upscaler.Upscaler` for asyncio: same arguments, results, events and errors.

    Jobs may be awaited together; a task that is cancelled takes its job off the server before the cancellation
    goes on. Events are given to ``on_progress`` in the event loop.

        async with AsyncUpscaler() as upscaler:
            result = await upscaler.upscale("picture.png", power=0.2)
    """

    def __init__(
        self,
        server: str | Sequence[str] | None = None,
        comfyui: str | Path | None = None,
        out: str | Path = ".",
        instance: str = DEFAULT,
        keep_warm: bool = True,
        allow_hosts: Collection[str] = (),
        headers: Mapping[str, str] | None = None,
        ca: str | Path | None = None,
        max_pixels: int = MAX_PIXELS,
        use_proxy: bool = False,
        cluster: str | None = None,
    ) -> None:
        self._upscaler = Upscaler(
            server, comfyui, out, instance, keep_warm, allow_hosts, headers, ca, max_pixels, use_proxy, cluster
        )

    async def __aenter__(self) -> AsyncUpscaler:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, as :meth:`driver.upscaler.Upscaler.close`."""
        await asyncio.to_thread(self._upscaler.close)

    async def free(self) -> None:
        """Have the servers drop their caches and unload their models."""
        await asyncio.to_thread(self._upscaler.free)

    async def recall(self, source: Source) -> Generation:
        """Recall how an image was made. Needs no server."""
        return await asyncio.to_thread(self._upscaler.recall, source)

    async def upscale(
        self,
        source: Source,
        command: str = "",
        on_progress: OnProgress | None = None,
        out: str | Path | None = None,
        *,
        cancel: CancelToken | None = None,
        preview: bool = False,
        compare: bool = False,
        skip_existing: bool = False,
        format: str | None = None,
        quality: int | None = None,
        **parameters: Any,
    ) -> Result:
        """Upscale one image, see :meth:`driver.upscaler.Upscaler.upscale`."""
        token = cancel or CancelToken()
        report = _in_loop(on_progress) if on_progress is not None else None
        work = functools.partial(
            self._upscaler.upscale, source, command, report, out,
            cancel=token, preview=preview, compare=compare, skip_existing=skip_existing, format=format, quality=quality,
            **parameters,
        )  # fmt: skip
        return await _run(work, token)

    async def upscale_bytes(
        self,
        source: Source,
        command: str = "",
        on_progress: OnProgress | None = None,
        *,
        cancel: CancelToken | None = None,
        preview: bool = False,
        format: str = "png",
        quality: int | None = None,
        **parameters: Any,
    ) -> tuple[bytes, Result]:
        """Upscale one image and return its bytes, see :meth:`driver.upscaler.Upscaler.upscale_bytes`."""
        token = cancel or CancelToken()
        report = _in_loop(on_progress) if on_progress is not None else None
        work = functools.partial(
            self._upscaler.upscale_bytes, source, command, report,
            cancel=token, preview=preview, format=format, quality=quality, **parameters,
        )  # fmt: skip
        return await _run(work, token)

    async def upscale_many(
        self,
        sources: Iterable[Source],
        command: str = "",
        on_progress: Callable[[int, Progress], None] | None = None,
        out: str | Path | None = None,
        *,
        cancel: CancelToken | None = None,
        continue_on_error: bool = False,
        preview: bool = False,
        compare: bool = False,
        skip_existing: bool = False,
        format: str | None = None,
        quality: int | None = None,
        on_done: Callable[[Item], None] | None = None,
        **parameters: Any,
    ) -> AsyncIterator[Item]:
        """Upscale images, overlapped; yields one Item for each: see :meth:`driver.upscaler.Upscaler.upscale_many`.

        on_done is called in the event loop.
        """
        token = cancel or CancelToken()
        report = _in_loop(on_progress) if on_progress is not None else None
        done = _in_loop(on_done) if on_done is not None else None
        items = self._upscaler.upscale_many(
            sources, command, report, out, cancel=token, continue_on_error=continue_on_error, preview=preview,
            compare=compare, skip_existing=skip_existing, format=format, quality=quality, on_done=done, **parameters,
        )  # fmt: skip
        try:
            while (item := await _run(functools.partial(next, items, None), token)) is not None:
                yield item
        finally:
            await asyncio.shield(asyncio.to_thread(items.close))


async def _run(work: Callable[[], T], token: CancelToken) -> T:
    """Run work in a thread; a cancelled task cancels the job and waits until it is gone."""
    # A thread of its own: the loop's pool is small, and a job can take hours.
    executor = ThreadPoolExecutor(1, thread_name_prefix="upscale")
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        token.cancel()
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # it is told as a cancellation
        raise
    finally:
        executor.shutdown(wait=False)


def _in_loop(callback: Callable[..., None]) -> Callable[..., None]:
    loop = asyncio.get_running_loop()

    def report(*event: Any) -> None:
        loop.call_soon_threadsafe(callback, *event)

    return report
