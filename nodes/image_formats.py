"""The image formats that are read: the allow-list for Pillow, and formats told by their first bytes.

Pillow opens whatever it has a plugin for, by content and not by name: an EPS named picture.png runs Ghostscript. So every
file is opened with :func:`open_image`, whose formats run no other program.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from PIL import Image

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
"""Pillow's names of the formats that are read."""
ACCEPTED = "Give a PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF file."
"""For error messages."""
MAX_PIXELS = 64_000_000
"""Width times height of a picture that is taken, unless another limit is given; the result has four times as many."""
HEAD = 512
"""First bytes of a file that are enough here."""

# First bytes, where they stand, and Pillow's name.
_IMAGES: tuple[tuple[bytes, int, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "PNG"),
    (b"\xff\xd8\xff", 0, "JPEG"),
    (b"WEBP", 8, "WEBP"),
    (b"GIF87a", 0, "GIF"),
    (b"GIF89a", 0, "GIF"),
    (b"BM", 0, "BMP"),
    (b"II*\0", 0, "TIFF"),
    (b"MM\0*", 0, "TIFF"),
    (b"ftypavif", 4, "AVIF"),
    (b"ftypavis", 4, "AVIF"),
)

WEB_PAGE, XML, SVG = "a web page", "an XML text", "an SVG drawing"

_OTHERS: tuple[tuple[bytes, int, str], ...] = (
    (b"ftyphei", 4, "a HEIC image"),
    (b"ftypmif1", 4, "a HEIC image"),
    (b"\xff\x0a", 0, "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", 0, "a JPEG XL image"),
    (b"8BPS", 0, "a Photoshop file"),
    (b"ftyp", 4, "a video"),
    (b"\x1aE\xdf\xa3", 0, "a video"),
    (b"%PDF", 0, "a PDF"),
    (b"PK\x03\x04", 0, "an archive"),
)
_TEXTS: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", WEB_PAGE),
    (b"<html", WEB_PAGE),
    (b"<head", WEB_PAGE),
    (b"<?xml", XML),
    (b"<svg", SVG),
)


def open_image(source: str | os.PathLike[str] | BinaryIO, only: str | None = None) -> Image.Image:
    """Open an image file of an accepted format; to be closed by the caller, as Pillow's own ``open``.

    only: Pillow's name of the one format to try. Raises UnidentifiedImageError for any other format, and what Pillow's
    decoders raise on a broken file.
    """
    Image.init()
    wanted = FORMATS if only is None else (only,)
    # An older Pillow has no plugin for AVIF, and fails on the name of a format that it does not know.
    return Image.open(source, formats=[name for name in wanted if name in Image.OPEN])


def image_format(head: bytes) -> str | None:
    """Pillow's name of an image format that this project can read, by the beginning of a file; None for others."""
    for magic, at, name in _IMAGES:
        if head.startswith(magic, at) and (name != "WEBP" or head.startswith(b"RIFF")):
            return name
    return None


def other_format(head: bytes) -> str | None:
    """Name in words what a file is that :func:`image_format` does not know, such as ``a video``; None: unknown."""
    for magic, at, name in _OTHERS:
        if head.startswith(magic, at):
            return name
    text = head[:HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((name for begin, name in _TEXTS if text.startswith(begin)), None)
