"""Pad for VAE."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..imaging.padding import pad_to_multiple
from .types import CATEGORY


class PadImage(io.ComfyNode):
    """Pads an image so that the VAE's crop to multiples of 8 takes nothing of it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistilleryPadImage",
            display_name="Pad for VAE",
            category=CATEGORY,
            description="VAE Encode crops an image to multiples of 8 pixels. This pads it at the right and at the "
            "bottom first; HiRes Result takes the padding off again.",
            inputs=[io.Image.Input("image", tooltip="The image that goes to VAE Encode.")],
            outputs=[io.Image.Output("image")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor) -> io.NodeOutput:
        return io.NodeOutput(pad_to_multiple(image))
