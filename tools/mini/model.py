"""The two networks of distillery-mini, with the names and shapes that ComfyUI looks for.

Written out here, and not taken from ComfyUI, so that training needs nothing but torch; a test compares
both with ComfyUI's own on the same input.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 320
"""By this ComfyUI recognises SD 1.5."""
CONTEXT = 768
TIMESTEPS = 1000

N = TypeVar("N", bound=nn.Module)


# The autoencoder: layer for layer TAESD (https://github.com/madebyollin/taesd).


def _conv(n_in: int, n_out: int, **options: bool | int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1, **options)  # type: ignore[arg-type]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Encoder(nn.Sequential):
    """(B, 3, 8H, 8W), 0 … 1, to latents (B, 4, H, W)."""

    def __init__(self, width: int = 64) -> None:
        layers: list[nn.Module] = [_conv(3, width), Block(width)]
        for _ in range(3):
            layers += [_conv(width, width, stride=2, bias=False), Block(width), Block(width), Block(width)]
        super().__init__(*layers, _conv(width, 4))


class Decoder(nn.Sequential):
    """Latents (B, 4, H, W) to (B, 3, 8H, 8W), about 0 … 1."""

    def __init__(self, width: int = 64) -> None:
        layers: list[nn.Module] = [Clamp(), _conv(4, width), nn.ReLU()]
        for _ in range(3):
            layers += [
                Block(width),
                Block(width),
                Block(width),
                nn.Upsample(scale_factor=2),
                _conv(width, width, bias=False),
            ]
        super().__init__(*layers, Block(width), _conv(width, 3))


# The UNet: Stable Diffusion 1's (https://github.com/CompVis/stable-diffusion), two levels of one width.


def silence(layer: nn.Module) -> None:
    """All its weights 0: a block that ends in it begins as the identity."""
    for weights in layer.parameters():
        nn.init.zeros_(weights)


def channels_last(network: N) -> N:
    """The network itself, with its weights in the order in memory that oneDNN and cuDNN are fast with."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


class ResBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int = CHANNELS) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, n_in), nn.SiLU(), _conv(n_in, n_out))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * CHANNELS, n_out))
        self.out_layers = nn.Sequential(nn.GroupNorm(32, n_out), nn.SiLU(), nn.Identity(), _conv(n_out, n_out))
        self.skip_connection = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)
        silence(self.out_layers[3])

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Attention(nn.Module):
    heads = 8

    def __init__(self, context: int = CHANNELS) -> None:
        super().__init__()
        self.to_q = nn.Linear(CHANNELS, CHANNELS, bias=False)
        self.to_k = nn.Linear(context, CHANNELS, bias=False)
        self.to_v = nn.Linear(context, CHANNELS, bias=False)
        self.to_out = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.Identity())

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            layer(value).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, value in ((self.to_q, x), (self.to_k, context), (self.to_v, context))
        )
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class GEGLU(nn.Module):
    def __init__(self, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(CHANNELS, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(4 * CHANNELS), nn.Identity(), nn.Linear(4 * CHANNELS, CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn1, self.attn2, self.ff = Attention(), Attention(CONTEXT), FeedForward()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(CHANNELS) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        n = self.norm1(x)
        x = x + self.attn1(n, n)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, CHANNELS, eps=1e-6)
        self.proj_in = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock()])
        self.proj_out = nn.Conv2d(CHANNELS, CHANNELS, 1)
        silence(self.proj_out)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        h = self.proj_in(self.norm(x))
        tokens = self.transformer_blocks[0](h.flatten(2).transpose(1, 2), context)
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, h.shape[2:]))


class Plain(nn.Module):
    """A layer that takes neither time nor text, under the signature of those that do."""

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        raise NotImplementedError


class First(nn.Conv2d):
    def forward(self, x: Tensor, emb: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        return super().forward(x)


class Downsample(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.op = _conv(CHANNELS, CHANNELS, stride=2)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        return self.op(x)


class Upsample(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.conv = _conv(CHANNELS, CHANNELS)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class UNet(nn.Module):
    """eps-prediction on SD's schedule.

    x: noisy latents (B, 4, H, W), scaled to about unit variance, H and W even; t: (B,), 0 … 999; context:
    text features (B, N, 768). Returns the noise, (B, 4, H, W). 29.3 M parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(
            nn.Linear(CHANNELS, 4 * CHANNELS), nn.SiLU(), nn.Linear(4 * CHANNELS, 4 * CHANNELS)
        )
        wide = 2 * CHANNELS
        self.input_blocks = nn.ModuleList([
            nn.ModuleList([First(4, CHANNELS, 3, padding=1)]),
            nn.ModuleList([ResBlock(CHANNELS)]),
            nn.ModuleList([Downsample()]),
            nn.ModuleList([ResBlock(CHANNELS), SpatialTransformer()]),
        ])  # fmt: skip
        self.middle_block = nn.ModuleList([ResBlock(CHANNELS)])
        self.output_blocks = nn.ModuleList([
            nn.ModuleList([ResBlock(wide), SpatialTransformer()]),
            nn.ModuleList([ResBlock(wide), Upsample()]),
            nn.ModuleList([ResBlock(wide)]),
            nn.ModuleList([ResBlock(wide)]),
        ])  # fmt: skip
        self.out = nn.Sequential(nn.GroupNorm(32, CHANNELS), nn.SiLU(), _conv(CHANNELS, 4))
        silence(self.out[2])

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        emb = self.time_embed(timestep_embedding(t))
        skips = []
        for block in self.input_blocks.children():
            for layer in block.children():
                x = layer(x, emb, context)
            skips.append(x)
        for layer in self.middle_block.children():
            x = layer(x, emb, context)
        for block in self.output_blocks.children():
            x = torch.cat([x, skips.pop()], dim=1)
            for layer in block.children():
                x = layer(x, emb, context)
        return self.out(x)


def timestep_embedding(t: Tensor) -> Tensor:
    """(B,) to (B, 320): cosines, then sines."""
    half = CHANNELS // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def sigmas() -> Tensor:
    """SD's schedule: standard deviation of the noise on a latent of unit variance, by timestep (1000,)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, dim=0)
    return ((1 - kept) / kept).sqrt().float()
