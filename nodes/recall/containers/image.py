"""Read the texts of an image file, whatever its container.

PNG and APNG: tEXt, zTXt and iTXt chunks, before and after the pixels. JPEG, WebP and AVIF: EXIF, and JPEG's
comments. All become the same mapping of keywords to texts. No pixel is decoded.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ...image_formats import ACCEPTED, HEAD, WEB_PAGE, XML, image_format, open_image, other_format
from ...texts import reason_of
from ..errors import RecallError
from .exif import MAX_BYTES, add_texts, decode_plain, exif_texts
from .png import MAX_CHUNKS, read_png_texts

Source = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes of a file, or a file opened in binary mode (read from its start)."""

STRIPPED = (
    "this {} file carries no generation data. Copies lose them: Discord's media.discordapp.net and its previews, "
    "social sites and most converters strip them. Use the file that the program saved"
)


@dataclass(frozen=True)
class Contents:
    """Contents of an image file beside its pixels."""

    texts: dict[str, str]
    """Text by keyword."""
    size: tuple[int, int]
    """Width and height in pixels."""
    container: str
    """Pillow's name of the file format, such as ``PNG``."""
    warnings: tuple[str, ...] = ()


def read_contents(source: Source) -> Contents:
    """Open an image and read its texts.

    Their size is bounded: 1 MiB for a compressed text, 16 MiB for any, 64 MiB for all of them.
    Raises RecallError if the file is missing or not an image.
    """
    name = _name(source)
    opened: str | os.PathLike[str] | BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        if not isinstance(opened, str | os.PathLike) and opened.seekable():
            opened.seek(0)
        with open_image(opened) as image:
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
        raise RecallError(f"{name} cannot be read as an image ({reason_of(error)}). Is the file complete?") from None


Texts = tuple[dict[str, str], tuple[str, ...]]
"""Texts by keyword, and warnings."""


def _png_texts(image: Image.Image) -> Texts:
    file: BinaryIO | None = getattr(image, "fp", None)
    if file is None:
        return {}, ()
    found = read_png_texts(file)
    if found.texts or not found.exif:
        return found.texts, found.warnings
    # What a converter made of a JPEG file. Distillery's own files have an eXIf chunk too, beside their texts.
    exif = Image.Exif()
    try:
        exif.load(b"Exif\0\0" + found.exif)
        return exif_texts(exif), found.warnings
    except Exception:  # see _exif; the EXIF data of a PNG file are seldom of interest
        return {}, found.warnings


def _jpeg_texts(image: Image.Image) -> Texts:
    texts, warnings = _exif(image)
    comments = [data for kind, data in getattr(image, "applist", ()) if kind == "COM" and isinstance(data, bytes)]
    add_texts(texts, (decode_plain(data[:MAX_BYTES]) for data in comments[:MAX_CHUNKS]))
    return texts, warnings or _hint(image, texts)


def _exif_texts(image: Image.Image) -> Texts:
    texts, warnings = _exif(image)
    return texts, warnings or _hint(image, texts)


def _exif(image: Image.Image) -> Texts:
    try:
        return exif_texts(image.getexif()), ()
    except Exception as error:  # Pillow's TIFF reader raises whatever broken tags lead it to
        return {}, (f"the EXIF data of this image are damaged and cannot be read ({type(error).__name__})",)


def _hint(image: Image.Image, texts: dict[str, str]) -> tuple[str, ...]:
    return () if texts else (STRIPPED.format(image.format),)


def _no_texts(image: Image.Image) -> Texts:
    kind = image.format or "unknown"
    return {}, (f"{kind} files carry no generation data that can be read: PNG, JPEG, WebP and AVIF files do",)


READERS: dict[str, Callable[[Image.Image], Texts]] = {
    "PNG": _png_texts,
    "JPEG": _jpeg_texts,
    "MPO": _jpeg_texts,
    "WEBP": _exif_texts,
    "AVIF": _exif_texts,
}
"""Readers by Pillow's format name: image to texts and warnings."""


def _name(source: Source) -> str:
    if isinstance(source, str | os.PathLike):
        return Path(os.fsdecode(source)).name or os.fsdecode(source)
    return "The file"


def _what_it_is(source: Source) -> str:
    """Describe a file that is not an image by its first bytes."""
    try:
        if isinstance(source, bytes):
            head = source[:HEAD]
        elif isinstance(source, str | os.PathLike):
            with Path(os.fsdecode(source)).open("rb") as file:
                head = file.read(HEAD)
        else:
            source.seek(0)
            head = source.read(HEAD)
    except (OSError, ValueError):
        head = b"?"
    if not head:
        return f"is empty. {ACCEPTED}"
    if other_format(head) in (WEB_PAGE, XML):
        return f"is a web page, not an image: its link may have expired. Download the image itself. {ACCEPTED}"
    if image_format(head) == "AVIF":
        return "is an AVIF file, which this Python's Pillow cannot read: install Pillow 11.3 or newer."
    return f"is not an image that can be read. {ACCEPTED}"
