"""ComfyUI's HTTP and websocket API: one client for one server.

HTTP is the truth, the socket only brings news early: events that a dropped socket loses are not replayed, so that
a job's state is asked for whenever the socket is silent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
import websocket

from .errors import JobCancelled, JobError, ServerError

log = logging.getLogger(__name__)

Event = Mapping[str, Any]
"""A message of the websocket: ``{"type": …, "data": {…}}``."""

POLL = 2.0
"""Seconds of silence after which a job's state is asked for."""
STALL = 1800.0
"""Seconds without any sign of progress after which a running job is given up. A slow step is no error: the largest
step on the slowest machine must fit."""
_UNHEARD = 5.0
"""Seconds for which a new connection may bring nothing but its greeting while a job runs."""
_TIMEOUT = (10, 60)
"""Seconds to connect, and between two bytes of an answer."""
_TERMINAL = ("completed", "failed", "cancelled")


@dataclass
class Outcome:
    """What a finished job left."""

    prompt_id: str
    outputs: dict[str, Any]
    """Node id to what the node returned for the user interface."""
    cached: list[str] = field(default_factory=list)
    """Ids of the nodes whose result was there already."""


class ComfyClient:
    """A client of one ComfyUI server. Not for use by several threads at once."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ServerError(f'"{url}" is not the URL of a server: it starts with http:// or https://.')
        # Two sockets with one id end each other on the server, so each client has its own.
        self.client_id = uuid.uuid4().hex
        self._events: _EventStream | None = None
        self._session = requests.Session()
        if any(host in self.url for host in ("//127.", "//localhost", "//[::1]")):
            self._session.trust_env = False  # a proxy has no business with loopback

    def close(self) -> None:
        """Close the connections."""
        if self._events is not None:
            self._events.close()
            self._events = None
        self._session.close()

    # --- HTTP --------------------------------------------------------------------------------------------------

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._session.request(method, f"{self.url}{path}", timeout=_TIMEOUT, **options)
        except requests.RequestException as error:
            log.info("%s %s: %s", method, path, error)
            raise ServerError(f"The server at {self.url} does not answer ({_reason(error)}). Is it running?") from error

    def _json(self, method: str, path: str, **options: Any) -> Any:
        response = self._request(method, path, **options)
        if response.status_code >= 400:
            raise ServerError(f"The server at {self.url} answered {response.status_code} to {method} {path}.")
        try:
            return response.json()
        except ValueError as error:
            raise ServerError(f"What answers at {self.url} is not a ComfyUI server.") from error

    def system_stats(self) -> dict[str, Any]:
        """Versions, devices and memory of the server."""
        stats = self._json("GET", "/system_stats")
        if not isinstance(stats, dict) or "system" not in stats:
            raise ServerError(f"What answers at {self.url} is not a ComfyUI server.")
        return stats

    def object_info(self, node_class: str) -> dict[str, Any] | None:
        """The definition of a node class, or None where the server does not have it."""
        return self._json("GET", f"/object_info/{node_class}").get(node_class)

    def upload_image(self, data: bytes, extension: str) -> str:
        """Upload an image file as a temporary one; returns the name that Load Image nodes take.

        The name is made from the content, so that the same image is recognised by ComfyUI's cache.
        """
        name = f"distillery_{hashlib.sha256(data).hexdigest()[:24]}.{extension}"
        # Never overwritten: the same file is recognised by the server, and another job may just be reading it.
        response = self._request("POST", "/upload/image", files={"image": (name, data)}, data={"type": "temp"})
        if response.status_code == 413:
            raise ServerError(
                f"The server refuses an image of {len(data) / 1e6:.1f} MB. Start it with a larger --max-upload-size."
            )
        if response.status_code != 200:
            raise ServerError(f"The server at {self.url} refused the image ({response.status_code}).")
        saved = response.json()
        folder = f"{saved['subfolder']}/" if saved.get("subfolder") else ""
        return f"{folder}{saved['name']} [{saved.get('type', 'temp')}]"

    def job(self, prompt_id: str) -> dict[str, Any] | None:
        """A job's state (see ComfyUI's ``/api/jobs``), or None where the server does not know it."""
        response = self._request("GET", f"/api/jobs/{prompt_id}")
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise ServerError(f"The server at {self.url} answered {response.status_code} when asked for the job.")
        return response.json()

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What the server remembers of a finished job."""
        return self._json("GET", f"/history/{prompt_id}").get(prompt_id)

    def cancel(self, prompt_id: str, timeout: float = 30.0) -> bool:
        """Cancel a job, queued or running; True once it has ended.

        It is asked for again until then: a cancel at the very start of a job can be swallowed.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._request("POST", f"/api/jobs/{prompt_id}/cancel")
            job = self.job(prompt_id)
            if job is None or job.get("status") in _TERMINAL:
                return True
            time.sleep(0.3)
        return False

    def free(self) -> None:
        """Have the server drop its caches and unload its models."""
        self._request("POST", "/free", json={"unload_models": True, "free_memory": True})

    def view(self, image: Mapping[str, str]) -> Iterator[bytes]:
        """The bytes of a saved image, in blocks. ``image``: filename, subfolder and type as a node returned them."""
        params = {k: image.get(k, "") for k in ("filename", "subfolder", "type")}
        response = self._request("GET", "/view", params=params, stream=True)
        with response:
            if response.status_code != 200:
                raise ServerError(f"The server no longer has the result {params['filename']} ({response.status_code}).")
            try:
                yield from response.iter_content(1 << 18)
            except requests.RequestException as error:
                raise ServerError(f"The download of the result broke off ({_reason(error)}).") from error

    # --- Jobs --------------------------------------------------------------------------------------------------

    def run(
        self,
        prompt: Mapping[str, Any],
        extra_data: Mapping[str, Any] | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> Outcome:
        """Queue a workflow in the API's format and wait for its end.

        on_event is called with every event of this job. Raises JobError where the job is refused, fails or is
        lost, JobCancelled where somebody cancelled it, ServerError where the server is gone. On any other exception,
        KeyboardInterrupt included, the job is cancelled before the exception goes on.
        """
        if self._events is None:
            self._events = _EventStream(self)
        prompt_id = self._queue(prompt, extra_data or {})
        try:
            cached = self._wait(prompt_id, self._events, on_event)
        except (JobError, ServerError):
            raise
        except BaseException:
            with contextlib.suppress(ServerError):
                self.cancel(prompt_id)
            raise
        return self._outcome(prompt_id, prompt, cached)

    def _queue(self, prompt: Mapping[str, Any], extra_data: Mapping[str, Any]) -> str:
        for attempt in range(3):
            # An id of our own, new for each attempt: the server would run the same id twice.
            prompt_id = str(uuid.uuid4())
            body = {
                "prompt": prompt,
                "client_id": self.client_id,
                "prompt_id": prompt_id,
                "extra_data": dict(extra_data),
            }
            try:
                response = self._request("POST", "/prompt", json=body)
            except ServerError:
                # The answer may be lost and the job taken: it must not be queued twice.
                time.sleep(1 + attempt)
                with contextlib.suppress(ServerError):
                    if self.job(prompt_id) is not None:
                        return prompt_id
                    self._request("POST", f"/api/jobs/{prompt_id}/cancel")
                if attempt == 2:
                    raise
                continue
            except BaseException:
                # Interrupted while the server was checking it: it may run all the same.
                with contextlib.suppress(ServerError):
                    self.cancel(prompt_id, timeout=5)
                raise
            if response.status_code == 200:
                accepted = response.json()
                if accepted.get("node_errors"):
                    self.cancel(prompt_id)
                    raise _refusal(accepted, prompt)
                return str(accepted["prompt_id"])
            try:
                raise _refusal(response.json(), prompt)
            except ValueError:
                raise ServerError(
                    f"The server at {self.url} answered {response.status_code} to the job and gave no reason; "
                    "its log may."
                ) from None
        raise AssertionError("unreachable")

    def _wait(self, prompt_id: str, events: _EventStream, on_event: Callable[[Event], None]) -> list[str]:
        cached: list[str] = []
        last_sign = time.monotonic()
        next_look = last_sign + POLL
        unknown = 0
        while True:
            event = events.get(max(0.0, next_look - time.monotonic()))
            # Others' news arrive here too, and must not keep this job from being looked at.
            data = (event.get("data") or {}) if event is not None else {}
            if event is not None and data.get("prompt_id") == prompt_id:
                last_sign = time.monotonic()
                next_look = last_sign + POLL
                kind = event.get("type")
                if kind == "execution_cached":
                    cached += [str(node) for node in data.get("nodes", [])]
                on_event(event)
                # Only this one comes after the history is written.
                if not (kind == "executing" and data.get("node") is None):
                    continue
            elif time.monotonic() < next_look:
                continue
            next_look = time.monotonic() + POLL
            try:
                job = self.job(prompt_id)
            except ServerError:
                if time.monotonic() - last_sign > 60:
                    raise
                continue
            if job is None:
                unknown += 1
                if unknown >= 2:
                    raise JobError("The server has lost the job; it was probably restarted. Run it again.")
                continue
            unknown = 0
            status = job.get("status")
            if status in _TERMINAL:
                return cached
            if status == "pending":
                last_sign = time.monotonic()  # others' jobs come first
            elif events.unheard > _UNHEARD:
                events.drop()
            # Where nothing can be heard, silence says little.
            limit = STALL if events.hears else 4 * STALL
            if time.monotonic() - last_sign > limit:
                self.cancel(prompt_id)
                raise JobError(f"The job made no progress for {limit / 60:.0f} minutes and was cancelled.")

    def _outcome(self, prompt_id: str, prompt: Mapping[str, Any], cached: list[str]) -> Outcome:
        finished = self.history(prompt_id)
        if finished is None:
            raise JobError("The server has forgotten the finished job. Run it again.")
        status = finished.get("status") or {}
        for name, data in status.get("messages", []):
            if name == "execution_error":
                raise _failure(data, prompt)
            if name == "execution_interrupted":
                raise JobCancelled("The job was cancelled.", _title(prompt, data.get("node_id")))
        if status.get("status_str") != "success":
            raise JobError("The job ended without a result and without a reason; see the server's log.")
        return Outcome(prompt_id, finished.get("outputs") or {}, cached)


class _EventStream:
    """The websocket, drained in a thread of its own: a slow reader would stall every client of the server.

    One for the life of a client, through all its jobs: when a socket ends, the server forgets whichever socket
    has its id, a newer one too.
    """

    def __init__(self, client: ComfyClient) -> None:
        scheme, _, rest = client.url.partition("://")
        self._url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws?clientId={client.client_id}"
        self._loopback = not client._session.trust_env
        self._events: queue.Queue[Event] = queue.Queue()
        self._closed = threading.Event()
        self._socket: websocket.WebSocket | None = None
        self._connected = threading.Event()
        self._messages = 0
        """On this connection; the first one is the server's greeting."""
        self._since = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True, name="comfyui events")
        self._thread.start()
        # A job that starts before the socket stands would only lose its first events.
        self._connected.wait(5)

    def close(self) -> None:
        """End the connection and its thread."""
        self._closed.set()
        self.drop()
        self._thread.join(5)

    def drop(self) -> None:
        """Cut the connection, as a network would; it is made anew unless the stream is closed."""
        if self._socket is not None and self._socket.sock is not None:
            with contextlib.suppress(OSError):
                self._socket.sock.shutdown(socket.SHUT_RDWR)

    @property
    def hears(self) -> bool:
        """Whether the connection stands and has brought more than the server's greeting."""
        return self._connected.is_set() and self._messages > 1

    @property
    def unheard(self) -> float:
        """Seconds for which a standing connection has brought nothing but the server's greeting.

        The end of the connection before it, noticed late, may have taken it off the server's list for good.
        """
        return 0.0 if self.hears or not self._connected.is_set() else time.monotonic() - self._since

    def get(self, timeout: float) -> Event | None:
        """The next event, or None after so many seconds of silence."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def _read(self) -> None:
        pause = 0.5  # never at once: see unheard
        while not self._closed.is_set():
            try:
                # An Origin header would be checked against the host, which fails behind a tunnel.
                self._socket = websocket.create_connection(
                    self._url, timeout=10, suppress_origin=True, http_no_proxy=["*"] if self._loopback else None
                )
                self._messages, self._since = 0, time.monotonic()
                self._connected.set()
                pause = 0.5
                self._socket.settimeout(30)
                self._drain(self._socket)
                self._socket.close()
            except (OSError, websocket.WebSocketException) as error:
                if not self._closed.is_set():
                    log.info("websocket: %s; connecting again", error)
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
            self._messages += 1
            if isinstance(message, bytes):
                continue  # previews
            try:
                event = json.loads(message)
            except ValueError:
                continue
            if isinstance(event, dict):
                self._events.put(event)


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "timed out"
    return "connection refused" if "refused" in str(error) else "connection failed"


def _title(prompt: Mapping[str, Any], node_id: Any) -> str | None:
    """A node's title; ids such as "12.0.3" belong to a node made by node 12."""
    if node_id is None:
        return None
    node = prompt.get(str(node_id)) or prompt.get(str(node_id).split(".")[0])
    if not isinstance(node, Mapping):
        return str(node_id)
    return str((node.get("_meta") or {}).get("title") or node.get("class_type"))


def _refusal(answer: Mapping[str, Any], prompt: Mapping[str, Any]) -> JobError:
    """The error of a workflow that the server did not accept."""
    parts = []
    first = None
    for node_id, found in (answer.get("node_errors") or {}).items():
        title = _title(prompt, node_id)
        first = first or title
        for error in found.get("errors", []):
            details = str(error.get("details") or "")
            if error.get("type") == "custom_validation_failed":
                parts.append(f"{title}: {details.partition(' - ')[2] or details}")
            else:
                parts.append(f"{title}: {error.get('message', 'refused')} ({details[:300]})")
    if not parts:
        error = answer.get("error")
        parts.append(str(error.get("message") if isinstance(error, Mapping) else error or "no reason given"))
    return JobError("The server refused the job. " + "; ".join(dict.fromkeys(parts)), first)


def _failure(data: Mapping[str, Any], prompt: Mapping[str, Any]) -> JobError:
    """The error of a job that failed on the way. ComfyUI's traceback goes to the log only."""
    title = _title(prompt, data.get("node_id")) or str(data.get("node_type"))
    kind, message = str(data.get("exception_type")), str(data.get("exception_message") or "").strip()
    log.error("%s failed: %s: %s\n%s", title, kind, message, "".join(map(str, data.get("traceback") or [])))
    if "OutOfMemory" in kind or "out of memory" in message.lower() or "not enough memory" in message.lower():
        return JobError(
            f"{title}: the server ran out of memory. Choose a smaller custom tile in the HiRes Tiles node, close other "
            "programs that use the GPU, or upscale a smaller image.",
            title,
        )
    return JobError(f"{title}: {message or kind}", title)
