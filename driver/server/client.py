"""ComfyUI's HTTP and websocket API: one client for one server.

HTTP is the truth, the socket only brings news early: events that a dropped socket loses are not replayed, so that
a job's state is asked for whenever the socket is silent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import queue
import re
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
import websocket

from ..cancel import CancelToken
from ..errors import JobCancelled, JobError, JobLost, JobOutOfMemory, JobRefused, JobStuck, ServerError

log = logging.getLogger(__name__)

Event = Mapping[str, Any]
"""A message of the websocket: ``{"type": …, "data": {…}}``. A preview picture, which comes as a binary frame, is
``{"type": "preview", "data": {"prompt_id": …, "node_id": …, "image_type": …, "image": bytes}}``."""

POLL = 2.0
"""Seconds of silence after which a job's state is asked for."""
STALL = 1800.0
"""Seconds without any sign of progress after which a running job is given up. A slow step is no error: the largest
step on the slowest machine must fit."""
DEAD_QUEUE = 300.0
"""Seconds for which a queued job may wait while the server works on nothing: then its worker thread is dead."""
GONE = 60.0
"""Seconds without any answer after which a server that has a job is given up."""
_AGAIN = 2.0
"""Seconds that a job waits for a connection in place of one that broke: a short job would end before it is heard."""
_UNHEARD = 5.0
"""Seconds for which a new connection may bring nothing but its greeting while a job runs."""
_TIMEOUT = (10, 60)
"""Seconds to connect, and between two bytes of an answer."""
_STATUS_TIMEOUT = (5, 15)
"""The same for a question about a job, during which nothing else of it is heard."""
_NO_MAIN_MEMORY = re.compile(
    r"not enough memory|can't allocate memory|cannot allocate memory|could not create a primitive$", re.I
)
"""As torch on Windows, torch and the kernel on Linux, and oneDNN (seen there with little memory) say it."""
_TERMINAL = ("completed", "failed", "cancelled")


@dataclass
class Outcome:
    """What a finished job left."""

    prompt_id: str
    outputs: dict[str, Any]
    """Node id to what the node returned for the user interface."""
    cached: list[str] = field(default_factory=list)
    """Ids of the nodes whose result was there already."""
    started: float | None = None
    """When the server began to execute it, and when it ended, by the server's own clock: Unix seconds."""
    ended: float | None = None


def upload_name(data: bytes, extension: str) -> str:
    """The name under which an image file is uploaded: made from its content, so that ComfyUI's cache knows it again."""
    return f"distillery_{hashlib.sha256(data).hexdigest()[:24]}.{extension}"


class ComfyClient:
    """A client of one ComfyUI server. Several threads may each run a job with it.

    lives: tells whether the server's process runs, where that can be known, so that its end is no mere silence.
    """

    def __init__(self, url: str, lives: Callable[[], bool] = lambda: True) -> None:
        self.url = url.rstrip("/")
        self._lives = lives
        if not self.url.startswith(("http://", "https://")):
            raise ServerError(f'"{url}" is not the URL of a server: it starts with http:// or https://.')
        self._events: _EventStream | None = None
        self._lock = threading.Lock()
        self._session = requests.Session()
        if any(host in self.url for host in ("//127.", "//localhost", "//[::1]")):
            self._session.trust_env = False  # a proxy has no business with loopback

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            events, self._events = self._events, None
        if events is not None:
            events.close()
        self._session.close()

    # --- HTTP --------------------------------------------------------------------------------------------------

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", _TIMEOUT)
        try:
            return self._session.request(method, f"{self.url}{path}", **options)
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
        found: dict[str, Any] | None = self._json("GET", f"/object_info/{node_class}").get(node_class)
        return found

    def queue_length(self) -> int:
        """Jobs that the server has, queued and running, whoever gave them. Answered quickly or not at all."""
        answer = self._json("GET", "/prompt", timeout=(3, 10))
        try:
            return int(answer["exec_info"]["queue_remaining"])
        except (KeyError, TypeError, ValueError):
            raise ServerError(f"What answers at {self.url} is not a ComfyUI server.") from None

    def checkpoints(self) -> list[str]:
        """Names of the checkpoints that the server has."""
        try:
            names = (self.object_info("CheckpointLoaderSimple") or {})["input"]["required"]["ckpt_name"][0]
        except (KeyError, IndexError, TypeError):
            return []
        return [str(name) for name in names] if isinstance(names, list) else []

    def upload_image(self, data: bytes, extension: str) -> str:
        """Upload an image file as a temporary one; returns the name that Load Image nodes take.

        Raises JobRefused where it is too large for the server, ServerError.
        """
        name = upload_name(data, extension)
        for last in (False, True):
            try:
                # Never overwritten: the same file is recognised by the server, and another job may just be reading it.
                response = self._request("POST", "/upload/image", files={"image": (name, data)}, data={"type": "temp"})
                break
            except ServerError as error:
                if last or isinstance(error.__cause__, requests.ConnectTimeout) or "refused" in str(error):
                    raise
                log.info("the upload broke off; once more")  # it is the same file under the same name
        if response.status_code == 413:
            raise JobRefused(
                f"The server refuses an image of {len(data) / 1e6:.1f} MB. Start it with a larger --max-upload-size."
            )
        if response.status_code != 200:
            raise ServerError(f"The server at {self.url} refused the image ({response.status_code}).")
        try:
            saved = response.json()
            folder = f"{saved['subfolder']}/" if saved.get("subfolder") else ""
            return f"{folder}{saved['name']} [{saved.get('type', 'temp')}]"
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ServerError(f"What answers at {self.url} is not a ComfyUI server.") from None

    def job(self, prompt_id: str) -> dict[str, Any] | None:
        """A job's state (see ComfyUI's ``/api/jobs``), or None where the server does not know it."""
        response = self._request("GET", f"/api/jobs/{prompt_id}", timeout=_STATUS_TIMEOUT)
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise ServerError(f"The server at {self.url} answered {response.status_code} when asked for the job.")
        try:
            job = response.json()
        except ValueError:
            job = None
        if not isinstance(job, dict):
            raise ServerError(f"What answers at {self.url} is not a ComfyUI server.")
        return job

    def at_work(self) -> bool:
        """Whether the server is executing any job. True where it cannot tell."""
        try:
            jobs = self._json("GET", "/api/jobs?status=in_progress&limit=1").get("jobs")
        except (ServerError, AttributeError):
            return True
        return bool(jobs) or not isinstance(jobs, list)

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What the server remembers of a finished job."""
        answer = self._json("GET", f"/history/{prompt_id}")
        finished = answer.get(prompt_id) if isinstance(answer, Mapping) else None
        return finished if isinstance(finished, dict) else None

    def cancel(self, prompt_id: str, timeout: float = 30.0) -> bool:
        """Cancel a job, queued or running; True once it has ended.

        It is asked for again until then: a cancel at the very start of a job can be swallowed.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._request("POST", f"/api/jobs/{prompt_id}/cancel", timeout=_STATUS_TIMEOUT)
            job = self.job(prompt_id)
            if job is None or job.get("status") in _TERMINAL:
                return True
            time.sleep(0.3)
        return False

    def free(self) -> None:
        """Have the server drop its caches and unload its models."""
        self._request("POST", "/free", json={"unload_models": True, "free_memory": True})

    def view(self, image: Mapping[str, str]) -> Iterator[bytes]:
        """The bytes of a saved image, in blocks. ``image``: filename, subfolder and type as a node returned them.

        Raises ServerError where the download breaks off, JobLost where the file is gone.
        """
        params = {k: image.get(k, "") for k in ("filename", "subfolder", "type")}
        response = self._request("GET", "/view", params=params, stream=True)
        with response:
            if response.status_code != 200:
                raise JobLost(f"The server no longer has the result {params['filename']} ({response.status_code}).")
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
        cancel: CancelToken | None = None,
        gone: float | None = None,
    ) -> Outcome:
        """Queue a workflow in the API's format and wait for its end.

        on_event is called with every event of this job. cancel: takes the job off the server, from another thread.
        gone: seconds without an answer after which the server is given up, GONE where not given. Raises
        JobRefused, JobLost, JobStuck or another JobError where the job fails, JobCancelled where somebody cancelled
        it, ServerError where the server is gone (its ``prompt_id`` is then the job that it may still have). On any
        other exception, KeyboardInterrupt included, the job is cancelled before the exception goes on.
        """
        cancel = cancel or CancelToken()
        cancel.check()
        # An id of our own: whoever chooses it can listen before there is anything to hear.
        events, prompt_id, box = self._listen(str(uuid.uuid4()))
        try:
            prompt_id, box = self._queue(prompt, extra_data or {}, events, prompt_id, box)
            return self._attend(prompt_id, prompt, events, box, on_event, cancel, gone)
        except ServerError as error:
            if self._lives():
                raise
            raise JobLost(
                f"The server at {self.url} ended while it had the job; its log may say why, such as too little memory."
            ) from error
        finally:
            events.forget(prompt_id)

    def attend(self, prompt_id: str, prompt: Mapping[str, Any], cancel: CancelToken | None = None) -> Outcome | None:
        """Wait for a job that the server was given before; None where it does not know it."""
        if self.job(prompt_id) is None:
            return None
        events, prompt_id, box = self._listen(prompt_id)
        try:
            return self._attend(prompt_id, prompt, events, box, lambda event: None, cancel or CancelToken(), None)
        finally:
            events.forget(prompt_id)

    def _listen(self, prompt_id: str) -> tuple[_EventStream, str, _Box]:
        """The socket to hear a job with, and the box of its events."""
        with self._lock:  # so that no socket is put away between its choice and its use
            if self._events is not None and self._events.worn:
                self._events.close(wait=False)
                self._events = _EventStream(self, wait=_AGAIN)
            elif self._events is None:
                self._events = _EventStream(self)
            return self._events, prompt_id, self._events.listen_to(prompt_id)

    def _attend(
        self,
        prompt_id: str,
        prompt: Mapping[str, Any],
        events: _EventStream,
        box: _Box,
        on_event: Callable[[Event], None],
        cancel: CancelToken,
        gone: float | None,
    ) -> Outcome:
        try:
            with cancel.waking(lambda: box.put(None)):
                cached = self._wait(prompt_id, events, box, on_event, cancel, GONE if gone is None else gone)
            return self._outcome(prompt_id, prompt, cached)
        except ServerError as error:
            error.prompt_id = prompt_id
            raise
        except JobError:
            raise
        except BaseException:
            with contextlib.suppress(ServerError):
                self.cancel(prompt_id)
            raise

    def _queue(
        self,
        prompt: Mapping[str, Any],
        extra_data: Mapping[str, Any],
        events: _EventStream,
        prompt_id: str,
        box: _Box,
    ) -> tuple[str, _Box]:
        for attempt in range(3):
            body = {
                "prompt": prompt,
                "client_id": events.client_id,
                "prompt_id": prompt_id,
                "extra_data": dict(extra_data),
            }
            try:
                response = self._request("POST", "/prompt", json=body)
            except ServerError as error:
                # The answer may be lost and the job taken: it must not be queued twice.
                time.sleep(1 + attempt)
                with contextlib.suppress(ServerError):
                    if self.job(prompt_id) is not None:
                        return prompt_id, box
                    self._request("POST", f"/api/jobs/{prompt_id}/cancel")
                if attempt == 2:
                    error.prompt_id = prompt_id
                    raise
                # A new id for each attempt: the server would run the same id twice.
                events.forget(prompt_id)
                prompt_id = str(uuid.uuid4())
                box = events.listen_to(prompt_id)
                continue
            except BaseException:
                # Interrupted while the server was checking it: it may run all the same.
                with contextlib.suppress(ServerError):
                    self.cancel(prompt_id, timeout=5)
                raise
            try:
                answer = response.json()
            except ValueError:
                answer = None
            if response.status_code == 200 and isinstance(answer, Mapping):
                if answer.get("node_errors"):
                    self.cancel(prompt_id)
                    raise _refusal(answer, prompt)
                given = str(answer.get("prompt_id") or prompt_id)
                log.info("queued", extra={"data": {"prompt_id": given, "server": self.url}})
                return given, events.listen_to(given)
            if isinstance(answer, Mapping):
                raise _refusal(answer, prompt)
            raise ServerError(
                f"The server at {self.url} answered {response.status_code} to the job and gave no reason; its log may."
            )
        raise AssertionError("unreachable")

    def _wait(
        self,
        prompt_id: str,
        events: _EventStream,
        box: _Box,
        on_event: Callable[[Event], None],
        cancel: CancelToken,
        gone: float,
    ) -> list[str]:
        cached: list[str] = []
        last_sign = last_answer = time.monotonic()
        next_look = last_sign + POLL
        unknown = 0
        while True:
            event = _next(box, max(0.0, next_look - time.monotonic()))
            if cancel.cancelled:
                try:
                    confirmed = self.cancel(prompt_id)
                except ServerError:
                    confirmed = not self._lives()
                if not confirmed:
                    raise JobCancelled(f"The job was cancelled, but the server at {self.url} has not confirmed it.")
                cancel.check()
            if event is not None:
                last_sign = last_answer = time.monotonic()
                next_look = last_sign + POLL
                kind, data = event.get("type"), event.get("data") or {}
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
                if time.monotonic() - last_answer > gone or not self._lives():
                    raise
                continue
            last_answer = time.monotonic()
            if job is None:
                unknown += 1
                if unknown >= 2:
                    raise JobLost("The server has lost the job; it was probably restarted. Run it again.")
                continue
            unknown = 0
            status = job.get("status")
            if status in _TERMINAL:
                return cached
            # Where nothing can be heard, silence says little.
            limit = STALL if events.hears else 4 * STALL
            if status == "pending":
                limit = DEAD_QUEUE
                if self.at_work():
                    last_sign = time.monotonic()  # others' jobs come first
            elif events.unheard > _UNHEARD:
                events.drop()
            if time.monotonic() - last_sign > limit:
                self.cancel(prompt_id)
                raise JobStuck(
                    f"The job made no progress for {limit / 60:.0f} minutes and was cancelled. The server at {self.url} "
                    "may have to be restarted."
                )

    def _outcome(self, prompt_id: str, prompt: Mapping[str, Any], cached: list[str]) -> Outcome:
        finished = self.history(prompt_id)
        if finished is None:
            raise JobLost("The server has forgotten the finished job. Run it again.")
        status = finished.get("status") or {}
        times = {}
        for name, data in _messages(status):
            if isinstance(data.get("timestamp"), int | float):
                times[name] = data["timestamp"] / 1000
            if name == "execution_error":
                raise job_error(data, prompt)
            if name == "execution_interrupted":
                raise JobCancelled(
                    "The job was interrupted on the server, by somebody else or there. Run it again.",
                    _title(prompt, data.get("node_id")),
                )
        if status.get("status_str") != "success":
            raise JobError("The job ended without a result and without a reason; see the server's log.")
        return Outcome(
            prompt_id,
            finished.get("outputs") or {},
            cached,
            times.get("execution_start"),
            times.get("execution_success"),
        )


_Box = queue.Queue[Event | None]
"""One job's events; None wakes up whoever waits."""


def _next(box: _Box, timeout: float) -> Event | None:
    """The next event, or None after so many seconds of silence."""
    try:
        return box.get(timeout=timeout)
    except queue.Empty:
        return None


class _EventStream:
    """The websocket, drained in a thread of its own: a slow reader would stall every client of the server.

    One through all jobs of a client: when a socket ends, the server forgets whichever socket has its id, a newer
    one too. After a break the jobs under way are heard under the same id, for theirs is the server's address for
    them; what comes after them gets a new stream. Each job has a box of its own; what belongs to no job of this
    client is dropped.

    wait: seconds to wait for the connection; it is made all the same when they are over.
    """

    def __init__(self, client: ComfyClient, wait: float = 5.0) -> None:
        self.client_id = uuid.uuid4().hex
        scheme, _, rest = client.url.partition("://")
        self._url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws?clientId={self.client_id}"
        self._loopback = not client._session.trust_env
        self._boxes: dict[str, _Box] = {}
        self._closed = threading.Event()
        self._socket: websocket.WebSocket | None = None
        self._connected = threading.Event()
        self._broken = False
        """Whether a connection that once stood has ended."""
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
        self.drop()
        if wait:
            self._thread.join(5)

    def drop(self) -> None:
        """Cut the connection, as a network would; it is made anew unless the stream is closed."""
        if self._socket is not None and self._socket.sock is not None:
            with contextlib.suppress(OSError):
                self._socket.sock.shutdown(socket.SHUT_RDWR)

    @property
    def worn(self) -> bool:
        """Whether its connection broke, and no job wants it any more."""
        return self._broken and not self._boxes

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

    def listen_to(self, prompt_id: str) -> _Box:
        """The box that a job's events will come into, until it is forgotten."""
        return self._boxes.setdefault(prompt_id, queue.Queue())

    def forget(self, prompt_id: str) -> None:
        """Drop what else comes of a job."""
        self._boxes.pop(prompt_id, None)

    def _deliver(self, event: Event) -> None:
        data = event.get("data")
        box = self._boxes.get(str(data.get("prompt_id"))) if isinstance(data, Mapping) else None
        if box is not None:
            box.put(event)

    def _read(self) -> None:
        pause = 0.5  # never at once: see unheard
        while not self._closed.is_set():
            try:
                # An Origin header would be checked against the host, which fails behind a tunnel.
                self._socket = websocket.create_connection(
                    self._url, timeout=10, suppress_origin=True, http_no_proxy=["*"] if self._loopback else None
                )
                # The first message of a connection: has previews say whose they are.
                flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
                self._socket.send(json.dumps(flags))
                self._messages, self._since = 0, time.monotonic()
                self._connected.set()
                pause = 0.5
                self._socket.settimeout(30)
                self._drain(self._socket)
                self._socket.close()
            except (OSError, websocket.WebSocketException) as error:
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
            try:
                event = _preview(message) if isinstance(message, bytes) else json.loads(message)
            except (ValueError, struct.error):
                continue
            # The answer to the flags comes at once and does not tell whether this connection is on the list.
            if isinstance(event, dict) and event.get("type") != "feature_flags" and well_formed(event):
                self._messages += 1
                self._deliver(event)


def well_formed(event: Mapping[str, Any]) -> bool:
    """Whether an event is of the types that its kind has, so that whoever gets it need not ask."""
    kind, data = event.get("type"), event.get("data")
    if not isinstance(kind, str) or not isinstance(data, Mapping):
        return False
    if kind == "execution_cached":
        return isinstance(data.get("nodes", []), list)
    if kind == "executing":
        return all(data.get(name) is None or isinstance(data[name], str) for name in ("node", "display_node"))
    if kind == "progress":
        # JSON as Python reads it has NaN and Infinity.
        return all(isinstance(data.get(n), int | float) and math.isfinite(data[n]) for n in ("value", "max"))
    return True


def _messages(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What the history says that happened."""
    for message in status.get("messages") or []:
        if isinstance(message, list | tuple) and len(message) == 2 and isinstance(message[1], Mapping):
            yield str(message[0]), message[1]


def _preview(frame: bytes) -> dict[str, Any] | None:
    """The event of a binary frame: big-endian type 4, the length of the metadata, metadata, picture file."""
    kind, length = struct.unpack_from(">II", frame)
    if kind != 4:
        return None
    data = json.loads(frame[8 : 8 + length])
    if not isinstance(data, dict):
        return None
    return {"type": "preview", "data": {**data, "image": frame[8 + length :]}}


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


def _refusal(answer: Mapping[str, Any], prompt: Mapping[str, Any]) -> JobRefused:
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
    return JobRefused("The server refused the job. " + "; ".join(dict.fromkeys(parts)), first)


def job_error(data: Mapping[str, Any], prompt: Mapping[str, Any]) -> JobError:
    """The error of a job that failed on the way. ComfyUI's traceback goes to the log only.

    data: of ComfyUI's event ``execution_error``. prompt: the graph that was run.
    """
    title = _title(prompt, data.get("node_id")) or str(data.get("node_type"))
    kind, message = str(data.get("exception_type")), str(data.get("exception_message") or "").strip()
    log.error("%s failed: %s: %s\n%s", title, kind, message, "".join(map(str, data.get("traceback") or [])))
    main = kind == "MemoryError" or bool(_NO_MAIN_MEMORY.search(message))
    if main or "OutOfMemory" in kind or "out of memory" in message.lower():
        return JobOutOfMemory(
            f"{title}: the server ran out of {'main ' if main else ''}memory. Choose a smaller custom tile in the HiRes "
            f"Tiles node, close other programs{'' if main else ' that use the GPU'}, or upscale a smaller image.",
            title,
            main,
        )
    return JobError(f"{title}: {message or kind}", title)
