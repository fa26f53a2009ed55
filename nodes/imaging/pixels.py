"""Image files to tensors and back."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from ..errors import DistilleryError
from ..image_formats import MAX_PIXELS
from ..parameters import MIN_SIDE
from .decode import ImageError, decode_image


class Pixels(NamedTuple):
    """A picture as ComfyUI's nodes take it."""

    colour: torch.Tensor
    """(1, H, W, 3), 0 … 1, float32, sRGB."""
    transparency: torch.Tensor
    """(1, H, W), 1 where transparent: ComfyUI's convention for MASK."""
    warnings: tuple[str, ...] = ()
    """What of the file was left out, or may be off."""


def load_pixels(path: str | Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read an image file: any mode and depth that :func:`.decode.decode_image` takes, as the driver reads it.

    Raises DistilleryError for a file that is no image, has more than ``max_pixels`` or is smaller than 64 pixels a side.
    """
    path = Path(path)
    try:
        image, warnings = decode_image(path, path.name, max_pixels)
    except OSError as error:
        raise ImageError(f"{path.name} cannot be read: {error.strerror or error}.") from None
    if min(image.size) < MIN_SIDE:
        raise DistilleryError(
            f"{path.name} is {image.width}x{image.height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed."
        )
    return Pixels(*image_to_tensors(image), warnings)


def image_to_tensors(image: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
    """A Pillow image of mode L, RGB, RGBA or I;16 as colour and transparency, see :class:`Pixels`."""
    values = np.asarray(image)
    levels = values.astype(np.float32)
    levels /= np.iinfo(values.dtype).max  # in place: of a large picture a copy is a gigabyte
    if levels.ndim == 2:
        levels = np.repeat(levels[..., None], 3, axis=-1)
    transparency = 1 - levels[..., 3] if levels.shape[-1] == 4 else np.zeros(levels.shape[:2], np.float32)
    colour = np.ascontiguousarray(levels[..., :3])
    return torch.from_numpy(colour)[None], torch.from_numpy(transparency)[None]


def tensors_to_image(colour: torch.Tensor, transparency: torch.Tensor | None = None) -> Image.Image:
    """One image (H, W, C of 1, 3 or 4), 0 … 1, as an 8-bit Pillow image, rounded to the nearest level.

    transparency: (H, W), 1 where transparent; left out of the file where it is 0 throughout.
    """
    if colour.shape[-1] == 1:
        colour = colour.expand(-1, -1, 3)
    if transparency is not None and colour.shape[-1] == 3 and bool((transparency > 0).any()):
        colour = torch.cat([colour.cpu(), 1 - transparency.cpu()[..., None].to(colour.dtype)], dim=-1)
    # Truncating instead, as is common, darkens the image by half a level with every round trip.
    levels = colour.detach().cpu().float().mul(255).round().clamp(0, 255).to(torch.uint8).numpy()
    return Image.fromarray(levels)
