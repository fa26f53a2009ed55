"""The worker of a bot that has a machine to itself: a process of its own, started again where it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence

log = logging.getLogger(__name__)

PAUSES = (1.0, 5.0, 30.0, 60.0)
"""Seconds before it is started again, the last one for all that follow."""
LASTED = 300.0
"""Seconds after which it is taken to have worked."""
GRACE = 20.0
"""Seconds that a job is given when the bot ends; then it goes back into the queue."""


async def keep_worker(arguments: Sequence[str]) -> None:
    """Run ``distillery worker`` with these arguments until the task is cancelled."""
    command = [sys.executable, "-m", "distillery.driver", "worker", "--grace", str(GRACE), *arguments]
    ends = 0
    while True:
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(*command, start_new_session=os.name != "nt")
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise
        ends = 0 if time.monotonic() - began > LASTED else ends + 1
        pause = PAUSES[min(ends, len(PAUSES) - 1)]
        log.warning("the worker has ended", extra={"data": {"code": code, "again in": pause}})
        await asyncio.sleep(pause)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), GRACE + 10)
    except asyncio.TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
