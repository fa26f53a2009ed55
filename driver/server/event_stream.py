"""The websocket of a ComfyUI server: its messages, parsed once, sorted by job."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import queue
import socket
import struct
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import websocket

from ..errors import ServerError
from .endpoint import Endpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cached:
    """Nodes whose result the server still had."""

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Executing:
    """A node has started; ``node`` of None is the end of the job, after its history is written."""

    node: str | None
    display_node: str | None = None
    """The node of the submitted graph, where ``node`` was made by it."""

    @property
    def shown(self) -> str | None:
        """The node to show."""
        return self.display_node or self.node


@dataclass(frozen=True)
class NodeProgress:
    """The running node has come further."""

    value: float
    maximum: float


@dataclass(frozen=True)
class PreviewFrame:
    """A preview picture."""

    node: str
    mime: str
    image: bytes


@dataclass(frozen=True)
class Other:
    """Any other message about the job: a sign of life."""

    kind: str


JobEvent = Cached | Executing | NodeProgress | PreviewFrame | Other


def parse_message(message: str | bytes) -> tuple[str, JobEvent] | None:
    """Parse a message of the websocket into the job's id and the event.

    None: about no job, or malformed.
    """
    try:
        found = _preview(message) if isinstance(message, bytes) else json.loads(message)
    except (ValueError, struct.error):
        return None
    if not isinstance(found, Mapping):
        return None
    kind, data = found.get("type"), found.get("data")
    if not isinstance(kind, str) or not isinstance(data, Mapping) or not isinstance(data.get("prompt_id"), str):
        return None
    event = _event(kind, data)
    return None if event is None else (data["prompt_id"], event)


def _event(kind: str, data: Mapping[str, Any]) -> JobEvent | None:
    if kind == "execution_cached":
        nodes = data.get("nodes", [])
        return Cached(tuple(map(str, nodes))) if isinstance(nodes, list) else None
    if kind == "executing":
        node, display = data.get("node"), data.get("display_node")
        if all(name is None or isinstance(name, str) for name in (node, display)):
            return Executing(node, display)
        return None
    if kind == "progress":
        value, maximum = data.get("value"), data.get("max")
        # JSON as Python reads it has NaN and Infinity.
        if isinstance(value, int | float) and isinstance(maximum, int | float):
            return NodeProgress(value, maximum) if math.isfinite(value) and math.isfinite(maximum) else None
        return None
    if kind == "preview":
        return PreviewFrame(
            str(data.get("display_node_id") or data.get("node_id")), str(data.get("image_type")), data["image"]
        )
    return Other(kind)


def _preview(frame: bytes) -> dict[str, Any] | None:
    """Read a binary frame: big-endian type 4, the length of the metadata, metadata, picture file."""
    kind, length = struct.unpack_from(">II", frame)
    if kind != 4:
        return None
    data = json.loads(frame[8 : 8 + length])
    return {"type": "preview", "data": {**data, "image": frame[8 + length :]}} if isinstance(data, dict) else None


Inbox = queue.Queue[JobEvent | None]
"""One job's events; None wakes up whoever waits."""


def next_event(inbox: Inbox, timeout: float) -> JobEvent | None:
    """Return the next event, or None after so many seconds of silence."""
    try:
        return inbox.get(timeout=timeout)
    except queue.Empty:
        return None


class EventStream:
    """The websocket, drained in a thread of its own: a slow reader would stall every client of the server.

    One through all jobs of a client: when a socket ends, the server forgets whichever socket has its id, a newer
    one too. After a break the jobs under way are heard under the same id, for theirs is the server's address for
    them; what comes after them gets a new stream. Each job has an inbox of its own; what belongs to no job of this
    client is dropped.

    server: its endpoint. wait: seconds to wait for the connection; it is made all the same when they are over.
    """

    def __init__(self, server: Endpoint, wait: float = 5.0) -> None:
        self.client_id = uuid.uuid4().hex
        self._endpoint = server
        self._inboxes: dict[str, Inbox] = {}
        self._closed = threading.Event()
        self._socket: websocket.WebSocket | None = None
        self._connected = threading.Event()
        self._broken = False
        """True once a connection that stood has ended."""
        self._messages = 0
        """On this connection; the first one is the server's greeting."""
        self._since = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True, name="comfyui events")
        self._thread.start()
        # A job that starts before the socket stands would only lose its first events.
        self._connected.wait(wait)

    def close(self, wait: bool = True) -> None:
        """End the connection and its thread."""
        self._closed.set()
        self.disconnect()
        if wait:
            self._thread.join(5)

    def disconnect(self) -> None:
        """Cut the connection, as a network would; it is made anew unless the stream is closed."""
        if self._socket is not None and self._socket.sock is not None:
            with contextlib.suppress(OSError):
                self._socket.sock.shutdown(socket.SHUT_RDWR)

    @property
    def is_stale(self) -> bool:
        """True where its connection broke, and no job wants it any more."""
        return self._broken and not self._inboxes

    @property
    def is_live(self) -> bool:
        """True while the connection stands and has brought more than the server's greeting."""
        return self._connected.is_set() and self._messages > 1

    @property
    def silent_for(self) -> float:
        """Seconds for which a standing connection has brought nothing but the server's greeting.

        The end of the connection before it, noticed late, may have taken it off the server's list for good.
        """
        return 0.0 if self.is_live or not self._connected.is_set() else time.monotonic() - self._since

    def subscribe(self, prompt_id: str) -> Inbox:
        """Return the inbox that a job's events will come into, until it is unsubscribed."""
        return self._inboxes.setdefault(prompt_id, queue.Queue())

    def unsubscribe(self, prompt_id: str) -> None:
        """Drop what else comes of a job."""
        self._inboxes.pop(prompt_id, None)

    def deliver(self, prompt_id: str, event: JobEvent) -> None:
        """Put an event into its job's inbox; dropped where the job is not this client's."""
        inbox = self._inboxes.get(prompt_id)
        if inbox is not None:
            inbox.put(event)

    def _read(self) -> None:
        pause = 0.5  # never at once: see silent_for
        while not self._closed.is_set():
            try:
                self._socket = self._endpoint.connect_websocket(f"/ws?clientId={self.client_id}", timeout=10)
                # The first message of a connection: has previews say whose they are.
                flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
                self._socket.send(json.dumps(flags))
                self._messages, self._since = 0, time.monotonic()
                self._connected.set()
                pause = 0.5
                self._socket.settimeout(30)
                self._drain(self._socket)
                self._socket.close()
            except (OSError, ServerError, websocket.WebSocketException) as error:
                if not self._closed.is_set():
                    log.info("websocket: %s; connecting again", error)
            self._broken = self._broken or self._connected.is_set()
            self._connected.clear()
            self._closed.wait(pause)
            pause = min(pause * 2, 5)

    def _drain(self, connection: websocket.WebSocket) -> None:
        while not self._closed.is_set():
            try:
                message = connection.recv()
            except websocket.WebSocketTimeoutException:
                connection.ping()  # silence is normal; a dead peer shows on the next send
                continue
            if message == "":
                return
            found = parse_message(message)
            # The greeting and the status messages are about no job; the answer to the flags comes at once and does
            # not tell whether this connection is on the server's list.
            if found is None:
                self._messages += _is_message(message)
                continue
            self._messages += 1
            self.deliver(*found)


def _is_message(message: str | bytes) -> bool:
    """True for a well-formed text message other than the answer to the feature flags."""
    if isinstance(message, bytes):
        return False
    try:
        found = json.loads(message)
    except ValueError:
        return False
    if not isinstance(found, Mapping) or not isinstance(found.get("data"), Mapping):
        return False
    return isinstance(found.get("type"), str) and found["type"] != "feature_flags"
