"""Resampling of image planes in float, without the 8-bit round trip of an image library."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F

LANCZOS_LOBES = 3


@lru_cache(maxsize=16)
def _lanczos_taps(factor: int) -> tuple[float, ...]:
    """Taps of the Lanczos-3 low-pass for an integer downscale, as Pillow's LANCZOS has them inside an image."""

    def sinc(x: float) -> float:
        return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)

    # Output pixel 0 is centred on the middle of input pixels 0 … factor-1; the filter is widened by factor.
    count = 2 * LANCZOS_LOBES * factor + (factor % 2)
    offsets = [(k - (count - 1) / 2) / factor for k in range(count)]
    taps = [sinc(x) * sinc(x / LANCZOS_LOBES) if abs(x) < LANCZOS_LOBES else 0.0 for x in offsets]
    total = sum(taps)
    return tuple(t / total for t in taps)


def lanczos_downscale(planes: torch.Tensor, factor: int) -> torch.Tensor:
    """Downscale (B, C, H, W) by an integer factor, antialiased (Lanczos, three lobes).

    H and W must be multiples of the factor. At the borders the taps outside the image are left out and
    the rest renormalised, as Pillow does.
    """
    height, width = planes.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(f"{width}x{height} is not a multiple of {factor}")
    if factor == 1:
        return planes
    taps = torch.tensor(_lanczos_taps(factor), dtype=planes.dtype, device=planes.device)
    pad = (len(taps) - factor) // 2
    flat = planes.reshape(-1, 1, height, width)
    flat = F.conv2d(flat, taps.view(1, 1, -1, 1), stride=(factor, 1), padding=(pad, 0))
    flat = F.conv2d(flat, taps.view(1, 1, 1, -1), stride=(1, factor), padding=(0, pad))
    flat = flat / _inside(taps, height, factor, pad)[:, None] / _inside(taps, width, factor, pad)
    return flat.reshape(*planes.shape[:2], height // factor, width // factor)


def _inside(taps: torch.Tensor, length: int, factor: int, pad: int) -> torch.Tensor:
    """Sum of the taps that fall inside the image, for each output position."""
    ones = torch.ones(1, 1, length, dtype=taps.dtype, device=taps.device)
    return F.conv1d(ones, taps.view(1, 1, -1), stride=factor, padding=pad)[0, 0]


def resize(planes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Resize (B, C, H, W) to any size: Lanczos for whole-number downscales, else antialiased bicubic."""
    have_height, have_width = planes.shape[-2:]
    if (have_height, have_width) == (height, width):
        return planes
    factor = have_height // height
    if factor > 1 and (height * factor, width * factor) == (have_height, have_width):
        return lanczos_downscale(planes, factor)
    return F.interpolate(planes, size=(height, width), mode="bicubic", align_corners=False, antialias=True)
