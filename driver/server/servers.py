"""One server as a job sees it: given by its URL, or managed by this driver."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from ..cancel import CancelToken
from ..errors import ServerError
from ..setup.models import prepare_models
from . import managed, probe
from .client import ComfyClient
from .endpoint import Endpoint
from .own import install_hint
from .process import RunningServer

Say = Callable[[str], None]


class Server(Protocol):
    """A ComfyUI that jobs can be given to. Safe for use by several threads."""

    @property
    def name(self) -> str:
        """For messages: its URL, or ``the managed server``."""

    @property
    def can_restart(self) -> bool:
        """True where this driver started it, and so may end and start it anew."""

    def start(self, say: Say) -> None:
        """Start it where that is this driver's to do. Raises ServerError."""

    def connect(self, say: Say, cancel: CancelToken | None = None) -> ComfyClient:
        """Return a client of the server, which is known to have this pack, starting it if need be.

        cancel: ends the wait for its start. Raises ServerError, JobCancelled.
        """

    def keep_alive(self) -> None:
        """Tell it that it is in use."""

    def restart(self, client: ComfyClient, why: str, say: Say) -> bool:
        """End it, so that the next job starts it anew; False where that cannot be done.

        client: of the job that asks for it: where another job had it restarted already, nothing is done.
        why: as in "ComfyUI is stuck".
        """

    def result_file(self, client: ComfyClient, saved: Mapping[str, str]) -> bytes | None:
        """Read a result that its API can no longer give; None where that cannot be done."""

    def discard_result(self, saved: Mapping[str, str]) -> None:
        """Delete the server's own copy of a result, where it would only fill the disk."""

    def forget(self, client: ComfyClient, prompt_id: str) -> None:
        """Drop the record of a job whose result is here, where it would only fill the memory."""

    def close(self) -> None:
        """Close the connections."""


class GivenServer:
    """A running ComfyUI, by its endpoint."""

    can_restart = False

    def __init__(self, server: Endpoint) -> None:
        self.name = server.url
        self._endpoint = server
        self._client: ComfyClient | None = None
        self._lock = threading.Lock()

    def start(self, say: Say) -> None:
        """Do nothing: it runs, or the first job tells."""

    def connect(self, say: Say, cancel: CancelToken | None = None) -> ComfyClient:
        """Return a client of the server, which is known to have this pack. Raises ServerError."""
        with self._lock:
            if self._client is None:
                client = ComfyClient(managed.with_token(self._endpoint))
                client.system_stats()
                if client.object_info(probe.PACK_NODE) is None:
                    raise ServerError(f"The ComfyUI at {self.name} does not have this pack. {install_hint()}")
                self._client = client
            return self._client

    def keep_alive(self) -> None:
        """Do nothing: it does not end by itself."""

    def restart(self, client: ComfyClient, why: str, say: Say) -> bool:
        """Return False: it is its owner's to restart."""
        return False

    def result_file(self, client: ComfyClient, saved: Mapping[str, str]) -> bytes | None:
        """Return None: its disk is not this driver's."""
        return None

    def discard_result(self, saved: Mapping[str, str]) -> None:
        """Do nothing: its folders are its owner's."""

    def forget(self, client: ComfyClient, prompt_id: str) -> None:
        """Do nothing: its history is its owner's, and bounded by ComfyUI."""

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


class ManagedServer:
    """The ComfyUI that this driver starts, keeps warm and restarts.

    instance: its name. comfyui: folder of a ComfyUI of the user's own to start instead. keep_warm: False stops it at
    the end.
    """

    name = "the managed server"

    def __init__(self, instance: str = managed.DEFAULT, comfyui: Path | None = None, keep_warm: bool = True) -> None:
        self._instance = instance
        self._comfyui = comfyui
        self._keep_warm = keep_warm
        self._running: RunningServer | None = None
        self._client: ComfyClient | None = None
        self._lock = threading.RLock()

    @property
    def can_restart(self) -> bool:
        """True once it was started."""
        return self._running is not None

    def start(self, say: Say) -> None:
        """Start it where it is not running. Raises ServerError."""
        self.connect(say)

    def connect(self, say: Say, cancel: CancelToken | None = None) -> ComfyClient:
        """Return a client of the server, started if need be. Raises ServerError, JobCancelled."""
        cancel = cancel or CancelToken()
        while not self._lock.acquire(timeout=0.2):  # another job is starting it
            cancel.check()
        try:
            if self._comfyui is None:
                prepare_models(say)
            # Asked each time: the server may have ended, being idle, since the last job.
            self._running = managed.ensure(self._instance, self._comfyui, say=say, check=cancel.check)
            if self._client is None or self._client.url != self._running.url:
                if self._client is not None:
                    self._client.close()
                self._client = ComfyClient(self._running.endpoint, self._running.is_alive)
            return self._client
        finally:
            self._lock.release()

    def keep_alive(self) -> None:
        """Tell it that it is in use."""
        if self._running is not None:
            managed.keep_alive(self._running)

    def restart(self, client: ComfyClient, why: str, say: Say) -> bool:
        """End it, so that the next job starts it anew; False where it was not started yet."""
        with self._lock:
            if self._running is None:
                return False
            if client.url == self._running.url:  # else another job has had it restarted already
                say(f"ComfyUI {why} and is restarted.")
                managed.end_server(self._running)
            return True

    def result_file(self, client: ComfyClient, saved: Mapping[str, str]) -> bytes | None:
        """Read a result from the folder of a server that has ended."""
        running = self._running
        if running is None or running.url != client.url or running.is_alive() or saved["type"] != "output":
            return None
        try:
            return (running.output / saved["subfolder"] / saved["filename"]).read_bytes()
        except OSError:
            return None

    def discard_result(self, saved: Mapping[str, str]) -> None:
        """Delete the server's own copy: the user has the file now. A ComfyUI of the user's own keeps it."""
        if self._running is not None and self._comfyui is None:
            with contextlib.suppress(OSError):
                (self._running.output / saved["subfolder"] / saved["filename"]).unlink()

    def forget(self, client: ComfyClient, prompt_id: str) -> None:
        """Delete a job whose result is here from the history. A ComfyUI of the user's own keeps it."""
        if self._comfyui is None:
            with contextlib.suppress(ServerError):
                client.delete_history(prompt_id)

    def close(self) -> None:
        """Close the connections. The server stays warm, unless it was asked not to."""
        with self._lock:
            client, self._client = self._client, None
            running, self._running = self._running, None
        if client is not None:
            client.close()
        if running is not None and not self._keep_warm:
            managed.end_server(running)
