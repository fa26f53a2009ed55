"""PNG files chunk by chunk, right and wrong, and TIFF files that Pillow cannot write."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes, wrong_crc: bool = False) -> bytes:
    crc = zlib.crc32(kind + data) ^ wrong_crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def with_chunks(png: bytes, *before: bytes, after: bytes = b"") -> bytes:
    """A PNG file with whole chunks put before, and behind, its pixels."""
    at = png.index(b"IDAT") - 4
    end = png.index(b"IEND") - 4
    return png[:at] + b"".join(before) + png[at:end] + after + png[end:]


def international(keyword: str, text: bytes) -> bytes:
    return keyword.encode() + b"\0\1\0\0\0" + zlib.compress(text)


def written_tiff(samples: np.ndarray, sample_format: int) -> bytes:
    """An uncompressed TIFF of (H, W) or (H, W, C); sample_format: 1 unsigned, 2 signed, 3 floating point."""
    height, width = samples.shape[:2]
    bands = samples.shape[2] if samples.ndim == 3 else 1
    bits = samples.dtype.itemsize * 8
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    short, long = 3, 4
    base = 8 + 2 + 12 * 10 + 4
    extra = struct.pack(f"<{bands}H", *[bits] * bands) + struct.pack(f"<{bands}H", *[sample_format] * bands)
    per_band = [bits, sample_format] if bands == 1 else [base, base + 2 * bands]
    pixels = base + len(extra)
    tags = [
        (256, long, 1, width), (257, long, 1, height), (258, short, bands, per_band[0]), (259, short, 1, 1),
        (262, short, 1, 2 if bands == 3 else 1), (273, long, 1, pixels), (277, short, 1, bands), (278, long, 1, height),
        (279, long, 1, len(data)), (339, short, bands, per_band[1]),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + extra + data
