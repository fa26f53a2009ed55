"""Pictures to look at: before and after, and the contact sheet of a sweep."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ...nodes.image_formats import open_image
from ...nodes.imaging.depth import eight_bits, is_deep, sixteen_bits
from ..errors import JobError
from .output import save_png

_INK, _PAPER, _CHOSEN = (235, 235, 235), (24, 24, 24), (64, 200, 96)
_GAP = 12


def opened(path: Path) -> Image.Image:
    """A picture file as RGB, upright; what is transparent is grey."""
    with open_image(path) as image:
        return _rgb(image)


def levels(image: Image.Image) -> np.ndarray:
    """(H, W, 3) float32, 0 … 1."""
    values: np.ndarray = np.asarray(image, np.float32) / 255
    return values


def before_after(source: bytes, result: Path) -> Path:
    """Write the source, enlarged by bicubic, and the result side by side; returns the file ``<result>_compare.png``.

    Raises JobError where it cannot be written.
    """
    after = opened(result)
    with open_image(io.BytesIO(source)) as image:
        before = _rgb(image).resize(after.size, Image.Resampling.BICUBIC)
    font = _font(after.width // 32)
    bar = _line_height(font) + _GAP
    sheet = Image.new("RGB", (2 * after.width + _GAP, after.height + bar), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for x, label, picture in ((0, "before (2x by bicubic)", before), (after.width + _GAP, "after", after)):
        draw.text((x + _GAP // 2, _GAP // 2), label, _INK, font)
        sheet.paste(picture, (x, bar))
    try:
        return save_png(sheet, result.parent, f"{result.stem}_compare")
    except OSError as error:
        raise JobError(f"The comparison cannot be written to {result.parent}: {error.strerror or error}.") from error


@dataclass(frozen=True)
class Cell:
    """One picture of a contact sheet."""

    picture: Path
    lines: tuple[str, ...]
    """Its label."""
    chosen: bool = False
    """It gets a frame."""


def contact_sheet(rows: Sequence[Sequence[Cell]], corner: tuple[int, int], tile: int = 448) -> Image.Image:
    """Rows of labelled pictures, each as a whole and below it a detail at full size.

    corner: top left (y, x) of the detail in the pictures' pixels. tile: width of a column in pixels. All pictures
    have one size, and all rows the same number of cells.
    """
    first = opened(rows[0][0].picture)
    tile = min(tile, first.width)
    whole = (tile, max(1, round(first.height * tile / first.width)))
    detail = (tile, min(tile, first.height))
    font = _font(max(12, tile // 20))
    lines = max(len(cell.lines) for row in rows for cell in row)
    label = lines * _line_height(font) + _GAP
    step = (tile + _GAP, whole[1] + detail[1] + label + 2 * _GAP)
    sheet = Image.new("RGB", (step[0] * len(rows[0]) + _GAP, step[1] * len(rows) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    y, x = min(corner[0], first.height - detail[1]), min(corner[1], first.width - detail[0])
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            left, top = _GAP + j * step[0], _GAP + i * step[1]
            picture = opened(cell.picture)
            for k, text in enumerate(cell.lines):
                colour = _CHOSEN if cell.chosen else _INK
                draw.text((left, top + k * _line_height(font)), text, colour, font)
            top += label
            if cell.chosen:
                frame = (left - 4, top - 4, left + tile + 3, top + whole[1] + detail[1] + _GAP // 2 + 3)
                draw.rectangle(frame, outline=_CHOSEN, width=4)
            sheet.paste(picture.resize(whole, Image.Resampling.LANCZOS), (left, top))
            crop = picture.crop((x, y, x + detail[0], y + detail[1]))
            sheet.paste(crop, (left, top + whole[1] + _GAP // 2))
    return sheet


def _rgb(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if is_deep(upright):
        upright = Image.fromarray(eight_bits(sixteen_bits(upright)))
    if "A" in upright.getbands() or "transparency" in upright.info:
        ground = Image.new("RGBA", upright.size, (128, 128, 128, 255))
        return Image.alpha_composite(ground, upright.convert("RGBA")).convert("RGB")
    return upright.convert("RGB")


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(10, size))


def _line_height(font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> int:
    return int(font.getbbox("Ágy")[3]) + 3
