"""Padding an image to what a VAE can encode whole."""

from __future__ import annotations

import torch
import torch.nn.functional as F

VAE_MULTIPLE = 8
"""Image pixels per latent cell; VAE Encode crops to multiples of it."""


def pad_to_multiple(image: torch.Tensor, multiple: int = VAE_MULTIPLE) -> torch.Tensor:
    """Pad (B, H, W, C) at the right and bottom, by reflection, to multiples of ``multiple`` pixels."""
    height, width = image.shape[1:3]
    down, right = -height % multiple, -width % multiple
    if not down and not right:
        return image
    # Reflection keeps the border free of an edge that the VAE and the sampler would turn into detail.
    mode = "reflect" if height > down and width > right else "replicate"
    return F.pad(image.movedim(-1, 1), (0, right, 0, down), mode=mode).movedim(1, -1)
