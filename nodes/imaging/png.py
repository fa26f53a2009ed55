"""The chunks of a PNG file that its pixels need, for Pillow to read, and those that Pillow does not know.

Pillow reads every chunk, and refuses the file for a text that it will not decompress or a checksum that is wrong.
Browsers show such pictures: what is no pixel is left out there.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_INFLATED = 2**20
"""Bytes of a compressed profile or text that Pillow reads."""

_COLOURS = {b"tRNS": 1, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"iCCP": 4, b"cICP": 4, b"eXIf": 0}
"""Chunks that say how the pixels are to be seen, and the bytes that they have at least."""
_TRANSPARENT_SAMPLES = {b"\0": 2, b"\2": 6}
"""Bytes of a tRNS chunk by the colour type of IHDR."""
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ORIENTATIONS = (b"exif", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""Keywords of the texts in which Pillow looks for the orientation."""

_LEFT_OUT = {
    b"iCCP": f"the colour profile of this PNG is damaged, or larger than {MAX_INFLATED >> 20} MiB, and was left out: its "
    "colours may be off"
}


class Cicp(NamedTuple):
    """Code points of ITU-T H.273 that name a picture's colours, and False where black is 16 and white 235."""

    primaries: int
    transfer: int
    full_range: bool


class PixelChunks(NamedTuple):
    """A PNG file without what its pixels do not need."""

    data: bytes
    frames: int
    """Frames of the animation; 1 where it is none. They are left out of ``data``, but for the first."""
    cicp: Cicp | None
    warnings: tuple[str, ...]


def pixel_chunks(data: bytes) -> PixelChunks:
    """Leave out of a PNG file the chunks that say nothing of its pixels, and damaged ones that need not be there.

    Critical chunks stay as they are, whatever is wrong with them: that is for Pillow to say.
    """
    kept: list[memoryview] = [memoryview(SIGNATURE)]
    frames, cicp, pixels = 1, None, False
    warnings: dict[str, None] = {}
    view, at, start = memoryview(data), len(SIGNATURE), len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if not kind.isalpha():
            at = len(data)  # not a PNG's any more
            break
        end = at + 12 + length
        keep = not kind[0] & 0x20  # critical
        pixels = pixels or kind == b"IDAT"
        if kind in _COLOURS and (kind == b"eXIf" or not pixels):
            body = _body(data, at, length)
            keep = body is not None and _is_usable(kind, body, data[25:26])
            if not keep:
                warnings[_LEFT_OUT.get(kind, f"the {kind.decode()} data of this PNG are damaged and were left out")] = (
                    None
                )
            elif body is not None and kind == b"cICP":
                cicp, keep = Cicp(body[0], body[1], body[3] != 0), False
        elif kind in _TEXTS or kind == b"acTL":
            body = _body(data, at, length)
            if body is not None and kind == b"acTL":
                frames = int.from_bytes(body[:4], "big") or 1
            elif body is not None:
                keep = _tells_orientation(kind, body)
        if not keep:
            kept.append(view[start:at])
            start = min(end, len(data))
        at = end
        if kind == b"IEND":
            break
    kept.append(view[start : min(at, len(data))])
    whole = len(kept) == 2 and len(kept[1]) + len(SIGNATURE) == len(data)
    return PixelChunks(data if whole else b"".join(kept), frames, cicp, tuple(warnings))


def _body(data: bytes, at: int, length: int) -> bytes | None:
    """The content of a chunk; None where its checksum is wrong or the file is cut off."""
    body, end = data[at + 8 : at + 8 + length], at + 12 + length
    if len(data) < end or zlib.crc32(data[at + 4 : at + 8] + body) != int.from_bytes(data[end - 4 : end], "big"):
        return None
    return body


def _is_usable(kind: bytes, body: bytes, colour_type: bytes) -> bool:
    if kind == b"iCCP":
        _, _, rest = body.partition(b"\0")
        return rest[:1] == b"\0" and _inflates(rest[1:])
    return len(body) >= (_TRANSPARENT_SAMPLES.get(colour_type, 1) if kind == b"tRNS" else _COLOURS[kind])


def _inflates(data: bytes) -> bool:
    engine = zlib.decompressobj()
    try:
        engine.decompress(data, MAX_INFLATED)
    except zlib.error:
        return False
    return not engine.unconsumed_tail


def _tells_orientation(kind: bytes, body: bytes) -> bool:
    keyword, _, rest = body.partition(b"\0")
    if keyword not in _ORIENTATIONS:
        return False
    if kind == b"tEXt":
        return True
    if kind == b"zTXt":
        return rest[:1] == b"\0" and _inflates(rest[1:])
    parts = rest[2:].split(b"\0", 2)
    return len(parts) == 3 and (rest[:1] == b"\0" or _inflates(parts[2]))
