"""The second backend: jobs that are submitted to a cluster and followed as if they ran here."""

from __future__ import annotations

import contextlib
import getpass
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from ...nodes.errors import DistilleryError
from ..cancel import CancelToken
from ..errors import JobCancelled, JobError
from ..events import Message
from ..jobs.contact_sheet import before_after
from ..jobs.existing import earlier_result
from ..jobs.job import OnProgress, Result
from ..jobs.output import Output, Written, new_part, write_result
from ..jobs.prepare import Task
from ..log import job_log
from .addresses import database_url, shown
from .database import OUTAGE, Database, Row, resolve, statement_error
from .errors import ClusterError, MissingObject, StoreError
from .failures import read_error
from .listener import Inbox, Listener
from .progress import events_of, preview_event, preview_of
from .schema import ensure_schema
from .settings import open_store
from .store import Store
from .submission import Accepted, submit
from .values import ClusterJob, job_of, read_result

log = logging.getLogger(__name__)

POLL = 2.0
"""Seconds of silence after which the row of a job is looked at."""
OUTAGE_LIMIT = 900.0
"""Seconds without the database after which a job is no longer waited for. It is there all the same."""
CANCEL_LIMIT = 15.0
"""Seconds for which the end of a cancelled job is waited for."""
SUBMIT_ATTEMPTS = 5
"""Times that a job is submitted where the database's answer is lost; the id makes it one job."""


@dataclass(frozen=True)
class _Open:
    """What is there once the database was asked for the first time."""

    database: Database
    store: Store
    listener: Listener


class ClusterBackend:
    """Runs jobs on the workers of a cluster; see :class:`driver.jobs.backend.Backend`.

    cluster: URL of its PostgreSQL, or ``local``. store: URL of its store, where it is not the one that the cluster
    names itself. user, tier: of jobs that name none.
    """

    def __init__(self, cluster: str, store: str | None = None, user: str | None = None, tier: str = "") -> None:
        self._url = database_url(cluster)
        self._store_url = store
        self._user = getpass.getuser() if user is None else user
        self._tier = tier
        self._lock = threading.Lock()
        self._opened: _Open | None = None
        self._slots = 1

    @property
    def concurrency(self) -> int:
        """Jobs worth waiting for at a time: twice what the workers run, so that none of them waits for the next one."""
        return max(4, min(64, 2 * self._slots + 2))

    def start(self, say: Callable[[str], None]) -> None:
        """Connect, and say where no worker is there. Raises ClusterError."""
        opened = self._open()
        query = "SELECT COALESCE(sum(slots), 0) FROM distillery_workers WHERE state <> 'draining'"
        with contextlib.suppress(*OUTAGE):  # it is back before the first job, or that one tells
            self._slots = int(opened.database.value(query))
            if not self._slots:
                say(_NO_WORKER)

    def announce(self, ticket: int) -> None:
        """Do nothing: the queue of the cluster has an order of its own."""

    def run(
        self, task: Task, report: OnProgress, cancel: CancelToken, on_begin: Callable[[], None] = lambda: None
    ) -> Result:
        """Submit one job, follow it to its end and fetch its result. Raises DistilleryError."""
        with job_log(task.job.source, task.job.id):
            started = time.monotonic()
            if (earlier := earlier_result(task, started)) is not None:
                return earlier
            cancel.check()
            opened = self._open()
            job = job_of(task, self._user, self._tier)
            opened.store.put_once("sources", task.image.png)
            with opened.listener.following(job.job.id) as inbox:
                accepted = self._submit(opened.database, job, report)
                log.info("submitted", extra={"data": {"again": accepted.again, "place": accepted.place}})
                _Following(opened, job.job.id, inbox, report, cancel, on_begin, accepted).to_the_end()
            return self._fetch(opened, task, started)

    def free(self) -> None:
        """Raise ClusterError: the servers are the workers'."""
        raise ClusterError("The servers of a cluster are its workers': free them there.")

    def close(self) -> None:
        """Close the connections. Jobs that were submitted are run all the same."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.listener.close()
            opened.database.close()

    def _open(self) -> _Open:
        with self._lock:
            if self._opened is None:
                conninfo = resolve(self._url)
                ensure_schema(conninfo)
                database = Database(conninfo, size=8)
                try:
                    store = open_store(database, self._url, self._store_url)
                except psycopg.Error as error:
                    database.close()
                    raise statement_error(conninfo, error) from None
                except BaseException:
                    database.close()
                    raise
                self._opened = _Open(database, store, Listener(conninfo))
            return self._opened

    def _submit(self, database: Database, job: ClusterJob, report: OnProgress) -> Accepted:
        for attempt in range(1, SUBMIT_ATTEMPTS + 1):
            try:
                with database.connection() as connection:
                    accepted = submit(connection, job)
                break
            except OUTAGE:
                if attempt == SUBMIT_ATTEMPTS:
                    raise ClusterError(
                        f"The database {shown(self._url)} does not answer, and whether it has the job {job.job.id} is not "
                        "known. Ask with: distillery jobs show."
                    ) from None
                time.sleep(attempt)
            except psycopg.Error as error:  # such as a user without the right to submit
                raise statement_error(self._url, error) from None
        for text in _expectation(accepted):
            report(Message(text))
        return accepted

    def _fetch(self, opened: _Open, task: Task, started: float) -> Result:
        """Write the result into the folder of the task."""
        row = _patiently(
            lambda: opened.database.row(
                "SELECT r.result, r.object, COALESCE(w.name, r.worker::text) AS worker FROM distillery_results r "
                "LEFT JOIN distillery_workers w ON w.id = r.worker WHERE r.job_id = %s",
                task.job.id,
            )
        )
        if row is None:
            raise JobError("The result is no longer kept.", advice="Run it again.")
        try:
            data = opened.store.get_by_hash(row["object"])
        except MissingObject as error:
            raise JobError(f"The job was done, but {error}", advice="Run it again.") from error
        written = _write(data, task.output, task.job.stem)
        result = read_result(row["result"], task, written.path, str(row["worker"]), time.monotonic() - started)
        result = replace(result, generation=result.generation.warn(*written.warnings))
        if task.compare:
            compared = before_after(task.image.png, written.path)
            result = replace(result, compared=compared, total=time.monotonic() - started)
        return result


_NO_WORKER = "No worker is there to run it. Start one: distillery worker. The job waits for it."


def _expectation(accepted: Accepted) -> Iterator[str]:
    """Say what is known of the wait."""
    if accepted.again:
        yield f"The job is there already: {accepted.state}."
    elif accepted.slots == 0:
        yield _NO_WORKER
    elif accepted.place is not None and accepted.place > 1:
        wait = f", about {accepted.seconds:.0f} s" if accepted.seconds is not None else ""
        yield f"Place {accepted.place} in the queue{wait}."


def _patiently(ask: Callable[[], Row | None]) -> Row | None:
    """Ask until the database answers. Raises ClusterError."""
    until = time.monotonic() + OUTAGE_LIMIT
    while True:
        try:
            return ask()
        except OUTAGE:
            if time.monotonic() > until:
                raise ClusterError("The database no longer answers. The job is there all the same.") from None
            time.sleep(POLL)


def _write(data: bytes, output: Output, stem: str) -> Written:
    try:
        with new_part(output.folder) as file:
            part = Path(file.name)
            try:
                file.write(data)
                file.close()
                return write_result(part, output, stem)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise JobError(f"The result cannot be written to {output.folder}: {error.strerror or error}.") from error


class _Following:
    """A job that is waited for."""

    def __init__(
        self,
        opened: _Open,
        job_id: str,
        inbox: Inbox,
        report: OnProgress,
        cancel: CancelToken,
        on_begin: Callable[[], None],
        accepted: Accepted,
    ) -> None:
        self._opened, self._id, self._inbox, self._report = opened, job_id, inbox, report
        self._cancel, self._on_begin, self._accepted = cancel, on_begin, accepted
        self._begun = False
        self._silent_since: float | None = None

    def to_the_end(self) -> None:
        """Return once the job is done. Raises DistilleryError where it ends otherwise."""
        asked_at: float | None = None
        try:
            with self._cancel.waking(lambda: self._inbox.put({})):
                while not self._ended():
                    if self._cancel.cancelled:
                        if asked_at is None and self._ask_to_cancel():
                            asked_at = time.monotonic()
                        elif asked_at is not None and time.monotonic() - asked_at > CANCEL_LIMIT:
                            raise JobCancelled("The job was cancelled; its worker has not confirmed that yet.")
                    self._hear()
        except DistilleryError:
            raise
        except BaseException:  # Ctrl-C: nobody waits for it any more
            with contextlib.suppress(Exception):
                self._opened.database.value("SELECT distillery_cancel_v1(%s)", self._id)
            raise

    def _hear(self) -> None:
        """Take what is told until there is reason to look at the row: a change of state, a wish to cancel, silence."""
        until = time.monotonic() + POLL
        while (left := until - time.monotonic()) > 0:
            try:
                data = self._inbox.get(timeout=left)
            except queue.Empty:
                return
            if "state" in data or "listening" in data or not data:
                return
            self._begin()
            for event in events_of(data):
                self._report(event)
            preview = preview_of(data)
            if preview is not None:
                with contextlib.suppress(StoreError):
                    self._report(preview_event(preview, self._opened.store.get(preview[1])))

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._on_begin()

    def _ended(self) -> bool:
        """Look at the row. Raises the error that the job ended with."""
        try:
            row = self._opened.database.row("SELECT state, error FROM distillery_jobs WHERE id = %s", self._id)
        except OUTAGE as error:
            self._outage(error)
            return False
        self._silent_since = None
        if row is None:
            raise JobError("The job is no longer known: it was deleted.", advice="Run it again.")
        if row["state"] == "done":
            return True
        if row["state"] == "running":
            self._begin()
        elif row["state"] != "queued":
            raise read_error(row["state"], row["error"])
        return False

    def _outage(self, error: Exception) -> None:
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
            self._report(Message("The database does not answer; the job goes on, and is asked for again."))
        if now - self._silent_since > OUTAGE_LIMIT:
            raise ClusterError(
                f"The database no longer answers. The job {self._id} is there all the same: distillery jobs show."
            ) from error

    def _ask_to_cancel(self) -> bool:
        """Have the job cancelled; False where the database does not answer."""
        try:
            self._opened.database.value("SELECT distillery_cancel_v1(%s)", self._id)
        except OUTAGE as error:
            self._outage(error)
            return False
        return True
