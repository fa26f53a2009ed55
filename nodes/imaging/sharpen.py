"""Sharpening as Distillery does it: ComfyUI's ImageSharpen kernel with radius 1 and sigma 0.5.

The parameters were recovered from two files of one generation saved with two strengths; with alpha 0.3
the file is reproduced within the rounding of its source.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

RADIUS = 1
SIGMA = 0.5
_GAIN = 10.0
"""ImageSharpen scales alpha by this."""


def kernel(alpha: float, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The (3, 3) kernel: a delta plus ``10 alpha`` times (delta minus a Gaussian), so that it sums to 1."""
    # ComfyUI spaces the taps over -1 … 1 whatever the radius, so sigma is in units of the radius.
    axis = torch.linspace(-1, 1, 2 * RADIUS + 1, device=device, dtype=dtype)
    gauss = torch.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * SIGMA**2))
    taps = gauss / gauss.sum() * -(alpha * _GAIN)
    taps[RADIUS, RADIUS] += 1 - taps.sum()
    return taps


def sharpen(image: torch.Tensor, alpha: float) -> torch.Tensor:
    """Sharpen an image.

    image: (B, H, W, C), 0 … 1, C of 1 to 4; a fourth channel is alpha and is kept as it is.
    alpha: strength, 0 … 1; 0 returns the image itself.
    Returns a tensor of the same shape, device and dtype, clamped to 0 … 1.
    """
    if alpha == 0:
        return image
    colour = image[..., :3] if image.shape[-1] == 4 else image
    channels = colour.shape[-1]
    taps = kernel(alpha, image.device, image.dtype).expand(channels, 1, -1, -1)
    planes = colour.movedim(-1, 1)
    # A side of one pixel has nothing to reflect.
    mode = "reflect" if min(planes.shape[-2:]) > RADIUS else "replicate"
    out = F.conv2d(F.pad(planes, (RADIUS,) * 4, mode=mode), taps, groups=channels).clamp_(0, 1).movedim(1, -1)
    return torch.cat([out, image[..., 3:]], dim=-1) if image.shape[-1] == 4 else out
