"""Standard output and error that cannot fail a job: closed, of another encoding, or with a reader that goes away."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from typing import Any, BinaryIO, TextIO, cast

_GONE = (errno.EPIPE, errno.EIO, errno.ENXIO, errno.EINVAL)
"""What a stream answers whose reader or terminal is gone; the last one on Windows."""


class _Lenient(io.BufferedIOBase):
    """A stream of bytes whose writes never raise; what could not be written is dropped."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None
        """The first failure that is not a reader gone away."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._try(lambda: self._stream.write(data))
        return len(data)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def _try(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            if error.errno not in _GONE and self.error is None:
                self.error = error


def harden() -> None:
    """Replace the process's own streams by ones that cannot fail. Does nothing where a test or a program has its own."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before the start, or pythonw
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors="replace"))  # noqa: SIM115, PTH123
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            lenient = cast(BinaryIO, _Lenient(cast(BinaryIO, stream.buffer)))
            replaced = io.TextIOWrapper(
                lenient, stream.encoding, "backslashreplace", line_buffering=stream.line_buffering or stream.isatty()
            )
            setattr(sys, name, replaced)


def output_error() -> OSError | None:
    """Return why something printed did not arrive, such as a full disk; None: it did, or nobody wanted it any more."""
    buffer = getattr(sys.stdout, "buffer", None)
    if not isinstance(buffer, _Lenient):
        return None
    sys.stdout.flush()
    return buffer.error


def json_line(data: Any, stream: TextIO | None = None) -> str:
    """Return data as JSON that the stream (None: standard output) can take: readable where it can, else with escapes."""
    text = json.dumps(data, ensure_ascii=False)
    try:
        text.encode(getattr(stream or sys.stdout, "encoding", None) or "utf-8")
    except UnicodeError:  # another encoding, or a file name that is no UTF-8
        return json.dumps(data)
    return text


def print_json(data: Any) -> None:
    """Print data as one line of JSON."""
    print(json_line(data), flush=True)
