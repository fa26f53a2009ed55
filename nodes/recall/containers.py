"""The texts that an image file carries, out of its container.

PNG: tEXt, zTXt and iTXt chunks, before and after the pixels. JPEG, WebP and AVIF keep theirs in EXIF: a
reader for them belongs into :data:`READERS`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from .errors import RecallError

Source = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes of a file, or a file opened in binary mode (read from its start)."""

ACCEPTED = "Give a PNG, JPEG or WebP file."
MAX_CHUNKS = 1000


@dataclass(frozen=True)
class Contents:
    """What an image file holds beside its pixels."""

    texts: dict[str, str]
    """Text by keyword."""
    size: tuple[int, int]
    """Width and height in pixels."""
    container: str
    """Pillow's name of the file format, such as ``PNG``."""
    warnings: tuple[str, ...] = ()


def read_contents(source: Source) -> Contents:
    """Open an image and read its texts.

    Their size is bounded by Pillow: 1 MiB for a compressed text, 64 MiB for all of them.
    Raises RecallError for a file that is not there or is no image.
    """
    name = _name(source)
    opened: str | os.PathLike[str] | BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        if not isinstance(opened, str | os.PathLike) and opened.seekable():
            opened.seek(0)
        with Image.open(opened) as image:
            texts, warnings = READERS.get(image.format or "", _no_texts)(image)
            return Contents(texts, image.size, image.format or "", warnings)
    except FileNotFoundError:
        raise RecallError(f"There is no file {name}.") from None
    except IsADirectoryError:
        raise RecallError(f"{name} is a folder. {ACCEPTED}") from None
    except PermissionError:
        raise RecallError(f"{name} may not be read (permission denied).") from None
    except UnidentifiedImageError:
        raise RecallError(f"{name} {_what_it_is(source)}") from None
    except Image.DecompressionBombError:
        raise RecallError(
            f"{name} has too many pixels: at most {2 * (Image.MAX_IMAGE_PIXELS or 0)} are read."
        ) from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RecallError(f"{name} cannot be read as an image ({reason}). Is the file complete?") from None


def _png_texts(image: Image.Image) -> tuple[dict[str, str], tuple[str, ...]]:
    warnings: tuple[str, ...] = ()
    try:
        image.load()  # texts can follow the pixels
        texts = dict(getattr(image, "text", {}))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        texts = {k: v for k, v in image.info.items() if isinstance(k, str) and isinstance(v, str)}
        warnings = (f"the image is damaged or cut short ({error}): only what comes before its pixels was read",)
    return {str(k): str(v) for k, v in list(texts.items())[:MAX_CHUNKS]}, warnings


def _no_texts(image: Image.Image) -> tuple[dict[str, str], tuple[str, ...]]:
    kind = image.format or "unknown"
    return {}, (f"metadata of {kind} files is not read; generation data is looked for in PNG files",)


READERS: dict[str, Callable[[Image.Image], tuple[dict[str, str], tuple[str, ...]]]] = {
    "PNG": _png_texts,
}
"""By Pillow's format name: image to texts and warnings."""


def _name(source: Source) -> str:
    if isinstance(source, str | os.PathLike):
        return Path(os.fsdecode(source)).name or os.fsdecode(source)
    return "The file"


def _what_it_is(source: Source) -> str:
    """Say what a file that is no image is, where its first bytes show it."""
    try:
        if isinstance(source, bytes):
            head = source[:512]
        elif isinstance(source, str | os.PathLike):
            with Path(os.fsdecode(source)).open("rb") as file:
                head = file.read(512)
        else:
            source.seek(0)
            head = source.read(512)
    except (OSError, ValueError):
        head = b"?"
    if not head:
        return f"is empty. {ACCEPTED}"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return f"is a web page, not an image: its link may have expired. Download the image itself. {ACCEPTED}"
    return f"is not an image that can be read. {ACCEPTED}"
