"""Keeping the colours of a picture that diffusion drew anew.

A VAE and a denoiser shift the colours of areas; detail is what they are asked for. The low frequencies of the picture
before take the place of those after: the wavelet colour fix of StableSR (Wang et al., 2024, arXiv:2305.07015).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

LEVELS = 5
"""Wavelet levels that count as detail: shapes of about 2^5 pixels and less stay as they were drawn."""


def keep_colours(image: torch.Tensor, source: torch.Tensor, levels: int = LEVELS) -> torch.Tensor:
    """``image`` with the low frequencies of ``source``.

    image, source: (B, H, W, C), 0 … 1, of the same height and width, C of 3; of an alpha channel of ``source`` nothing
    is taken. One source serves all images of a batch.
    Returns (B, H, W, 3), 0 … 1, with the image's device and dtype.
    """
    # The wavelet transform is linear: exchanging the low band is adding the low band of the difference.
    change = (source[..., :3].to(image) - image[..., :3]).movedim(-1, 1).float()
    return (image[..., :3] + low_band(change, levels).movedim(1, -1).to(image)).clamp(0, 1)


def low_band(planes: torch.Tensor, levels: int) -> torch.Tensor:
    """The residue of (B, C, H, W) after ``levels`` of the à trous wavelet transform with the taps 1/4, 1/2, 1/4."""
    channels = planes.shape[1]
    taps = torch.tensor([0.25, 0.5, 0.25], dtype=planes.dtype, device=planes.device).repeat(channels, 1)
    for level in range(levels):
        step = 2**level
        planes = F.pad(planes, (step, step, step, step), mode="replicate")
        planes = F.conv2d(planes, taps[:, None, :, None], dilation=step, groups=channels)
        planes = F.conv2d(planes, taps[:, None, None, :], dilation=step, groups=channels)
    return planes
