"""Read the texts of a PNG or APNG file, before and after its pixels, which are not decoded."""

from __future__ import annotations

import zlib
from typing import BinaryIO, NamedTuple

from .exif import decode_plain

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 1000
"""Number limit of texts in one file."""
MAX_ALL_CHUNKS = 100_000
"""Number limit of chunks of any kind: a picture of 100 megapixels has some ten thousand."""
MAX_TEXT_BYTES = 16 * 2**20
"""Size limit of an uncompressed text."""
MAX_INFLATED_BYTES = 2**20
"""Size limit of a decompressed text, the same as Pillow's: beyond it lie decompression bombs."""
MAX_TOTAL_BYTES = 64 * 2**20


class PngTexts(NamedTuple):
    """Contents of a PNG file beside its pixels."""

    texts: dict[str, str]
    """Texts by keyword; the last one wins."""
    exif: bytes
    """EXIF data; empty if there are none."""
    warnings: tuple[str, ...]
    size: tuple[int, int] | None = None
    """Width and height; ``None`` without a header."""
    endless: bool = False
    """True if there are more chunks than are looked at."""


def read_png_texts(file: BinaryIO) -> PngTexts:
    """Read the texts of a PNG file from its beginning.

    Besides PNG's own three kinds of text this reads the ``comf`` chunks that ComfyUI writes into APNG files.
    Leaves out a damaged or too large text, with a warning.
    """
    file.seek(0)
    texts: dict[str, str] = {}
    exif = b""
    warnings: dict[str, None] = {}
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return PngTexts(texts, exif, ())
    count, total = 0, 0
    endless = False
    size: tuple[int, int] | None = None
    for _ in range(MAX_ALL_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            warnings["the image is cut short: texts behind its pixels may be missing"] = None
            break
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IEND":
            break
        if kind == b"IHDR" and size is None and length >= 8:
            sides = file.read(8)
            size = (int.from_bytes(sides[:4], "big"), int.from_bytes(sides[4:], "big"))
            file.seek(length - 8 + 4, 1)
            continue
        if kind not in _READERS and kind != b"eXIf":
            file.seek(length + 4, 1)
            continue
        count += 1
        if count > MAX_CHUNKS or length > MAX_TEXT_BYTES or total > MAX_TOTAL_BYTES:
            warnings["the image holds more text than is read: some of it is left out"] = None
            file.seek(length + 4, 1)
            continue
        data = file.read(length)
        file.seek(4, 1)
        total += length
        if kind == b"eXIf":
            exif = data
            continue
        try:
            if len(data) < length:
                raise ValueError
            key, text = _READERS[kind](data)
        except (ValueError, zlib.error):
            warnings[f"a text of this image is damaged, or larger than {MAX_INFLATED_BYTES >> 20} MiB: left out"] = None
        else:
            total += len(text)
            texts[key] = text
    else:
        endless = True
        warnings["the image has more chunks than are read: texts behind them may be missing"] = None
    return PngTexts(texts, exif, tuple(warnings), size, endless)


def _plain(data: bytes) -> tuple[str, str]:
    key, _, text = data.partition(b"\0")
    return decode_plain(key), decode_plain(text)


def _compressed(data: bytes) -> tuple[str, str]:
    key, _, rest = data.partition(b"\0")
    if rest[:1] != b"\0":
        raise ValueError("unknown compression")
    return decode_plain(key), decode_plain(_inflate(rest[1:]))


def _international(data: bytes) -> tuple[str, str]:
    key, _, rest = data.partition(b"\0")
    compressed = rest[:1] == b"\1"
    _language, _, rest = rest[2:].partition(b"\0")
    _translated, _, text = rest.partition(b"\0")
    return decode_plain(key), decode_plain(_inflate(text) if compressed else text)


def _inflate(data: bytes) -> bytes:
    engine = zlib.decompressobj()
    text = engine.decompress(data, MAX_INFLATED_BYTES)
    if not engine.eof:
        raise ValueError("too large, or its end is missing")
    return text


_READERS = {b"tEXt": _plain, b"zTXt": _compressed, b"iTXt": _international, b"comf": _plain}
