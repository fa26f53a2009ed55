"""What the trainings of the autoencoder share: the decoder as a pyramid, losses, an exam, an optimizer.

The decoder's shape is TAESD's, the way there is a pyramid's: three of the 64 channels of each level hold the picture in
that level's size, and are trained to. Colours are then settled where a pixel costs a 64th, in minutes, and every level
above adds detail alone. (Trained as a whole, the decoder was off by 1 % in the mean colour of 16 pixels, ten times what
a linear transform of as many numbers loses.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...nodes.model_files import mini
from .crops import middle
from .measures import TO_XYZ, WHITE
from .model import Block, Decoder, Encoder

LEVELS = (slice(0, 6), slice(6, 11), slice(11, 16), slice(16, 20))
"""Layers of the decoder that make the picture in 8, 4, 2 and 1 pixels of the original a pixel."""
TOP = len(LEVELS) - 1


def pyramid(decoder: nn.Module, latents: Tensor, top: int = TOP) -> list[Tensor]:
    """Latents (B, 4, H, W) to the pictures (B, 3, H, W), (B, 3, 2H, 2W) and so on up to level ``top``."""
    every, pictures, x = list(decoder.children()), [], latents
    for level, layers in enumerate(LEVELS[: top + 1]):
        # The lowest level holds colours, of which bf16 would keep 7 bits.
        with torch.autocast("cpu", torch.bfloat16, enabled=level > 0):
            for layer in every[layers]:
                x = layer(x)
        pictures.append(x[:, :3].float())
    return pictures


def begin_well(network: Encoder | Decoder) -> None:
    """First weights for deep networks without norms: no layer makes the signal smaller, every block is nearly the
    identity. (torch's own let it fade to nothing over eight layers.) Of a decoder, the picture of each level is that of
    the level below, interpolated; the lowest is grey."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    module.bias.zero_()
        for module in network.modules():
            if isinstance(module, Block):
                module.conv[4].get_parameter("weight").mul_(0.2)
        if isinstance(network, Decoder):
            _begin_as_pyramid(network)


def _begin_as_pyramid(decoder: Decoder) -> None:
    for module in decoder.modules():
        if isinstance(module, Block):
            module.conv[4].get_parameter("weight")[:3].mul_(0.2)
    start, *ups = (decoder[i] for i in (1, 7, 12, 17))
    start.get_parameter("weight")[:3].mul_(0.1)
    start.get_parameter("bias")[:3].fill_(0.5)
    tent = torch.tensor([0.25, 0.5, 0.25])
    for up in ups:
        weight = up.get_parameter("weight")
        weight[:3].mul_(0.02)
        for i in range(3):
            weight[i, i] = tent[:, None] * tent
    last = decoder[19].get_parameter("weight")
    last.mul_(0.05)
    for i in range(3):
        last[i, i, 1, 1] = 1


def shipped(part: str) -> dict[str, Tensor]:
    """The weights that this checkout ships of ``part`` ("first_stage_model.taesd_encoder", "model.diffusion_model")."""
    prefix = part + "."
    return {
        name.removeprefix(prefix): torch.from_numpy(values.astype(np.float32))
        for name, values in mini.trained_weights().items()
        if name.startswith(prefix)
    }


def likeness(out: Tensor, wanted: Tensor, scale: int) -> Tensor:
    """What the evaluation measures: pixels, and the mean colours of cells of 8 and 16 pixels of the original, of which
    a pixel here is ``scale``.

    Root mean square by window, not over the batch: PSNR is a logarithm, and one window of gravel is not to
    outweigh seven of skin.
    """
    pixels = ((out - wanted).square().mean(dim=(1, 2, 3)) + 1e-4).sqrt().mean()
    return pixels + 0.5 * drift(out, wanted, 8 // scale) + 1.5 * drift(out, wanted, 16 // scale)


def likeness_of_all(pictures: list[Tensor], original: Tensor) -> tuple[Tensor, Tensor]:
    """Of a pyramid's pictures, with half weight below the highest; and that of the highest alone."""
    terms = [
        likeness(picture, F.avg_pool2d(original, 8 >> level), 8 >> level) for level, picture in enumerate(pictures)
    ]
    return terms[-1] + 0.5 * sum(terms[:-1], start=original.new_zeros(())), terms[-1].detach()


def drift(out: Tensor, wanted: Tensor, cell: int) -> Tensor:
    """Mean Delta E (CIE 1976), as a share of 100, between the mean colours of square cells of so many pixels."""
    difference = _lab(F.avg_pool2d(out, cell)) - _lab(F.avg_pool2d(wanted, cell))
    return (difference.square().sum(dim=1) + 1e-2).sqrt().mean() / 100


def _lab(x: Tensor) -> Tensor:
    """(B, 3, H, W), sRGB 0 … 1, to CIE L*a*b* of D65, with a gradient wherever x is over 0."""
    x = x.clamp(min=0)
    linear = torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("oc,bchw->bohw", torch.from_numpy(TO_XYZ / WHITE[:, None]).to(linear), linear)
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=(6 / 29) ** 3) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], dim=1)


def edges(out: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of the steps from a pixel to the next, right and down."""
    difference = out - wanted
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()


def laplace(x: Tensor) -> Tensor:
    """What a pixel differs from the mean of its 3x3."""
    return x - F.avg_pool2d(x, 3, 1, 1)


def held_out(work: Path, side: int = 512) -> list[Tensor]:
    """The middle of those of the first eight held-out pictures that are large enough, (1, 3, side, side), 0 … 1."""
    pictures = []
    for path in sorted((work / "held_out").glob("*.png"))[:8]:
        pixels = middle(path, 640, side)
        if pixels is not None:
            pictures.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255)
    return pictures


@torch.no_grad()
def encoded(encoder: nn.Module, pictures: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Latents and picture of each."""
    with torch.autocast("cpu", torch.bfloat16):
        return [(encoder(picture).float(), picture) for picture in pictures]


@torch.no_grad()
def judge(decoder: nn.Module, exam: list[tuple[Tensor, Tensor]], level: int = TOP) -> tuple[float, float, float]:
    """Of the level's pictures: mean PSNR in dB, ratio of edge strength to the original's, colour shift in Delta E."""
    psnr, sharpness, shift = [], [], []
    for latents, original in exam:
        out = pyramid(decoder, latents, level)[-1].clamp(0, 1)
        wanted = F.avg_pool2d(original, 8 >> level)
        psnr.append(-10 * math.log10(float((out - wanted).square().mean())))
        sharpness.append(float(laplace(out).square().mean() / laplace(wanted).square().mean()))
        shift.append(100 * float(drift(out, wanted, 2 << level)))
    return float(np.mean(psnr)), float(np.mean(sharpness)), float(np.mean(shift))


class Optimizer:
    """Muon for the matrices and convolutions between hidden layers, AdamW for the rest
    (https://kellerjordan.github.io/posts/muon).

    torch's Muon takes matrices; a convolution's weights are one, outputs by everything else, in the same memory.
    ``apart``: parameters that AdamW takes too, with ``factor`` times the learning rate.
    """

    def __init__(self, network: nn.Module, apart: Sequence[nn.Parameter] = (), factor: float = 1) -> None:
        elsewhere = set(apart)
        hidden = {p for p in network.parameters() if p.ndim in (2, 4) and min(p.shape[:2]) > 4 and p not in elsewhere}
        self.hidden = [p for p in network.parameters() if p in hidden]
        self.matrices = [nn.Parameter(_matrix(p.data)) for p in self.hidden]
        if any(m.data_ptr() != p.data_ptr() for m, p in zip(self.matrices, self.hidden, strict=True)):
            raise ValueError("the network's weights are not in the order channels_last")
        rest = [p for p in network.parameters() if p not in hidden and p not in elsewhere]
        self.muon = torch.optim.Muon(self.matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        self.adam = torch.optim.AdamW(
            [{"params": rest, "factor": 1}, *([{"params": list(apart), "factor": factor}] if apart else [])],
            betas=(0.9, 0.98), weight_decay=0.0, fused=True,
        )  # fmt: skip

    def step(self, rate: float) -> None:
        for matrix, parameter in zip(self.matrices, self.hidden, strict=True):
            matrix.grad = None if parameter.grad is None else _matrix(parameter.grad)
        for optimizer in (self.muon, self.adam):
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("factor", 1)
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def _matrix(weights: Tensor) -> Tensor:
    """Outputs by everything else."""
    return weights if weights.ndim == 2 else weights.permute(0, 2, 3, 1).reshape(len(weights), -1)


def falling(at: int, steps: int, floor: float = 0.02, rise: int = 50) -> float:
    """Share of the highest learning rate at a step: rises at first, then falls as a cosine to ``floor``."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, at / steps)))
    return min(1.0, (at + 1) / rise) * (floor + (1 - floor) * cosine)


def moving_average(network: nn.Module, keep: float = 0.995) -> Any:
    return torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(keep))


def as_channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
