"""Texts in the lowest bits of an image, as A1111's extension and NovelAI write them."""

from __future__ import annotations

import gzip
import io

from PIL import Image


def stealth(
    text: str, channels: str = "A", packed: bool = True, size: tuple[int, int] = (96, 80), form: str = "PNG"
) -> bytes:
    """An image file with a text in its pixels and none in its chunks. channels: ``A`` or ``RGB``."""
    data = gzip.compress(text.encode()) if packed else text.encode()
    mark = f"stealth_{'png' if channels == 'A' else 'rgb'}{'comp' if packed else 'info'}".encode()
    message = mark + (8 * len(data)).to_bytes(4, "big") + data
    bits = iter("".join(f"{byte:08b}" for byte in message))
    image = Image.new("RGBA", size, (90, 60, 30, 254))
    pixels = image.load()
    assert pixels is not None
    for x in range(size[0]):
        for y in range(size[1]):
            values = list(pixels[x, y])
            for at in (3,) if channels == "A" else (0, 1, 2):
                bit = next(bits, None)
                if bit is not None:
                    values[at] = values[at] & ~1 | int(bit)
            pixels[x, y] = tuple(values)
    assert next(bits, None) is None, "the image is too small for the text"
    file = io.BytesIO()
    (image if channels == "A" else image.convert("RGB")).save(file, form, lossless=True)
    return file.getvalue()
