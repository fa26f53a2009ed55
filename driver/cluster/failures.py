"""Errors of jobs as data, on their way from the worker to whoever waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...nodes.errors import DistilleryError
from ..errors import JobCancelled, JobError, JobLost, JobOutOfMemory, JobRefused, JobStuck, ServerError, SourceError
from ..log import without_secrets
from .errors import MissingObject, StoreError

SERVER_FAULTS = (ServerError, JobLost, JobStuck)
"""What may be the server's fault and not the job's: it is run again elsewhere."""
_KINDS: dict[str, type[JobError]] = {
    kind.__name__: kind for kind in (JobError, JobOutOfMemory, JobRefused, JobStuck, JobCancelled)
}

DEAD: dict[str, Any] = {
    "kind": "dead",
    "reason": "Three workers died while they had the job, so that it is not given to a fourth.",
    "advice": "If it was not the job's doing, have it run again: distillery jobs replay.",
}
EXPIRED = "The job was not done by its deadline, and was dropped then."


def error_data(error: DistilleryError) -> dict[str, Any]:
    """Return an error as JSON-ready data without secrets."""
    data: dict[str, Any] = {"kind": type(error).__name__, "reason": without_secrets(str(error))}
    if isinstance(error, JobError):
        data["reason"] = without_secrets(error.reason)
        if error.node:
            data["node"] = error.node
        if error.advice:
            data["advice"] = without_secrets(error.advice)
    if isinstance(error, JobOutOfMemory):
        data["main"] = error.main
    return data


def fault_data(error: DistilleryError) -> dict[str, Any]:
    """Return the error of a job that failed on three servers through no fault of its own."""
    return {
        "kind": "servers",
        "reason": f"Three workers could not run the job; the last one said: {without_secrets(str(error))}",
        "advice": "Once they are well, have it run again: distillery jobs replay.",
    }


def source_gone(error: MissingObject) -> dict[str, Any]:
    """Return the error of a job whose picture is no longer in the store."""
    return {
        "kind": "source",
        "reason": f"The picture of the job is gone: {error}",
        "advice": "Submit it again, and keep pictures in the store for longer than jobs wait.",
    }


def is_fault_of_worker(error: DistilleryError) -> bool:
    """Return True where the job may succeed elsewhere."""
    return isinstance(error, SERVER_FAULTS) or (isinstance(error, StoreError) and not isinstance(error, MissingObject))


def read_error(state: str, data: Mapping[str, Any] | None) -> DistilleryError:
    """Return the error of a job that ended without a result."""
    data = data or {}
    if state == "cancelled":
        return JobCancelled("The job was cancelled.")
    if state == "expired" or data.get("kind") == "deadline":
        return JobError(EXPIRED, advice="Submit it again, with a later deadline.")
    reason, advice = str(data.get("reason", "The job failed.")), str(data.get("advice", ""))
    node = data.get("node")
    if data.get("kind") == "SourceError":
        return SourceError(reason)
    if data.get("kind") == "JobOutOfMemory":
        return JobOutOfMemory(reason, node, bool(data.get("main")), advice)
    kind = _KINDS.get(str(data.get("kind")), JobError)
    return kind(reason, node, advice)
