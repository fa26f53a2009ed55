"""Results in other formats than PNG, with the record and the workflow kept, so that they can be recalled and dragged back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image, features

from ...nodes.errors import DistilleryError
from ...nodes.image_formats import open_image
from ...nodes.record import RECORD_KEY

SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg", "avif": ".avif"}
"""Formats of results, and the ending of their files."""
FORMAT_OF = {**{suffix: name for name, suffix in SUFFIXES.items()}, ".jpeg": "jpeg"}
"""Endings of files, and their format."""
DEFAULT_QUALITY = {"webp": 95, "jpeg": 95, "avif": 90}
MAX_SIDE = {"webp": 16_383, "jpeg": 65_500, "avif": 65_536}
"""Longest side in pixels that a format can hold."""
_JPEG_EXIF = 65_500
"""Bytes of EXIF that a JPEG file can hold."""
# Where ComfyUI itself writes them (0x0110 and below), and where its editor and this project's reader look.
_TAGS = (("prompt", 0x0110), ("workflow", 0x010F), (RECORD_KEY, 0x010E))


class FormatError(DistilleryError):
    """A result cannot be written in this format."""


def check_format(name: str, quality: int | None) -> None:
    """Raise FormatError for a format or a quality that cannot be had."""
    if name not in SUFFIXES:
        raise FormatError(f'"{name[:40]}" is no format of results: give {", ".join(SUFFIXES)}.')
    if quality is not None and name == "png":
        raise FormatError("PNG has no quality, as it loses nothing. Give --format webp, jpeg or avif with it.")
    if quality is not None and not 1 <= quality <= 100:
        raise FormatError(f"A quality is a whole number from 1 to 100 (WebP: 100 loses nothing), not {quality}.")
    if name == "avif" and not features.check("avif"):
        raise FormatError("This Pillow cannot write AVIF (11.3 and later can). Give --format webp, jpeg or png.")


def convert(png: Path, name: str, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:
    """Return a PNG result in another format, and warnings of what it could not keep.

    name: one of SUFFIXES but ``png``. quality: 1 … 100, None: DEFAULT_QUALITY; WebP at 100 is lossless. The texts of the file
    go into EXIF. Raises FormatError, OSError.
    """
    quality = DEFAULT_QUALITY[name] if quality is None else quality
    warnings = []
    with open_image(png, only="PNG") as image:
        image.load()
        texts = {key: str(image.info[key]) for key, _ in _TAGS if key in image.info}
        if max(image.size) > MAX_SIDE[name]:
            raise FormatError(
                f"{name} holds {MAX_SIDE[name]} pixels a side at most, and the result has {image.width}x{image.height}. Give --format png."
            )
        if name == "jpeg" and image.mode != "RGB":
            if image.mode == "RGBA":
                warnings.append("JPEG has no transparency: what was transparent is white")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            image = image.convert("RGB")
        exif, lost = _exif(texts, _JPEG_EXIF if name == "jpeg" else None)
        if lost:
            warnings.append(f"JPEG has no room for: {', '.join(lost)}")
        options: dict[str, Any] = {"exif": exif, "quality": quality}
        if name == "webp":
            options |= {"lossless": True, "quality": 80, "exact": True} if quality == 100 else {"method": 4}
        elif name == "jpeg":
            options |= {"subsampling": 0 if quality >= 90 else 2, "optimize": True}
        out = io.BytesIO()
        image.save(out, name.upper(), **options)
    return out.getvalue(), tuple(warnings)


def _exif(texts: dict[str, str], limit: int | None) -> tuple[bytes, list[str]]:
    """Return EXIF data with the texts, the largest left out where there is no room, and what was left out."""
    kept, lost = dict(texts), list[str]()
    while True:
        exif = Image.Exif()
        for key, tag in _TAGS:
            if key in kept:
                exif[tag] = f"{key}:{_ascii(kept[key])}"
        data = exif.tobytes()
        if limit is None or len(data) <= limit or not kept:
            return data, lost
        # The workflow first, which is the largest, and never the record before it.
        lost.append(next(key for key in ("workflow", "prompt", RECORD_KEY) if key in kept))
        del kept[lost[-1]]


def _ascii(text: str) -> str:
    """Return JSON with nothing but ASCII in it, the only characters that such a tag holds."""
    try:
        return json.dumps(json.loads(text), separators=(",", ":"))
    except ValueError:
        return json.dumps(text)
