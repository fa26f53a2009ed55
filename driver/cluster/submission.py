"""Accepting jobs: one statement, in a transaction of the caller's if it likes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from .errors import ClusterError, LimitReached
from .values import ClusterJob, Deliver

_SUBMIT = "SELECT distillery_submit_v1(%s::jsonb, %s::jsonb, %s) AS answer"


@dataclass(frozen=True)
class Accepted:
    """A job that is in the database, and so will be run."""

    state: str
    again: bool
    """True where a job of that id was there already: it is that one."""
    place: int | None = None
    """Place in the queue, 1: next; None where it was not asked for."""
    seconds: float | None = None
    """Estimate of the seconds until it starts; None where no worker is there."""
    slots: int | None = None
    """Jobs that the workers which can serve it run at a time."""


def submit(
    connection: psycopg.Connection[Any], job: ClusterJob, deliver: Sequence[Deliver] = (), estimate: bool = True
) -> Accepted:
    """Put a job into the queue, in the transaction that the connection is in; its picture is in the store already.

    An id that is there already is that job. estimate: False leaves out place and seconds, which take as long as the
    queue. Raises LimitReached, ClusterError: nothing was accepted then.
    """
    row = connection.execute(_SUBMIT, _arguments(job, deliver, estimate)).fetchone()
    return _accepted(job, row)


async def submit_async(
    connection: psycopg.AsyncConnection[Any], job: ClusterJob, deliver: Sequence[Deliver] = (), estimate: bool = True
) -> Accepted:
    """Do what :func:`submit` does, on an asynchronous connection."""
    cursor = await connection.execute(_SUBMIT, _arguments(job, deliver, estimate))
    return _accepted(job, await cursor.fetchone())


def _arguments(job: ClusterJob, deliver: Sequence[Deliver], estimate: bool) -> tuple[str, str, bool]:
    whom = [{"kind": d.kind, "target": d.target} for d in deliver]
    return json.dumps(job.as_dict()), json.dumps(whom), estimate


def _accepted(job: ClusterJob, row: Any) -> Accepted:
    answer: Mapping[str, Any] = row["answer"] if isinstance(row, Mapping) else row[0]
    refused = answer.get("refused")
    if refused is None:
        known = Accepted.__dataclass_fields__
        return Accepted(**{name: answer[name] for name in known if name in answer})
    if refused == "tier":
        tiers = ", ".join(sorted(repr(name) for name in answer["tiers"]))
        raise ClusterError(f"There is no tier {job.job.tier!r}; there are {tiers} (table distillery_tiers).")
    if refused == "queued":
        raise LimitReached(
            f"The job was not accepted: {_user(job)} has {answer['there']} jobs waiting, and {answer['limit']} is the limit "
            f"of {_tier(job)}. Wait until one has started, or cancel one."
        )
    if refused == "daily":
        raise LimitReached(
            f"The job was not accepted: {_user(job)} has had {answer['there']} jobs today, and {answer['limit']} a day is "
            f"the limit of {_tier(job)}. The day ends at midnight UTC."
        )
    raise ClusterError(f"The id {job.job.id} is that of another job. Each job needs an id of its own.")


def _user(job: ClusterJob) -> str:
    return f"user {job.job.user}" if job.job.user else "this user"


def _tier(job: ClusterJob) -> str:
    return f"the tier {job.job.tier}" if job.job.tier else "this cluster"
