"""What a worker serves over HTTP: its health, metrics, and a page with the queue. Nothing there changes anything."""

from __future__ import annotations

import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import TYPE_CHECKING, Any

from .database import OUTAGE, Database
from .errors import ClusterError
from .metrics import render
from .queries import overview

if TYPE_CHECKING:
    from .worker import ClusterWorker

log = logging.getLogger(__name__)

FRESH = 2.0
"""Seconds for which an overview is given again: many who look cost no more than one."""


def listen_address(text: str) -> tuple[str, int]:
    """Read ``PORT`` or ``HOST:PORT``; without a host loopback alone. Raises ClusterError."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) < 65536:
        raise ClusterError(f"--http {text}: a port is needed, 9600, or host and port, 0.0.0.0:9600.")
    return host.strip("[]") or "127.0.0.1", int(port)


class Pages:
    """The HTTP server of a worker, in a thread of its own. Raises ClusterError where the port is taken."""

    def __init__(self, worker: ClusterWorker, conninfo: str, address: tuple[str, int]) -> None:
        self._worker = worker
        self._database = Database(conninfo, size=1)
        self._overview: tuple[float, bytes] = (-1e9, b"")
        self._lock = threading.Lock()
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = pages.answer(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.send_header("cache-control", "no-store")
                self.send_header("x-content-type-options", "nosniff")
                self.send_header(
                    "content-security-policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
                )
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing: it is asked every few seconds."""

        try:
            self._server = ThreadingHTTPServer(address, Handler)
        except OSError as error:
            self._database.close()
            raise ClusterError(f"--http {address[0]}:{address[1]} cannot be served: {error.strerror}.") from error
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="pages", daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._database.close()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, media type and body for a path."""
        if path == "/health":
            return 200, "text/plain; charset=utf-8", b"ok\n"
        if path == "/ready":
            ready = self._worker.ready
            return 200 if ready else 503, "text/plain; charset=utf-8", b"ready\n" if ready else b"not ready\n"
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", render(self._worker, self._database)
        if path == "/overview.json":
            return self._answer_overview()
        if path == "/":
            page = (resources.files(__package__) / "dashboard.html").read_bytes()
            return 200, "text/html; charset=utf-8", page
        return 404, "text/plain; charset=utf-8", b"there are /, /health, /ready, /metrics and /overview.json\n"

    def _answer_overview(self) -> tuple[int, str, bytes]:
        with self._lock:
            if time.monotonic() - self._overview[0] > FRESH:
                try:
                    body = json.dumps(overview(self._database), default=str).encode()
                except OUTAGE:
                    return 503, "application/json", b'{"error": "The database does not answer."}'
                self._overview = (time.monotonic(), body)
            return 200, "application/json", self._overview[1]
