"""Telling file formats by their first bytes."""

from __future__ import annotations

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
