"""Images of more than eight bits a sample, which Pillow holds as modes I, I;16 and F, all of them grey."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..errors import DistilleryError

MAX_ABOVE_WHITE = 0.1
"""Share of float samples above 1 that may be highlights; more of them, and the samples are not 0 … 1 at all."""
_SAVE_AS = "Save it with 8 or 16 bits a sample (in Photoshop: Image, Mode; in GIMP: Image, Precision)."


class DepthError(DistilleryError):
    """Samples whose black and white cannot be told. The message goes on from the image's name."""


def is_deep(image: Image.Image) -> bool:
    """True where ``convert`` would clip the samples to 255 instead of scaling them."""
    return image.mode.startswith("I") or image.mode == "F"


def sixteen_bits(image: Image.Image, warnings: list[str] | None = None) -> np.ndarray:
    """Samples of a deep image as 0 … 65535: whole numbers as they are, floats as 0 … 1.

    warnings: where to say what of it is a guess or was cut off. Raises DepthError for whole numbers beyond 16 bits, and
    for floats that are not 0 … 1 but for a few highlights.
    """
    values = np.asarray(image)
    told = [] if warnings is None else warnings
    if image.mode == "F":
        return _of_floats(values, told)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > 65535:
        raise DepthError(f"has samples from {low} to {high}; whole numbers from 0 to 65535 are taken. {_SAVE_AS}")
    levels: np.ndarray = values.astype(np.uint16, copy=False)
    return levels


def _of_floats(values: np.ndarray, warnings: list[str]) -> np.ndarray:
    numbers = np.isfinite(values)
    if not numbers.all():
        warnings.append(
            f"{np.count_nonzero(~numbers):,} samples of this image are no numbers (NaN or infinity): taken as black"
        )
        values = np.where(numbers, values, 0)
    bright = np.count_nonzero(values > 1) / max(values.size, 1)
    if bright > MAX_ABOVE_WHITE:
        low, high = float(values.min(initial=0)), float(values.max(initial=0))
        raise DepthError(
            f"has floating point samples from {low:.6g} to {high:.6g}, whose white cannot be told; 0 to 1 is taken. {_SAVE_AS}"
        )
    if bright:
        warnings.append(
            f"{bright:.1%} of the floating point samples of this image are brighter than white and were cut off"
        )
    warnings.append(
        "the samples of this image are floating point, taken as 0 to 1 in sRGB: if they are linear, the picture is too dark"
    )
    levels: np.ndarray = np.rint(np.clip(values, 0, 1).astype(np.float64) * 65535).astype(np.uint16)
    return levels


def eight_bits(levels: np.ndarray) -> np.ndarray:
    """Sixteen bits a sample to the nearest of eight."""
    return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
