"""The size that a picture must have by its generation data."""

from __future__ import annotations

import math

from ..generation import Generation

CELL = 8
"""Pixels a side of a latent cell."""


def output_size(width: int, height: int, scale: float | None) -> tuple[int, int]:
    """Distillery's size in pixels: the first pass cut to whole latent cells, enlarged, and filled up to whole cells."""

    def side(base: int) -> int:
        return math.ceil(round(base // CELL * CELL * (scale or 1.0) / CELL, 6)) * CELL

    return side(width), side(height)


def check_size(generation: Generation, width: int, height: int) -> Generation:
    """Add a warning where a Distillery image is not as large as its data say: it was resized or cropped since.

    Less than one cell is let pass.
    """
    if generation.origin not in ("distillery", "distillery-old") or not generation.width or not generation.height:
        return generation
    wide, high = output_size(generation.width, generation.height, generation.hires.scale)
    if abs(wide - width) < CELL and abs(high - height) < CELL:
        return generation
    return generation.warn(
        f"the image is {width}x{height}, but was made as {wide}x{high}: it was resized or cropped since"
    )
