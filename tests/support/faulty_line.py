"""A way to a server that can be cut, stalled, slowed down, and that can slip in websocket frames of its own."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable

Inject = Callable[[bytes], bytes]
"""Gets the payload of a frame that the server sent; returns raw frames to send behind it."""


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """A websocket frame as a server sends it. opcode: 1 text, 2 binary; 3 to 7 are those that no peer may send."""
    size = len(payload)
    length = (
        bytes([size]) if size < 126 else struct.pack(">BH" if size < 1 << 16 else ">BQ", 126 + (size >= 1 << 16), size)
    )
    return bytes([0x80 | opcode]) + length + payload


class Line:
    """A TCP proxy on loopback.

    rate: bytes a second that each direction of each connection lets through. inject: see :data:`Inject`.
    """

    def __init__(self, url: str, rate: float | None = None, inject: Inject | None = None) -> None:
        self.rate = rate
        self.inject = inject
        self.cut = False
        self.flowing = threading.Event()
        self.flowing.set()
        self.lead_to(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._websockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, url: str) -> None:
        """Have new connections go to another server on loopback."""
        self._target = ("127.0.0.1", int(re.search(r":(\d+)$", url)[1]))

    def sever(self) -> None:
        """Cut all connections and let none be made."""
        self.cut = True
        _shut(self._open)

    def drop_websockets(self) -> None:
        """Cut the websockets that stand; new ones can be made."""
        _shut(self._websockets)

    def close(self) -> None:
        """End it."""
        self.sever()
        self.flowing.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.cut:
                    near.close()
                    continue
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    near.close()
                    continue
                self._open += [near, far]
                is_websocket = threading.Event()
                for a, b, down in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._pump, args=(a, b, down, is_websocket), daemon=True).start()

    def _pump(self, a: socket.socket, b: socket.socket, down: bool, is_websocket: threading.Event) -> None:
        splitter = _Frames(self.inject) if self.inject and down else None
        with contextlib.suppress(OSError):
            while data := a.recv(1 << 12 if self.rate else 1 << 16):
                if not down and data.startswith(b"GET /ws"):
                    is_websocket.set()
                    self._websockets += [a, b]
                if self.rate:
                    time.sleep(len(data) / self.rate)
                self.flowing.wait()
                b.sendall(splitter.feed(data) if splitter and is_websocket.is_set() else data)
        _shut([a, b])


class _Frames:
    """Finds the frames in a server's stream, and puts others between them."""

    def __init__(self, inject: Inject) -> None:
        self._inject = inject
        self._buffer = b""
        self._greeted = False

    def feed(self, data: bytes) -> bytes:
        self._buffer += data
        out = b""
        if not self._greeted:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return b""
            out, self._buffer, self._greeted = head + end, rest, True
        while len(self._buffer) >= 2:
            size, start = self._buffer[1] & 127, 2
            if size >= 126:
                start = 4 if size == 126 else 10
                if len(self._buffer) < start:
                    break
                size = int.from_bytes(self._buffer[2:start], "big")
            if len(self._buffer) < start + size:
                break
            payload = self._buffer[start : start + size]
            out += self._buffer[: start + size] + self._inject(payload)
            self._buffer = self._buffer[start + size :]
        return out


def _shut(sockets: list[socket.socket]) -> None:
    for end in sockets:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
