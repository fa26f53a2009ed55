"""Sanitize an untrusted image: re-encode it as a PNG that carries only pixels and the recalled generation.

Servers get nothing else: one frame, upright, in sRGB, of a bounded size.
"""

from __future__ import annotations

import contextlib
import io
import threading
from dataclasses import dataclass

from PIL.PngImagePlugin import PngInfo

from ...nodes.generation import Generation
from ...nodes.image_formats import MAX_PIXELS
from ...nodes.imaging.decode import ImageError, ImageHeader, decode_image, read_header
from ...nodes.record import RECORD_KEY, record_for_copy
from ..errors import SourceError

COMPRESS_LEVEL = 4

SMALL = 8_000_000
"""Pixels of a picture that costs so little memory (60 MB) that several may be decoded at once."""
_decoding_large = threading.Lock()
"""Other pictures are decoded one at a time: a file of 200 KB can be a quarter of a gigabyte then, and batches read several
at once."""


@dataclass(frozen=True)
class CleanImage:
    """The sanitized image to upload."""

    png: bytes
    width: int
    height: int
    """In pixels, upright."""
    generation: Generation
    """The one recalled from the original, plus warnings of the sanitizing."""


def check_header(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Check format and size of an image without decoding its pixels.

    max_pixels: width times height that are taken. Raises SourceError. name: for its message.
    """
    try:
        return read_header(data, name, max_pixels)
    except ImageError as error:
        raise SourceError(str(error)) from None


def clean_image(data: bytes, name: str, recalled: Generation, max_pixels: int = MAX_PIXELS) -> CleanImage:
    """Re-encode the first frame of an image file as a PNG with its generation and nothing else.

    Upright and in sRGB; 8 bits (grey, RGB or RGBA), 16-bit grey without transparency stays as deep as it is.
    recalled: the generation read from the file; written to the PNG as the record of a copy, see
    :func:`distillery.nodes.record.record_for_copy`. max_pixels: width times height that are taken. Raises SourceError.
    name: for its message.
    """
    header = check_header(data, name, max_pixels)
    with _decoding_large if header.width * header.height > SMALL else contextlib.nullcontext():
        try:
            pixels, warnings = decode_image(data, name, max_pixels)
        except ImageError as error:
            raise SourceError(str(error)) from None
        generation = recalled.warn(*warnings)
        info = PngInfo()
        if not generation.empty or generation.warnings:
            # iTXt: prompts are in any language, and tEXt holds Latin-1 only.
            info.add_itxt(RECORD_KEY, record_for_copy(generation))
        buffer = io.BytesIO()
        pixels.info = {}  # Pillow would write a profile or a transparent colour that is left in here
        pixels.save(buffer, "PNG", pnginfo=info, compress_level=COMPRESS_LEVEL)
        return CleanImage(buffer.getvalue(), *pixels.size, generation)
