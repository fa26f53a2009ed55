"""Delete what jobs left behind in the folders of a managed server: uploads, previews, results that nobody fetched.

A job's own files go when its driver has the result; these are of drivers that were killed, and of images that are not
upscaled again. Standard library only: it runs in ComfyUI's process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

EVERY = 60.0
"""Seconds between two rounds."""
MAX_AGE = 6 * 3600.0
"""Seconds after which a file is deleted."""
MAX_BYTES = 2 << 30
MAX_FILES = 100
"""Bytes and files that the folders may hold; above, the oldest files go, but none younger than MIN_AGE."""
MIN_AGE = 120.0
"""Seconds for which a file is left alone: it may just have been uploaded, or be downloaded. Files of jobs that wait are left
alone whatever their age, and a driver uploads again what is gone."""
FOLDERS = ("input", "output", "temp")


@dataclass(frozen=True)
class Found:
    """A file, its size in bytes and its age in seconds."""

    path: Path
    size: int
    age: float


def superfluous(
    found: Iterable[Found],
    max_age: float = MAX_AGE,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    min_age: float = MIN_AGE,
) -> Iterator[Found]:
    """Choose the files to delete: all that are too old, then the oldest until the rest is small enough."""
    files = sorted(found, key=lambda file: file.age, reverse=True)
    size, number = sum(file.size for file in files), len(files)
    for file in files:
        if file.age < min_age:
            return
        if file.age > max_age or size > max_bytes or number > max_files:
            size, number = size - file.size, number - 1
            yield file


def scan(base: Path, now: float) -> Iterator[Found]:
    """Find the files in the three folders."""
    for folder in FOLDERS:
        for path in (base / folder).rglob("*"):
            with suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    status = path.stat()
                    yield Found(path, status.st_size, now - status.st_mtime)


def names_in_use() -> str:
    """Return the queue as text: a file whose name stands in it is needed by a job that waits or runs."""
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    queue = getattr(getattr(server, "instance", None), "prompt_queue", None)
    if queue is None:
        return ""
    return json.dumps([item[2] for part in queue.get_current_queue_volatile() for item in part], default=str)


def clean(base: Path) -> int:
    """Delete what is superfluous; returns the number of files."""
    deleted = 0
    in_use = names_in_use()
    for file in superfluous(scan(base, time.time())):
        if file.path.name not in in_use:
            with suppress(OSError):
                file.path.unlink()
                deleted += 1
    return deleted


def run(base: Path) -> None:
    """Clean every minute, for ever."""
    while True:
        time.sleep(EVERY)
        deleted = clean(base)
        if deleted:
            print(f"Deleted {deleted} old files of jobs.", flush=True)
