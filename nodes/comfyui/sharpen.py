"""Sharpen."""

from __future__ import annotations

import comfy.model_management
import torch
from comfy_api.latest import io

from ..imaging.sharpen import sharpen
from ..parameters import SHARPEN
from .types import CATEGORY


class Sharpen(io.ComfyNode):
    """Distillery's sharpening."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistillerySharpen",
            display_name="Sharpen (Distillery)",
            category=CATEGORY,
            description="Distillery's sharpening: ComfyUI's Sharpen Image with radius 1 and sigma 0.5.",
            inputs=[
                io.Image.Input("image", tooltip="The image to sharpen. An alpha channel is kept as it is."),
                io.Float.Input(
                    "alpha", default=SHARPEN, min=0, max=1, step=0.01, tooltip="Strength; 0 leaves the image as it is."
                ),
            ],
            outputs=[io.Image.Output("image")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, alpha: float) -> io.NodeOutput:
        if alpha == 0:
            return io.NodeOutput(image)
        device = comfy.model_management.get_torch_device()
        return io.NodeOutput(sharpen(image.to(device), alpha).to(image.device))
