"""The size of an image according to its generation data."""

from __future__ import annotations

import math

from ..generation import Generation

CELL = 8
"""Side of a latent cell in pixels."""


def output_size(width: int, height: int, scale: float | None) -> tuple[int, int]:
    """Return Distillery's size: the first pass cut to whole latent cells, enlarged, and rounded up to whole cells."""

    def side(base: int) -> int:
        return math.ceil(round(base // CELL * CELL * (scale or 1.0) / CELL, 6)) * CELL

    return side(width), side(height)


def check_size(generation: Generation, width: int, height: int) -> Generation:
    """Warn if the size of a Distillery image contradicts its data: it was resized or cropped since.

    Tolerates less than one cell.
    """
    if generation.origin not in ("distillery", "distillery-old") or not generation.width or not generation.height:
        return generation
    wide, high = output_size(generation.width, generation.height, generation.hires.scale)
    if abs(wide - width) < CELL and abs(high - height) < CELL:
        return generation
    return generation.warn(
        f"the image is {width}x{height}, but was made as {wide}x{high}: it was resized or cropped since"
    )
