"""Keep the detail that a VAE loses, where the HiRes pass did not change the picture.

What a latent diffusion pass returns differs from the enlarged picture for two reasons: the pass changed it, and the
autoencoder cannot hold it. The second is known exactly, as ``loss = enlarged - copy`` with
``copy = decode(encode(enlarged))``, so it can be put back: ``regenerated + loss`` equals
``enlarged + (regenerated - copy)``, the change of the pass laid on the enlarged picture.

Where the pass redrew the picture the loss belongs to edges that are no longer there, and would show as ghosts. So
it is weighted by how far the pass went, ``w = 1 / (1 + (change / (loss + 0.01))^2)``, with the local root mean squares
of both. Brightness and colour are weighted apart, and colour no more than the pass left of it: a prompt that takes
colour away is not undone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIGMA = 4.0
"""Radius in pixels of the Gaussian of the local root mean squares: half a latent cell of the usual VAEs."""
FLOOR = 0.01
"""Losses below this (of 1) are not told from rounding."""
STRIP = 256
"""Rows that are worked on at once, so that memory stays below that of the decode."""
_REACH = 16
"""Radius at which the Gaussian is cut off, in pixels: 4 sigma."""
_LUMA = (0.299, 0.587, 0.114)
"""Weights of ITU-R BT.601."""


def keep_detail(
    regenerated: torch.Tensor, copy: torch.Tensor, enlarged: torch.Tensor, weighted: bool = True
) -> torch.Tensor:
    """``regenerated`` with what the VAE lost of ``enlarged``.

    regenerated, copy, enlarged: (B, H, W, C), 0 to 1, of one height and width; channels after the third are ignored.
    copy: ``enlarged`` encoded and decoded by the same VAE. One copy or enlarged picture serves a whole batch.
    weighted: False puts the whole loss back everywhere.
    Returns (B, H, W, 3), 0 to 1, with the device and dtype of ``regenerated``.
    """
    height = regenerated.shape[1]
    out = torch.empty_like(regenerated[..., :3])
    for top in range(0, height, STRIP):
        first, last = max(0, top - _REACH), min(height, top + STRIP + _REACH)
        after, before, source = (
            picture[:, first:last, :, :3].to(regenerated.device, torch.float32).movedim(-1, 1)
            for picture in (regenerated, copy, enlarged)
        )
        loss = source - before
        strip = after + (_weighted(loss, after, before) if weighted else loss)
        rows = slice(top - first, top - first + STRIP)
        out[:, top : top + STRIP] = strip[:, :, rows].clamp(0, 1).movedim(1, -1).to(out.dtype)
    return out


def _weighted(loss: torch.Tensor, after: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """The loss (B, 3, H, W), as far as it still belongs to what the pass drew."""
    change_y, change_c = _luma_chroma(after - before)
    loss_y, loss_c = _luma_chroma(loss)
    _, colour_after = _luma_chroma(after)
    _, colour_before = _luma_chroma(before)
    left = ((_rms(colour_after) + 1e-4) / (_rms(colour_before) + 1e-4)).clamp(max=1)
    return _weight(change_y, loss_y) * loss_y + left * _weight(change_c, loss_c) * loss_c


def _weight(change: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W), 0 where the change is all, 1 where there is none."""
    return 1 / (1 + (_rms(change) / (_rms(loss) + FLOOR)) ** 2)


def _luma_chroma(planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Brightness (B, 1, H, W), and what is left of red, green and blue (B, 3, H, W)."""
    weights = torch.tensor(_LUMA, dtype=planes.dtype, device=planes.device).view(1, 3, 1, 1)
    luma = (planes * weights).sum(dim=1, keepdim=True)
    return luma, planes - luma


def _rms(planes: torch.Tensor) -> torch.Tensor:
    """Local root mean square over the channels, (B, 1, H, W)."""
    return gaussian(planes.square().mean(dim=1, keepdim=True)).clamp(min=0).sqrt()


def gaussian(planes: torch.Tensor, sigma: float = SIGMA) -> torch.Tensor:
    """Gaussian blur of (B, 1, H, W), the borders repeated."""
    radius = round(4 * sigma)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=planes.dtype, device=planes.device) / sigma) ** 2)
    taps /= taps.sum()
    planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="replicate"), taps.view(1, 1, 1, -1))
    return F.conv2d(F.pad(planes, (0, 0, radius, radius), mode="replicate"), taps.view(1, 1, -1, 1))
