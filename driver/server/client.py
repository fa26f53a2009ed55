"""Run jobs on one ComfyUI server.

HTTP is the truth, the socket only brings news early: events that a dropped socket loses are not replayed, so that
a job's state is asked for whenever the socket is silent.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...nodes.lease import LEASE_KEY
from ..cancel import CancelToken
from ..errors import JobCancelled, JobError, JobLost, JobStuck, ServerError
from .api import STATUS_TIMEOUT, TERMINAL, ComfyApi
from .endpoint import Endpoint
from .event_stream import Cached, EventStream, Executing, Inbox, JobEvent, next_event
from .job_errors import history_messages, job_error, node_title, refusal

log = logging.getLogger(__name__)

POLL = 2.0
"""Seconds of silence after which a job's state is asked for."""
STALL_TIMEOUT = 1800.0
"""Seconds without any sign of progress after which a running job is given up. A slow step is no error: the largest
step on the slowest machine must fit."""
PENDING_TIMEOUT = 300.0
"""Seconds for which a queued job may wait while the server works on nothing: then its worker thread is dead."""
UNREACHABLE_TIMEOUT = 60.0
"""Seconds without any answer after which a server that has a job is given up."""
QUEUE_ATTEMPTS = 3
"""Times that a job is posted to a server whose answer is lost."""
RECONNECT_WAIT = 2.0
"""Seconds that a job waits for a connection in place of one that broke: a short job would end before it is heard."""
LEASE = 60
"""Seconds without a sign of life of this driver after which the server may cancel its job: see :mod:`nodes.lease`."""
RENEW_EVERY = 10.0
"""Seconds after which a lease is renewed where no websocket does that."""
SILENT_SOCKET_TIMEOUT = 5.0
"""Seconds for which a new connection may bring nothing but its greeting while a job runs."""


@dataclass
class Outcome:
    """The outputs and times of a finished job."""

    prompt_id: str
    outputs: dict[str, Any]
    """Node id to what the node returned for the user interface."""
    cached: list[str] = field(default_factory=list)
    """Ids of the nodes whose result was there already."""
    started: float | None = None
    """Start of its execution, and its end, by the server's clock: Unix seconds."""
    ended: float | None = None


class ComfyClient(ComfyApi):
    """A client of one ComfyUI server. Several threads may each run a job with it.

    server: its endpoint, or its URL.
    is_alive: tells whether the server's process runs, where that can be known, so that its end is no mere silence.
    """

    def __init__(self, server: Endpoint | str, is_alive: Callable[[], bool] = lambda: True) -> None:
        super().__init__(server)
        self._is_alive = is_alive
        self.events: EventStream | None = None
        """The live event stream; None before the first job."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            events, self.events = self.events, None
        if events is not None:
            events.close()
        super().close()

    def run(
        self,
        prompt: Mapping[str, Any],
        prompt_id: str | None = None,
        extra_data: Mapping[str, Any] | None = None,
        on_event: Callable[[JobEvent], None] = lambda event: None,
        cancel: CancelToken | None = None,
        unreachable: float | None = None,
        targets: Sequence[str] | None = None,
    ) -> Outcome:
        """Queue a workflow in the API's format and wait for its end.

        prompt_id: of the job, a UUID that no job had before; None: a random one. on_event is called with every event of
        this job. targets: ids of the output nodes to run; None: all. cancel: takes the job off the server, from another thread.
        unreachable: seconds without an answer after which the server is given up; None: UNREACHABLE_TIMEOUT. Raises
        JobRefused, JobLost, JobStuck or another JobError where the job fails, JobCancelled where somebody cancelled
        it, ServerError where the server is gone (its ``prompt_id`` is then the job that it may still have). On any
        other exception, KeyboardInterrupt included, the job is cancelled before the exception goes on.
        """
        cancel = cancel or CancelToken()
        cancel.check()
        # An id of our own: whoever chooses it can listen before there is anything to hear.
        events, prompt_id, inbox = self._subscribe(prompt_id or str(uuid.uuid4()))
        try:
            prompt_id, inbox = self._queue(_body(prompt, extra_data or {}, targets), events, prompt_id, inbox)
            return self._wait_and_collect(prompt_id, prompt, events, inbox, on_event, cancel, unreachable)
        except ServerError as error:
            if self._is_alive():
                raise
            raise JobLost(
                f"The server at {self.url} ended while it had the job; its log may say why, such as too little memory."
            ) from error
        finally:
            events.unsubscribe(prompt_id)

    def resume(self, prompt_id: str, prompt: Mapping[str, Any], cancel: CancelToken | None = None) -> Outcome | None:
        """Wait for a job that the server was given before; None where it does not know it."""
        if self.job(prompt_id) is None:
            return None
        events, prompt_id, inbox = self._subscribe(prompt_id)
        try:
            return self._wait_and_collect(
                prompt_id, prompt, events, inbox, lambda event: None, cancel or CancelToken(), None
            )
        finally:
            events.unsubscribe(prompt_id)

    def _subscribe(self, prompt_id: str) -> tuple[EventStream, str, Inbox]:
        """Return a live event stream, the job's id, and its inbox."""
        with self._lock:  # so that no socket is put away between its choice and its use
            if self.events is not None and self.events.is_stale:
                self.events.close(wait=False)
                self.events = EventStream(self.endpoint, RECONNECT_WAIT)
            elif self.events is None:
                self.events = EventStream(self.endpoint)
            return self.events, prompt_id, self.events.subscribe(prompt_id)

    def _wait_and_collect(
        self,
        prompt_id: str,
        prompt: Mapping[str, Any],
        events: EventStream,
        inbox: Inbox,
        on_event: Callable[[JobEvent], None],
        cancel: CancelToken,
        unreachable: float | None,
    ) -> Outcome:
        try:
            with cancel.waking(lambda: inbox.put(None)):
                cached = self._wait(
                    prompt_id,
                    events,
                    inbox,
                    on_event,
                    cancel,
                    UNREACHABLE_TIMEOUT if unreachable is None else unreachable,
                )
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
        body: Mapping[str, Any],
        events: EventStream,
        prompt_id: str,
        inbox: Inbox,
    ) -> tuple[str, Inbox]:
        prompt, attempt = body["prompt"], 1
        while True:
            sent = {**body, "client_id": events.client_id, "prompt_id": prompt_id}
            try:
                response = self.request("POST", "/prompt", json=sent)
                break
            except ServerError as error:
                # The answer may be lost and the job taken: it must not be queued twice.
                time.sleep(attempt)
                with contextlib.suppress(ServerError):
                    if self.job(prompt_id) is not None:
                        return prompt_id, inbox
                    self.request("POST", f"/api/jobs/{prompt_id}/cancel")
                if attempt == QUEUE_ATTEMPTS:
                    error.prompt_id = prompt_id
                    raise
                # A new id for each attempt: the server would run the same id twice.
                events.unsubscribe(prompt_id)
                prompt_id = str(uuid.uuid4())
                inbox = events.subscribe(prompt_id)
                attempt += 1
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
                raise refusal(answer, prompt)
            given = str(answer.get("prompt_id") or prompt_id)
            log.info("queued", extra={"data": {"prompt_id": given, "server": self.url}})
            return given, events.subscribe(given)
        if isinstance(answer, Mapping):
            raise refusal(answer, prompt)
        raise ServerError(
            f"The server at {self.url} answered {response.status_code} to the job and gave no reason; its log may."
        )

    def _wait(
        self,
        prompt_id: str,
        events: EventStream,
        inbox: Inbox,
        on_event: Callable[[JobEvent], None],
        cancel: CancelToken,
        unreachable: float,
    ) -> list[str]:
        cached: list[str] = []
        last_sign = last_answer = renewed = time.monotonic()
        next_look = last_sign + POLL
        unknown = 0
        while True:
            event = next_event(inbox, max(0.0, next_look - time.monotonic()))
            if cancel.cancelled:
                try:
                    confirmed = self.cancel(prompt_id)
                except ServerError:
                    confirmed = not self._is_alive()
                if not confirmed:
                    raise JobCancelled(f"The job was cancelled, but the server at {self.url} has not confirmed it.")
                cancel.check()
            if event is not None:
                last_sign = last_answer = time.monotonic()
                next_look = last_sign + POLL
                if isinstance(event, Cached):
                    cached += event.nodes
                on_event(event)
                if not (isinstance(event, Executing) and event.node is None):
                    continue
            elif time.monotonic() < next_look:
                continue
            next_look = time.monotonic() + POLL
            try:
                job = self.job(prompt_id)
                if not events.is_live and time.monotonic() - renewed > RENEW_EVERY:
                    self.request("POST", f"/distillery/lease/{prompt_id}", timeout=STATUS_TIMEOUT)
                    renewed = time.monotonic()
            except ServerError:
                if time.monotonic() - last_answer > unreachable or not self._is_alive():
                    raise
                continue
            last_answer = time.monotonic()
            if job is None:
                unknown += 1
                if unknown >= 2:
                    raise JobLost("The server has lost the job; it was probably restarted.")
                continue
            unknown = 0
            status = job.get("status")
            if status in TERMINAL:
                return cached
            # Where nothing can be heard, silence says little.
            limit = STALL_TIMEOUT if events.is_live else 4 * STALL_TIMEOUT
            if status == "pending":
                limit = PENDING_TIMEOUT
                if self.at_work():
                    last_sign = time.monotonic()  # others' jobs come first
            elif events.silent_for > SILENT_SOCKET_TIMEOUT:
                events.disconnect()
            if time.monotonic() - last_sign > limit:
                self.cancel(prompt_id)
                raise JobStuck(
                    f"The job made no progress for {limit / 60:.0f} minutes and was cancelled. The server at {self.url} "
                    "may have to be restarted."
                )

    def _outcome(self, prompt_id: str, prompt: Mapping[str, Any], cached: list[str]) -> Outcome:
        finished = self.history(prompt_id)
        if finished is None:
            raise JobLost("The server has forgotten the finished job.")
        status = finished.get("status") or {}
        times = {}
        for name, data in history_messages(status):
            if isinstance(data.get("timestamp"), int | float):
                times[name] = data["timestamp"] / 1000
            if name == "execution_error":
                raise job_error(data, prompt)
            if name == "execution_interrupted":
                raise JobCancelled(
                    "The job was interrupted on the server, by somebody else or there. Run it again.",
                    node_title(prompt, data.get("node_id")),
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


def _body(prompt: Mapping[str, Any], extra_data: Mapping[str, Any], targets: Sequence[str] | None) -> dict[str, Any]:
    """The body of a request to queue a job, but for its ids."""
    body: dict[str, Any] = {"prompt": prompt, "extra_data": {**extra_data, LEASE_KEY: LEASE}}
    if targets is not None:
        body["partial_execution_targets"] = list(targets)
    return body
