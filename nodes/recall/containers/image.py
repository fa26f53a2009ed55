"""Read the texts of an image file, whatever its container.

PNG and APNG: tEXt, zTXt and iTXt chunks, before and after the pixels. JPEG, WebP and AVIF: EXIF, and JPEG's
comments. All become the same mapping of keywords to texts. Pixels are decoded only where no text gives anything.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ...image_formats import ACCEPTED, HEAD, WEB_PAGE, XML, image_format, open_image, other_format
from ...texts import reason_of
from ..errors import RecallError
from .exif import MAX_BYTES, add_texts, decode_plain, exif_texts, raw_profiles
from .png import MAX_CHUNKS, SIGNATURE, read_png_texts
from .stealth import stealth_texts
from .xmp import xmp_texts

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


Texts = tuple[dict[str, str], tuple[str, ...]]
"""Texts by keyword, and warnings."""
Usable = Callable[[Contents], bool]
"""Returns True for contents that give generation data."""


def read_contents(source: Source, usable: Usable | None = None) -> Contents:
    """Open an image and read its texts.

    usable: asked of the file's plain texts. If they give nothing, what else may hold generation data is looked at, one
    after the other: texts of other keywords, EXIF and XMP, last the lowest bits of the pixels.

    Their size is bounded: 1 MiB for a compressed text, 16 MiB for any, 64 MiB for all of them.
    Raises RecallError if the file is missing or not an image.
    """
    name = _name(source)
    opened: BinaryIO | None = None
    try:
        opened = _open(source)
        # Pillow refuses a PNG file with a large text, or a wrong checksum, in a chunk that the picture does not need.
        if opened.read(len(SIGNATURE)) == SIGNATURE:
            contents, more = _png(opened, name)
        else:
            opened.seek(0)
            with open_image(opened) as image:
                texts, warnings = READERS.get(image.format or "", _no_texts)(image)
                contents = Contents(texts, image.size, image.format or "", warnings)
                more = [*_more_texts(image), *([partial(_stealth, opened)] if image.format == "WEBP" else [])]
        if usable is not None and not usable(contents):
            contents = _with_more(contents, more, usable)
        return contents
    except RecallError:
        raise
    except FileNotFoundError:
        raise RecallError(f"There is no file {name}.") from None
    except IsADirectoryError:
        raise RecallError(f"{name} is a folder. {ACCEPTED}") from None
    except PermissionError:
        raise RecallError(f"{name} may not be read (permission denied).") from None
    except UnidentifiedImageError:
        raise RecallError(f"{name} {_what_it_is(source)}") from None
    except Image.DecompressionBombError:
        raise RecallError(_too_many_pixels(name)) from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        raise RecallError(f"{name} cannot be read as an image ({reason_of(error)}). Is the file complete?") from None
    finally:
        if opened is not None and opened is not source:
            opened.close()


def _open(source: Source) -> BinaryIO:
    """Return the file opened at its beginning."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        return Path(os.fsdecode(source)).open("rb")
    if source.seekable():
        source.seek(0)
        return source
    return io.BytesIO(source.read())


def _too_many_pixels(name: str) -> str:
    return f"{name} has too many pixels: at most {2 * (Image.MAX_IMAGE_PIXELS or 0)} are read."


More = Callable[[], dict[str, str]]
"""Returns texts that are looked at only where the others give nothing."""


def _with_more(contents: Contents, more: list[More], usable: Usable) -> Contents:
    """Return the contents with the first further texts that give generation data."""
    for read in more:
        try:
            texts = {**contents.texts, **read()}
        except Exception:  # see read_contents; what is broken here is not needed
            continue
        found = Contents(texts, contents.size, contents.container)
        if texts != contents.texts and usable(found):
            return found
    return contents


def _png(file: BinaryIO, name: str) -> tuple[Contents, list[More]]:
    """Read a PNG file, whose texts stand before and after its pixels."""
    found = read_png_texts(file)
    if found.size is None or 0 in found.size:
        raise RecallError(f"{name} cannot be read as an image (its header is missing). Is the file complete?")
    if found.size[0] * found.size[1] > 2 * (Image.MAX_IMAGE_PIXELS or 0):
        raise RecallError(_too_many_pixels(name))

    def others() -> dict[str, str]:
        return _keyed(text for key, text in found.texts.items() if key != XMP)

    def exif() -> dict[str, str]:
        # What a converter made of a JPEG file. Distillery's own files have an eXIf chunk too, beside their texts.
        texts: dict[str, str] = {}
        for data in (found.exif, *raw_profiles(found.texts)):
            if data:
                tags = Image.Exif()
                tags.load(data if data.startswith(EXIF_HEAD) else EXIF_HEAD + data)
                texts = {**exif_texts(tags), **texts}
        return texts

    texts = found.texts
    if not texts and found.exif:
        try:
            texts = exif()
        except Exception:  # see read_contents; the EXIF data of a PNG file are seldom of interest
            texts = {}
    more: list[More] = [others, exif, lambda: _keyed(xmp_texts(found.texts.get(XMP, "")))]
    if not found.endless:
        more.append(partial(_stealth, file))
    return Contents(texts, found.size, "PNG", found.warnings), more


def _more_texts(image: Image.Image) -> list[More]:
    """Return what else may hold generation data in a file that Pillow opened."""
    xmp = image.info.get("xmp")
    if isinstance(xmp, bytes):
        return [lambda: _keyed(xmp_texts(decode_plain(xmp[:MAX_XMP_BYTES])))]
    return []


def _stealth(file: BinaryIO) -> dict[str, str]:
    """Read the lowest bits of the pixels, of a format that keeps them."""
    file.seek(0)
    with open_image(file) as image:
        return stealth_texts(image)


def _keyed(found: Iterable[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    add_texts(texts, list(found)[:MAX_CHUNKS])
    return texts


XMP = "XML:com.adobe.xmp"
"""PNG's keyword for XMP."""
EXIF_HEAD = b"Exif\0\0"
MAX_XMP_BYTES = 2**20


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
    "JPEG": _jpeg_texts,
    "MPO": _jpeg_texts,
    "WEBP": _exif_texts,
    "AVIF": _exif_texts,
}
"""Readers by Pillow's format name, but for PNG: image to texts and warnings."""


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
