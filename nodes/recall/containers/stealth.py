"""Texts in the lowest bits of an image's pixels, which survive where a platform drops the texts of a file.

A1111's extension and NovelAI write a mark, the number of bits and the text, packed with gzip or not, column by column:
one bit of alpha a pixel, or one each of red, green and blue.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

from PIL import Image

from .exif import keyed
from .texts import is_json_object, load_json

MAX_PIXELS = 2**24
"""Number of pixels up to which an image is decoded for this."""
MAX_TEXT_BYTES = 2**20
"""Size limit of the unpacked text."""
MODES = ("RGBA", "RGB")
"""Pillow's modes of images that may have such a text."""

_MARKS = {
    b"stealth_pnginfo": ("A", False),
    b"stealth_pngcomp": ("A", True),
    b"stealth_rgbinfo": ("RGB", False),
    b"stealth_rgbcomp": ("RGB", True),
}
"""Channels, and whether the text is packed, by the mark at the beginning."""
_MARK = 15
"""Bytes of a mark."""
_LOWEST = bytes(48 + (value & 1) for value in range(256))
"""Table from a byte to the digit of its lowest bit."""


def stealth_texts(image: Image.Image) -> dict[str, str]:
    """Return the text in the lowest bits of an image by keyword; empty if there is none. Decodes the pixels.

    Raises what Pillow's decoders raise on a broken file.
    """
    if image.mode not in MODES or image.width * image.height > MAX_PIXELS:
        return {}
    for channels in ("A", "RGB") if image.mode == "RGBA" else ("RGB",):
        text = _read(image, channels)
        if text:
            return _by_keyword(text)
    return {}


def _read(image: Image.Image, channels: str) -> str:
    def taken(start: int, count: int) -> bytes:
        """Return so many bytes from the lowest bits from a place on; none if there are fewer."""
        columns = math.ceil((start + 8 * count) / (len(channels) * image.height))
        if columns > image.width:
            return b""
        part = image.crop((0, 0, columns, image.height))
        part = part.getchannel("A") if channels == "A" else part.convert("RGB")
        # Turned over its diagonal, the columns are rows.
        pixels = part.transpose(Image.Transpose.TRANSPOSE).tobytes()
        return int(pixels[start : start + 8 * count].translate(_LOWEST), 2).to_bytes(count, "big")

    where = _MARKS.get(taken(0, _MARK))
    if where is None or where[0] != channels:
        return ""
    length = int.from_bytes(taken(8 * _MARK, 4), "big") // 8
    data = taken(8 * (_MARK + 4), length) if 0 < length <= 2 * MAX_TEXT_BYTES else b""
    unpack: Callable[[bytes], bytes] = _unpack if where[1] else bytes
    return unpack(data)[:MAX_TEXT_BYTES].decode("utf-8", "replace")


def _unpack(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(data, MAX_TEXT_BYTES)
    except zlib.error:
        return b""


def _by_keyword(text: str) -> dict[str, str]:
    """Return the texts of a file that were packed into one: NovelAI's as an object, A1111's as itself."""
    if is_json_object(text):
        try:
            data = load_json(text)
        except ValueError:
            data = {}
        if isinstance(data, dict) and isinstance(data.get("Comment"), str):
            return {key: value for key, value in data.items() if isinstance(value, str)}
    return keyed(text)
