"""Writing files whole or not at all, and telling whether one was replaced."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PART = ".part"
"""Ending of the file that is being written; before it, behind the final name, stand random digits."""

Stamp = tuple[int, int]
"""Size of a file, and time of its last change in nanoseconds: another file of the same name has another one."""


def file_stamp(path: str | os.PathLike[str]) -> Stamp | None:
    """Size and time of a file; None where there is none, or it cannot be asked."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return stat.st_size, stat.st_mtime_ns


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file beside ``path`` for writing, which becomes ``path`` at the end.

    A full disk, an exception or a kill leaves whatever was at ``path``. Raises OSError as ``open`` does.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name with no content
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
