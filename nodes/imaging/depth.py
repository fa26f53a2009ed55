"""Images of more than eight bits a sample, which Pillow holds as modes I, I;16 and F, all of them grey."""

from __future__ import annotations

import numpy as np
from PIL import Image


def is_deep(image: Image.Image) -> bool:
    """True where ``convert`` would clip the samples to 255 instead of scaling them."""
    return image.mode.startswith("I") or image.mode == "F"


def sixteen_bits(image: Image.Image) -> np.ndarray:
    """Samples of a deep image as 0 … 65535; those of a float image whose maximum is at most 1 count as 0 … 1."""
    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values.astype(np.float64), posinf=65535.0, neginf=0.0)
        if values.max(initial=0) <= 1:
            values = np.rint(values * 65535)
    clipped: np.ndarray = np.clip(values, 0, 65535).astype(np.uint16)
    return clipped


def eight_bits(levels: np.ndarray) -> np.ndarray:
    """Sixteen bits a sample to the nearest of eight."""
    return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
