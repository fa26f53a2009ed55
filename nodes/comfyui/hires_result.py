"""HiRes Result."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..generation import Generation
from ..settings import Settings
from .types import CATEGORY, GenerationLink, SettingsLink


class HiResResult(io.ComfyNode):
    """The regenerated image at the exact size, or the upscaled one where there is no HiRes pass."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistilleryHiResResult",
            display_name="HiRes Result",
            category=CATEGORY,
            description="Takes the padding off the regenerated image. With a denoise of 0 it passes the upscaled "
            "image on, and nothing of the HiRes pass is run: no checkpoint is loaded.",
            inputs=[
                io.Image.Input("upscaled", tooltip="The image from Upscale 2x; gives the exact size."),
                SettingsLink.Input("settings", tooltip="From Upscale Parameters; a denoise of 0 skips the HiRes pass."),
                io.Image.Input("regenerated", lazy=True, tooltip="The image from VAE Decode."),
                GenerationLink.Input("loaded", lazy=True, tooltip="The generation from Load Models."),
            ],
            outputs=[io.Image.Output("image"), GenerationLink.Output("generation")],
        )

    @classmethod
    def check_lazy_status(
        cls, upscaled=None, settings: Settings | None = None, regenerated=None, loaded=None
    ) -> list[str]:
        if settings is None or not settings.denoise:
            return []
        return [name for name, value in (("regenerated", regenerated), ("loaded", loaded)) if value is None]

    @classmethod
    def execute(
        cls,
        upscaled: torch.Tensor,
        settings: Settings,
        regenerated: torch.Tensor | None = None,
        loaded: Generation | None = None,
    ) -> io.NodeOutput:
        if not settings.denoise or regenerated is None or loaded is None:
            return io.NodeOutput(upscaled, settings.generation)
        height, width = upscaled.shape[1:3]
        return io.NodeOutput(regenerated[:, :height, :width, :3], loaded)
