"""The structured log: JSON lines, each with the id of the job that it is about, and without secrets."""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..nodes.errors import DistilleryError
from .errors import SourceError

log = logging.getLogger(__name__)

_job: contextvars.ContextVar[tuple[str, str] | None] = contextvars.ContextVar("job", default=None)
_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", re.I)
_PARAMETER = re.compile(r"([?&](?:ex|is|hm|token|sig|signature|key|x-[\w-]+)=)[^&\s\"'<>)]+", re.I)
"""Also in targets without a host, as libraries print them."""
_TOKEN = re.compile(r"\b(Bot|Bearer|Basic)\s+[\w.~+/=-]{16,}")
_LOGIN = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"'<>]+@", re.I)


def without_secrets(text: str) -> str:
    """A text without what gives access: its URLs have neither query nor login, signatures and tokens are cut out."""
    return _TOKEN.sub(r"\1 …", _PARAMETER.sub(r"\1…", _QUERY.sub(r"\1", _LOGIN.sub(r"\1", text))))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {str(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else without_secrets(str(value))


@contextlib.contextmanager
def job_log(source: str) -> Iterator[str]:
    """Have what this thread logs carry a job's id and its source: a new one, or that of the job it is part of. How it failed is logged."""
    known = _job.get()
    if known is not None:
        yield known[0]
        return
    job = uuid.uuid4().hex[:12]
    token = _job.set((job, without_secrets(source)))
    try:
        yield job
    except DistilleryError as error:
        log.warning("failed", extra={"data": {"kind": type(error).__name__, "error": str(error)}})
        raise
    finally:
        _job.reset(token)


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, job, source, message, and what ``extra={"data": …}`` gives."""

    def format(self, record: logging.LogRecord) -> str:
        job = _job.get()
        entry = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **({"job": job[0], "source": job[1]} if job else {}),
            "message": record.getMessage(),
        }
        data = getattr(record, "data", None)
        if isinstance(data, dict):
            entry.update({k: v for k, v in data.items() if k not in entry})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(_cleaned(entry), ensure_ascii=False)


class Plain(logging.Formatter):
    """For people: a line a record, as clean as the structured log."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def log_to(file: Path) -> logging.Handler:
    """A handler that appends JSON lines to a file. Raises SourceError where it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise SourceError(f"The log {file} cannot be written: {error.strerror or error}.") from error
    handler.setFormatter(JsonLines())
    handler.setLevel(logging.INFO)
    return handler
