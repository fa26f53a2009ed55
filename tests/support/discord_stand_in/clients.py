"""Runs a discord.py client in a thread, with a loop of its own, as the bot's process would."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import discord

    from .core import Core


class RunningClient:
    """Context manager around a client: ready when it is entered, closed when it is left."""

    def __init__(self, core: Core, client: discord.Client, timeout: float, token: str) -> None:
        self.client = client
        self.error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._killed = False
        self._core, self._timeout, self._token = core, timeout, token
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="discord.py client")

    def __enter__(self) -> RunningClient:
        self._thread.start()
        self._core.wait(lambda: self.error or self.client.is_ready(), self._timeout, "a client that is ready")
        if self.error:
            raise self.error
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def do(self, coroutine: Coroutine[Any, Any, Any], timeout: float = 10) -> Any:
        """Run a coroutine in the client's loop; returns its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def close(self) -> None:
        if self._thread.is_alive() and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self.client.close(), self._loop)
        self._thread.join(self._timeout)

    def kill(self) -> None:
        """End the client without a word to anyone, as a process dies."""
        if self._thread.is_alive() and self._task:
            self._killed = True
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(self._timeout)

    def _run(self) -> None:
        async def run() -> None:
            self._task = asyncio.current_task()
            try:
                await self.client.start(self._token)
            except BaseException as error:
                self.error = error
            if not self._killed:
                await self.client.close()
            elif self.client.ws and self.client.http.connector:
                if keep_alive := self.client.ws._keep_alive:
                    keep_alive.stop()  # a thread, which would go on
                await self.client.http.connector.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        try:
            self._loop.run_until_complete(run())
            self._loop.run_until_complete(asyncio.sleep(0))  # for the tasks to see that they are cancelled
        finally:
            self._loop.close()
