"""The manifest: one JSON line for each source, of what was made from it and with which parameters."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from ... import __version__
from ..errors import JobCancelled, NotStarted, SourceError
from ..log import without_secrets

if TYPE_CHECKING:
    from .job import Item


def entry(item: Item, command: str) -> dict[str, Any]:
    """Return the manifest's line for one source: time, version, source, command, status, and the result or the error.

    ``status``: ``done``, ``skipped`` (it was there already), ``failed``, ``cancelled`` or ``not started``.
    """
    line: dict[str, Any] = {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "version": __version__,
        "source": without_secrets(item.source),
        "command": command,
    }
    result, error = item.result, item.error
    if result is not None:
        line["status"] = "skipped" if result.skipped else "done"
        line |= result.as_dict()
        # Whoever reads it later may stand in another folder.
        line["path"] = str(result.path.absolute())
        line["server"] = without_secrets(result.server)
        if result.compared is not None:
            line["compare"] = str(result.compared.absolute())
    else:
        line["status"] = (
            "not started"
            if isinstance(error, NotStarted)
            else "cancelled"
            if isinstance(error, JobCancelled)
            else "failed"
        )
        line["error"] = without_secrets(str(error))
    return line


def _encoded(line: dict[str, Any]) -> bytes:
    try:
        return json.dumps(line, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a file name that is no UTF-8
        return json.dumps(line).encode()


def _lock(descriptor: int) -> None:
    """Wait for others that write; it ends with the descriptor. Where the system cannot, lines are still whole."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)


class Manifest:
    """A file that lines are appended to, each whole or not at all. Safe for use by several threads."""

    def __init__(self, file: Path) -> None:
        """Raises SourceError where the file cannot be written."""
        self._file = file
        self._lock = threading.Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._append(b"")
        except OSError as error:
            raise SourceError(f"The manifest {file} cannot be written: {error.strerror or error}.") from error

    def add(self, line: dict[str, Any]) -> None:
        """Append a line. Raises SourceError where it cannot be written."""
        data = _encoded(line) + b"\n"
        try:
            self._append(data)
        except OSError as error:
            raise SourceError(f"The manifest {self._file} cannot be written: {error.strerror or error}.") from error

    def _append(self, data: bytes) -> None:
        # One write in append mode, and locked: several processes may share the file, and what another one is just
        # writing must not be taken for a line that was cut off.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        with self._lock:
            descriptor = os.open(self._file, flags, 0o644)
            try:
                if not data:
                    return
                _lock(descriptor)
                size = os.fstat(descriptor).st_size
                if size:
                    os.lseek(descriptor, size - 1, os.SEEK_SET)
                    if os.read(descriptor, 1) != b"\n":
                        data = b"\n" + data  # whoever wrote before was cut off
                if os.write(descriptor, data) != len(data):
                    os.ftruncate(descriptor, size)
                    raise OSError("the disk is full")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
