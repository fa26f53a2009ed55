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


def sync_folder(folder: Path) -> None:
    """Have the disk remember the names in a folder, where the system can be asked for that: Windows cannot."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def put_in_place(part: Path, path: Path) -> None:
    """Give a finished file its name, in place of what has it. Its content is on the disk before. Raises OSError."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    sync_folder(path.parent)


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
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
