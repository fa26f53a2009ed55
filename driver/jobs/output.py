"""Write results: whole or not at all, and never over what is there."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from ...nodes.files import put_in_place, sync_folder
from ...nodes.image_formats import open_image
from ..errors import SourceError
from ..paths import user_path
from .formats import FORMAT_OF, SUFFIXES, check_format, convert

PREFIX, PART = ".distillery-", ".part"
"""Beginning and end of the name of a result that is being written."""
PART_AGE = 3600.0
"""Seconds for which nothing was written to a part, after which it is one that a killed driver left behind."""
_swept: set[str] = set()
"""Folders that this process has looked through; once is enough."""
_sweeping = threading.Lock()

_NOT_WRITTEN = (".tif", ".tiff", ".bmp", ".gif", ".heic", ".jxl", ".jp2", ".psd")
MAX_STEM = 180
"""Bytes of a stem: file systems take 255 for a name, and endings such as ``_2x_12_compare.png`` are appended."""


@dataclass(frozen=True)
class Output:
    """Where a result is written, and as what."""

    folder: Path
    file: Path | None = None
    """The very file, which is replaced where it is there; None: the first name in the folder that is not taken."""
    format: str = "png"
    """See :data:`.formats.SUFFIXES`."""
    quality: int | None = None
    """1 … 100; None: the format's default."""


def output_for(out: str | Path, format: str | None = None, quality: int | None = None) -> Output:
    """Return the output that a path stands for: a folder, or a file where it ends like one and is no folder.

    format: None: by the file's ending, else PNG. Raises SourceError, FormatError.
    """
    path = user_path(out)
    suffix = path.suffix.lower()
    if suffix in _NOT_WRITTEN and not path.is_dir():
        raise SourceError(f"{path.name}: results are not written as {suffix}, but as {', '.join(FORMAT_OF)}.")
    if suffix not in FORMAT_OF or path.is_dir() or str(out).endswith(("/", os.sep)):
        check_format(format or "png", quality)
        return Output(path, None, format or "png", quality)
    if format is not None and FORMAT_OF[suffix] != format:
        raise SourceError(f"{path.name} ends like {FORMAT_OF[suffix]}, but {format} is asked for.")
    check_format(FORMAT_OF[suffix], quality)
    return Output(path.parent, path, FORMAT_OF[suffix], quality)


def safe_name(stem: str) -> str:
    """Return a portable file name for an untrusted one, with room for what is appended."""
    cleaned = re.sub(r'[\x00-\x1f<>:"/\\|?*\ud800-\udfff]', "_", stem).strip(". ")
    cut = cleaned.encode("utf-8")[:MAX_STEM].decode("utf-8", "ignore")  # not in the middle of a character
    return cut.strip(". ") or "image"


@dataclass(frozen=True)
class Written:
    """A result in its place."""

    path: Path
    width: int
    height: int
    """In pixels."""
    warnings: tuple[str, ...] = ()
    """What its format could not keep."""


def write_result(png: Path, output: Output, stem: str) -> Written:
    """Put a finished PNG, a file of the output's folder that is ours, into its place, in the output's format.

    Raises OSError, FormatError.
    """
    warnings: tuple[str, ...] = ()
    with open_image(png, only="PNG") as image:
        width, height = image.size
    if output.format != "png":
        data, warnings = convert(png, output.format, output.quality)
        png.write_bytes(data)
    if output.file is None:
        return Written(publish(png, output.folder, stem, SUFFIXES[output.format]), width, height, warnings)
    put_in_place(png, output.file)
    return Written(output.file, width, height, warnings)


def publish(part: Path, folder: Path, stem: str, suffix: str = ".png") -> Path:
    """Give a finished file of that folder's disk its name, the first that is not taken. Raises OSError."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())  # else a power cut can leave the new name with no content
    path = _first_free(part, folder, stem, suffix)
    sync_folder(folder)
    return path


def _first_free(part: Path, folder: Path, stem: str, suffix: str) -> Path:
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


def new_part(folder: Path) -> BinaryIO:
    """Open a new file for a result that is being written: with the rights that the user's new files have.

    A temporary file would be its owner's alone, whatever the folder is shared for. Raises OSError.
    """
    return (folder / f"{PREFIX}{secrets.token_hex(8)}{PART}").open("x+b")


def save_png(image: Image.Image, folder: Path, stem: str) -> Path:
    """Write a picture under the first name that is not taken. Raises OSError."""
    with new_part(folder) as file:
        part = Path(file.name)
        try:
            image.save(file, "PNG", compress_level=4)
            file.close()
            return publish(part, folder, stem)
        finally:
            part.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make the folder of the results, see that it can be written, and take old parts of results out of it.

    Raises SourceError: better before the job than after it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=PREFIX, suffix=PART):
            pass
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
