"""Image files to tensors and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import DistilleryError
from ..image_formats import ACCEPTED, open_image
from ..parameters import MIN_SIDE
from .depth import is_deep, sixteen_bits


def load_pixels(path: str | Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Read an image file.

    Any mode and depth that Pillow reads: grey, palette, CMYK, 16 bits. EXIF orientation is applied; of an
    animation the first frame is taken. Returns the colour as (1, H, W, 3), 0 … 1, float32, and the
    transparency as (1, H, W), 1 where transparent (ComfyUI's convention for MASK).
    Raises DistilleryError for a file that is no image or is smaller than 64 pixels a side.
    """
    try:
        with open_image(path) as file:
            image = ImageOps.exif_transpose(file)
            image.load()
    except UnidentifiedImageError:
        raise DistilleryError(f"{Path(path).name} is not an image that can be read. {ACCEPTED}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DistilleryError(
            f"{Path(path).name} cannot be read as an image ({error}). Is the file complete?"
        ) from None
    if min(image.size) < MIN_SIDE:
        raise DistilleryError(
            f"{Path(path).name} is {image.width}x{image.height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed."
        )
    return image_to_tensors(image)


def image_to_tensors(image: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
    """A Pillow image as colour (1, H, W, 3) and transparency (1, H, W), see :func:`load_pixels`."""
    alpha = None
    if is_deep(image):
        grey = sixteen_bits(image).astype(np.float32) / 65535
        colour = np.repeat(grey[..., None], 3, axis=-1)
    else:
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            alpha = np.asarray(image.getchannel("A")).astype(np.float32) / 255.0
        colour = np.asarray(image.convert("RGB")).astype(np.float32) / 255.0
    transparency = np.zeros(colour.shape[:2], np.float32) if alpha is None else 1.0 - alpha
    return torch.from_numpy(np.ascontiguousarray(colour))[None], torch.from_numpy(transparency)[None]


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
