"""Pictures for Discord: small enough to be sent, the one from before, and the sheet of a sweep. Nothing here waits."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...nodes.image_formats import MAX_PIXELS, open_image
from ...nodes.imaging.decode import ImageError, decode_image
from ..jobs.contact_sheet import Cell, contact_sheet, levels, opened
from ..jobs.drift import Drift, drift, most_changed
from ..jobs.formats import FormatError, convert
from .texts import moment, size

BEFORE_SIDE = 1536
"""Longest side in pixels of the picture from before."""
QUALITIES = (95, 85, 70, 50)
"""Of WebP, the first that fits; those below the first one only where there is no link to the whole file."""
RESERVE = 64 * 1024
"""Bytes of the limit that are left for what else a message has."""


@dataclass(frozen=True)
class Fitted:
    """A result as it is sent."""

    data: bytes
    name: str
    note: str = ""
    """What is to be said of it; empty for the file itself."""


def pixel_hash(data: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """Return the SHA-256 of a picture's size and pixels: the same whatever became of its metadata or its compression.

    Raises ImageError.
    """
    pixels, _ = decode_image(data, "image", max_pixels)
    head = f"{pixels.width}x{pixels.height} RGBA".encode()
    return hashlib.sha256(head + pixels.convert("RGBA").tobytes()).hexdigest()


def pixels_or_nothing(data: bytes) -> str:
    """Return :func:`pixel_hash`, empty where the picture cannot be read."""
    try:
        return pixel_hash(data)
    except ImageError:
        return ""


def fit(png: bytes, stem: str, limit: int, link: Callable[[], str | None], hours: float) -> Fitted:
    """Return a result as a file of at most so many bytes, with its record.

    The PNG itself, else lossless WebP, else WebP of quality 95, else a smaller one beside a link to the whole. link: makes
    that link, None where the store has none; good for so many hours.
    """
    limit -= RESERVE
    if len(png) <= limit:
        return Fitted(png, f"{stem}.png")
    whole = f"The PNG has {size(len(png))}, and {size(limit)} can be sent here: this is "
    with tempfile.TemporaryDirectory(prefix="distillery-") as folder:
        file = Path(folder) / "result.png"
        file.write_bytes(png)
        tried: list[tuple[int, str]] = [(100, "the same picture as lossless WebP.")]
        tried += [(quality, f"WebP of quality {quality}.") for quality in QUALITIES]
        for at, (quality, text) in enumerate(tried):
            try:
                data, _ = convert(file, "webp", quality)
            except FormatError:  # too long a side for WebP
                break
            if len(data) <= limit:
                note = whole + text
                if at > 1 and (url := link()) is not None:
                    note += f" [The PNG]({url}), until {moment(hours * 3600, 'f')}."
                return Fitted(data, f"{stem}.webp", note)
        data = _small(file, limit)
    note = whole + "a smaller copy."
    if (url := link()) is not None:
        note += f" [The PNG]({url}), until {moment(hours * 3600, 'f')}."
    return Fitted(data, f"{stem}_small.webp", note)


def _small(file: Path, limit: int) -> bytes:
    with open_image(file, only="PNG") as image:
        picture = image.convert("RGB")
    return _webp(
        picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.LANCZOS), limit
    )


def _webp(picture: Image.Image, limit: int) -> bytes:
    """Return a picture as WebP of at most so many bytes: of less quality, then of half the size, and again."""
    while True:
        for quality in (92, 80, 60):
            out = io.BytesIO()
            picture.save(out, "WEBP", quality=quality, method=4)
            if out.tell() <= limit or min(picture.size) < 64:
                return out.getvalue()
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)


def before(source: bytes) -> bytes:
    """Return the source as a small WebP file, to be looked at beside the result."""
    with open_image(io.BytesIO(source)) as image:
        picture = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    picture.thumbnail((BEFORE_SIDE, BEFORE_SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=90, method=4)
    return out.getvalue()


def drift_of(reference: bytes, candidate: bytes) -> Drift:
    """Return how far a result is from the picture that was only enlarged."""
    with tempfile.TemporaryDirectory(prefix="distillery-") as folder:
        files = [Path(folder) / f"{n}.png" for n in range(2)]
        for file, data in zip(files, (reference, candidate), strict=True):
            file.write_bytes(data)
        return drift(*(levels(opened(file)) for file in files))


def sheet(pictures: Sequence[tuple[str, bytes]], limit: int) -> bytes:
    """Return the contact sheet of a sweep as WebP of at most so many bytes.

    pictures: label and PNG; the first is only enlarged, the last has the highest power.
    """
    with tempfile.TemporaryDirectory(prefix="distillery-") as folder:
        cells = []
        for at, (label, data) in enumerate(pictures):
            file = Path(folder) / f"{at}.png"
            file.write_bytes(data)
            cells.append(Cell(file, (label,)))
        reference, strongest = (levels(opened(cell.picture)) for cell in (cells[0], cells[-1]))
        tile = min(448, reference.shape[1])
        image = contact_sheet([cells], most_changed(reference, strongest, tile, tile), tile)
    return _webp(image, limit - RESERVE)
