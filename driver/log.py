"""Structured log: JSON lines with the id of their job and without secrets."""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..nodes.errors import DistilleryError
from .errors import SourceError

log = logging.getLogger(__name__)

_job: contextvars.ContextVar[tuple[str, str] | None] = contextvars.ContextVar("job", default=None)
MAX_TEXT = 16_384
"""Characters kept of one text. Nobody reads more of it in a log, and redacting takes time."""
_MAX_TOKEN = 512
_REDACTED = "…"

# Every pattern below is linear: it begins at a fixed word or at the edge of a run of letters, what follows is bounded
# or is consumed whatever comes, and no two parts of it can match the same character in turn. Keep it so: untrusted
# texts get here, and a run of 16 KB took 1.5 s once.
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)[^-]*(?:-(?!----)[^-]*)*")
_COOKIE = re.compile(r"(\b(?:set-)?cookie\\?[\"']?[ \t]{0,3}:[ \t]{0,3}\\?[\"']?)[^\r\n\"']+", re.I)
_URL = re.compile(r"//([^\s\"'<>]*)")
_HOOK = re.compile(
    r"(/(?:webhooks|interactions)/\d{1,25}/|/services/T\w{1,20}/B\w{1,20}/|/bot\d{4,15}:)[\w-]+", re.I | re.ASCII
)
"""Links with the credential in the path: Discord's, Slack's, Telegram's."""
_PARAMETER = re.compile(
    r"((?:[?&]|%3F|%26)(?:ex|is|hm|sig|key|code|auth|x-[\w-]{1,40})(?:=|%3D))(?:(?!%26)[^&\s\"'<>)])+", re.I
)
"""Also in targets without a host, as libraries print them."""
_SECRET_NAME = (
    r"password|passwd|passphrase|pwd|secret|token|signature|credentials?|authorization"
    r"|(?:api|access|account|secret|private|auth|encryption)[_-]?key|(?-i:_KEY)"
)
_NAMED = re.compile(
    rf"((?:{_SECRET_NAME})\\?[\"']?[ \t]{{0,3}}(?:=>|:=|=|:|%3D)[ \t]{{0,3}}\\?)"
    r"(?:(\")[^\"\r\n]*|(')[^'\r\n]*|(?:(?:bot|bearer|basic|token|digest)[ \t]{1,3})?(?:(?!%26)[^\s\"'<>&])+)",
    re.I,
)
"""``password=…``, ``NAME_TOKEN: "…"``, ``{'Authorization': 'Bot …'}``."""
_ARGUMENT = re.compile(
    rf"((?<![\w-])--?[\w-]{{0,20}}(?<=[-_])(?:{_SECRET_NAME})[ \t]{{1,3}}|\s-u[ \t]{{1,3}}[^\s:]{{1,64}}:)\S+", re.I
)
_SCHEME = re.compile(r"\b(Bot|Bearer|Basic)\s{1,3}(?:[\w.~+/=-]{16,}|[\w+/]{6,15}={1,2})")
_LOGIN = re.compile(r"(?<![^\s\"'(=\[,])[\w.+-]{1,64}:[^\s@/\"'<>]{1,128}@(?=[\w\[])")
_RAW_TOKEN = re.compile(
    r"(?<![\w-])(?:"
    r"[MNO][\w-]{17,33}\.[\w-]{5,8}\.[\w-]{20,}"  # Discord's bots
    r"|mfa\.[\w-]{20,}"
    r"|eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?"  # JSON web tokens
    r"|(?:gh[pousr]_|github_pat_|glpat-|hf_|npm_|pypi-|xox[abeoprs]-|sk-|[sr]k_live_|whsec_)[\w-]{16,}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{35}"
    r")"
)
_SECRET_VARIABLE = re.compile(rf"(?:{_SECRET_NAME})$", re.I)
_MIN_SECRET = 8
"""Characters. Shorter values of the environment are part of too many ordinary words."""


def without_secrets(text: str) -> str:
    """Redact credentials in a text, and cut it to :data:`MAX_TEXT`.

    URLs lose query and login; signatures, tokens, passwords and the values of secret environment variables are
    replaced. The time is linear in the length for any input.
    """
    for secret in _secrets_of_environment():
        text = text.replace(secret, _REDACTED)
    text = _cut(text)
    text = _PRIVATE_KEY.sub(rf"\1{_REDACTED}", text)
    text = _COOKIE.sub(rf"\1{_REDACTED}", text)
    text = _URL.sub(lambda match: "//" + _without_credentials(match[1]), text)
    text = _HOOK.sub(rf"\1{_REDACTED}", text)
    text = _PARAMETER.sub(rf"\1{_REDACTED}", text)
    text = _NAMED.sub(lambda match: f"{match[1]}{match[2] or match[3] or ''}{_REDACTED}", text)
    text = _ARGUMENT.sub(rf"\1{_REDACTED}", text)
    text = _SCHEME.sub(rf"\1 {_REDACTED}", text)
    text = _LOGIN.sub(f"{_REDACTED}@", text)
    return _RAW_TOKEN.sub(_REDACTED, text)


def _secrets_of_environment() -> list[str]:
    """Return the values of variables named like secrets, longest first: one may contain another."""
    found = {
        value.strip()
        for name, value in os.environ.items()
        if _SECRET_VARIABLE.search(name) and name not in ("PWD", "OLDPWD")  # folders
    }
    return sorted((value for value in found if len(value) >= _MIN_SECRET), key=len, reverse=True)


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    kept, last = text[: MAX_TEXT - _MAX_TOKEN], text[MAX_TEXT - _MAX_TOKEN : MAX_TEXT]
    # Cut between words: half of a token is not known for one.
    kept += last[: max((at for at, letter in enumerate(last) if letter.isspace()), default=0)]
    return f"{kept} … ({len(text) - len(kept)} more characters)"


def _without_credentials(rest: str) -> str:
    """Strip login, query and fragment of a URL; rest: all after ``//``."""
    authority, slash, path = rest.partition("/")
    return re.split(r"[?#]", authority.rpartition("@")[2] + slash + path, maxsplit=1)[0]


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {without_secrets(str(key)): _redacted_item(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else without_secrets(str(value))


def _redacted_item(key: str, item: Any) -> Any:
    return _REDACTED if isinstance(item, str) and _SECRET_VARIABLE.search(key) else _redacted(item)


@contextlib.contextmanager
def job_log(source: str, job_id: str | None = None) -> Iterator[str]:
    """Have what this thread logs carry a job's id and source; inside another job, that one's. A failure is logged.

    job_id: None makes a new one.
    """
    known = _job.get()
    if known is not None:
        yield known[0]
        return
    job = job_id or uuid.uuid4().hex
    token = _job.set((job, without_secrets(source)))
    try:
        yield job
    except DistilleryError as error:
        log.warning("failed", extra={"data": {"kind": type(error).__name__, "error": str(error)}})
        raise
    finally:
        _job.reset(token)


class JsonLines(logging.Formatter):
    """Format a record as one JSON object.

    Its keys are time, level, logger, job, source, message, and those of ``extra={"data": …}``.
    """

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
        return json.dumps(_redacted(entry), ensure_ascii=False)


class Plain(logging.Formatter):
    """Format a record as a plain line, redacted as the structured log."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class _LogFile(logging.FileHandler):
    """A log file whose own failure fails no job: it is told once, and the rest is not logged."""

    _failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        self._give_up()

    def close(self) -> None:
        try:
            super().close()
        except OSError:  # what was buffered does not fit on the disk
            self._give_up()

    def emit(self, record: logging.LogRecord) -> None:
        if not self._failed:
            super().emit(record)

    def _give_up(self) -> None:
        if not self._failed:
            self._failed = True
            reason = sys.exc_info()[1]
            with contextlib.suppress(OSError, ValueError):
                print(f"The log {self.baseFilename} cannot be written any more ({reason}).", file=sys.stderr)


def log_to(file: Path) -> logging.Handler:
    """Return a handler that appends JSON lines to a file. Raises SourceError if it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise SourceError(f"The log {file} cannot be written: {error.strerror or error}.") from error
    handler.setFormatter(JsonLines())
    handler.setLevel(logging.INFO)
    return handler
