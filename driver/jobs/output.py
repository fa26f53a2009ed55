"""Write results: whole or not at all, and never over what is there."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from ..errors import SourceError

PREFIX, PART = ".distillery-", ".part"
"""Beginning and end of the name of a result that is being written."""
PART_AGE = 3600.0
"""Seconds for which nothing was written to a part, after which it is one that a killed driver left behind."""
_swept: set[str] = set()
"""Folders that this process has looked through; once is enough."""
_sweeping = threading.Lock()


def safe_name(stem: str) -> str:
    """Return a portable file name for an untrusted one."""
    cleaned = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", stem).strip(". ")[:120]
    return cleaned or "image"


def publish(part: Path, folder: Path, stem: str, suffix: str = ".png") -> Path:
    """Give a finished file of that folder's disk its name, the first that is not taken. Raises OSError."""
    os.chmod(part, 0o644)  # a temporary file is its owner's alone
    for number in range(1, 10_000):
        path = folder / (f"{stem}{suffix}" if number == 1 else f"{stem}_{number}{suffix}")
        try:
            os.link(part, path)  # fails where the name is taken, unlike a rename
            return path
        except FileExistsError:
            continue
        except OSError:
            if not path.exists():  # a file system without hard links
                part.replace(path)
                return path
    raise OSError(f"all names {stem}_…{suffix} are taken")


def save_png(image: Image.Image, folder: Path, stem: str) -> Path:
    """Write a picture under the first name that is not taken. Raises OSError."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=PREFIX, suffix=PART, delete=False) as file:
        part = Path(file.name)
        try:
            image.save(file, "PNG", compress_level=4)
            file.close()
            return publish(part, folder, stem)
        finally:
            part.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make the folder of the results, and take old parts of results out of it. Raises SourceError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _sweeping:
            if (place := str(folder.absolute())) not in _swept:
                _swept.add(place)
                sweep_parts(folder)
    except OSError as error:
        raise SourceError(f"Results cannot be written to {folder}: {error.strerror or error}.") from error


def sweep_parts(folder: Path) -> None:
    """Delete the parts of results that killed drivers left in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.name.endswith(PART):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > PART_AGE:
                        os.unlink(entry.path)
