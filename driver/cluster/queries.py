"""The jobs of a cluster as lists: for ``distillery jobs``, the dashboard and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .database import Database, Row
from .errors import ClusterError
from .failures import read_error

DEAD_KINDS = ("dead", "servers")
"""Kinds of errors that were not the job's own doing."""

_LIST = """
    SELECT j.id, j.user_id, j.tier, j.state, j.stage, j.job->>'source' AS source, j.job->>'checkpoint' AS checkpoint,
        j.created, j.started, j.finished, j.deadline, j.error, j.run, j.cancelling, w.name AS worker
    FROM distillery_jobs j LEFT JOIN distillery_workers w ON w.id = j.worker
"""


def list_jobs(
    database: Database, state: str | None = None, user: str | None = None, dead: bool = False, limit: int = 50
) -> list[dict[str, Any]]:
    """Return jobs, those that wait in the order in which they are to start, then the others, the newest first."""
    rows = database.rows(
        _LIST + "WHERE (%s::text IS NULL OR j.state = %s) AND (%s::text IS NULL OR j.user_id = %s) "
        "AND (NOT %s OR (j.state = 'failed' AND j.error->>'kind' = ANY (%s))) "
        "ORDER BY j.state = 'running' DESC, j.state = 'queued' DESC, "
        "CASE WHEN j.state = 'queued' THEN j.virtual_start END, j.number DESC LIMIT %s",
        state, state, user, user, dead, list(DEAD_KINDS), limit,
    )  # fmt: skip
    return [_readable(row) for row in rows]


def show_job(database: Database, job_id: str) -> dict[str, Any]:
    """Return all that is known of a job, with its place and the estimate of its wait. Raises ClusterError."""
    row = database.row(_LIST + "WHERE j.id = %s", job_id)
    if row is None:
        raise unknown(job_id)
    data = _readable(row)
    place = database.row("SELECT * FROM distillery_place_v1(%s)", job_id)
    if place is not None:
        data.update(place=place["place"], wait_seconds=place["seconds"], slots=place["slots"])
    job = database.row("SELECT job->>'command' AS command, cost FROM distillery_jobs WHERE id = %s", job_id)
    if job is not None:
        data.update(command=job["command"], estimated_seconds=round(job["cost"], 1))
    data["deliveries"] = [
        _plain(r)
        for r in database.rows(
            "SELECT kind, state, attempts, next_at, error, delivered FROM distillery_deliveries WHERE job_id = %s ORDER BY id",
            job_id,
        )
    ]
    data["history"] = [
        _plain(r)
        for r in database.rows("SELECT at, event, detail FROM distillery_ledger WHERE job_id = %s ORDER BY id", job_id)
    ]
    return data


def find_job(database: Database, given: str) -> str:
    """Return the id that begins as given. Raises ClusterError where none does, or several do."""
    if not given or not all(c in "0123456789abcdef-" for c in given.lower()):
        raise unknown(given)
    rows = database.rows(
        "SELECT id FROM distillery_jobs WHERE starts_with(id, %s) LIMIT 2", given.lower().replace("-", "")
    )
    if len(rows) > 1:
        raise ClusterError(f"Several jobs have an id that begins with {given}: give more of it.")
    if not rows:
        raise unknown(given)
    return str(rows[0]["id"])


def unknown(job_id: str) -> ClusterError:
    """Return the error for an id that no job has."""
    return ClusterError(
        f"No job has the id {job_id[:64]!r}. Ended ones are kept for some days; list them with: distillery jobs list."
    )


def cancel_job(database: Database, job_id: str) -> str:
    """Have a job cancelled; returns its state then."""
    return str(database.value("SELECT distillery_cancel_v1(%s)", job_id))


def replay_job(database: Database, job_id: str) -> str:
    """Put a job that ended without a result back into the queue; returns the state that it had."""
    return str(database.value("SELECT distillery_replay_v1(%s)", job_id))


def workers(database: Database) -> list[dict[str, Any]]:
    """Return the workers and what they run."""
    rows = database.rows(
        "SELECT w.name, w.version, w.state, w.slots, w.models, w.started, w.beaten, "
        "(SELECT count(*) FROM distillery_jobs j WHERE j.worker = w.id AND j.state = 'running') AS running "
        "FROM distillery_workers w ORDER BY w.name, w.started"
    )
    return [_plain(row) for row in rows]


def overview(database: Database) -> dict[str, Any]:
    """Return the queue by tier, the workers, the last hour's rates and the last failures."""
    queue = database.rows(
        "SELECT tier, count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state = 'running') AS "
        "running, extract(epoch FROM now() - min(created) FILTER (WHERE state = 'queued'))::float AS oldest "
        "FROM distillery_jobs WHERE state IN ('queued', 'running') GROUP BY tier ORDER BY tier"
    )
    rates = database.rows(
        "SELECT event, count(*) AS jobs, avg(seconds)::float AS seconds, avg(waited)::float AS waited "
        "FROM distillery_ledger WHERE at > now() - interval '1 hour' GROUP BY event ORDER BY event"
    )
    return {
        "queue": [dict(row) for row in queue],
        "workers": workers(database),
        "last_hour": [dict(row) for row in rates],
        "failures": list_jobs(database, state="failed", limit=10),
    }


def _readable(row: Row) -> dict[str, Any]:
    data = _plain(row)
    if data["state"] in ("failed", "cancelled", "expired"):
        data["error"] = str(read_error(data["state"], row["error"]))
    else:
        del data["error"]
    return {name: value for name, value in data.items() if value is not None}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: v.isoformat(timespec="seconds") if isinstance(v, datetime) else v for name, v in row.items()}


def ids_of_dead(database: Database) -> Sequence[str]:
    """Return the ids of the jobs that died through no fault of their own."""
    rows = database.rows(
        "SELECT id FROM distillery_jobs WHERE state = 'failed' AND error->>'kind' = ANY (%s) ORDER BY number",
        list(DEAD_KINDS),
    )
    return [row["id"] for row in rows]
