"""HiRes Tiles."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..parameters import HIRES_TILE, OVERLAP
from ..tiling.model import auto_tile, tile_model
from ..tiling.vae import UNTILED, TiledVAE
from .types import CATEGORY

AUTO, CUSTOM, OFF = "auto", "custom", "off"


class HiResTiles(io.ComfyNode):
    """Patches a model, and wraps a VAE, so that they work on a large canvas tile by tile."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistilleryHiResTiles",
            display_name="HiRes Tiles",
            category=CATEGORY,
            description="Every denoising step runs over overlapping tiles of the canvas and blends them: one noise "
            "canvas, no seams to fix. Large canvases are encoded and decoded in one blended sweep.",
            search_aliases=["tiled diffusion", "multidiffusion", "ultimate sd upscale"],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model, with its LoRAs."),
                io.Vae.Input("vae", tooltip="The VAE."),
                io.Combo.Input(
                    "tiling",
                    options=[AUTO, CUSTOM, OFF],
                    default=AUTO,
                    tooltip=f"auto: {HIRES_TILE['sd15']} pixels for SD 1.5, {HIRES_TILE['sdxl']} for SDXL and newer models. "
                    "custom: the sizes below. off: the whole canvas at once, for GPUs with much memory.",
                ),
                io.Int.Input(
                    "tile_size", default=HIRES_TILE["sd15"], min=256, max=4096, step=64, advanced=True,
                    tooltip="Side of a tile in pixels, with custom tiling. What fits in one tile is not tiled.",
                ),
                io.Int.Input(
                    "overlap", default=OVERLAP, min=0, max=1024, step=8, advanced=True,
                    tooltip="How many pixels neighbouring tiles share, at least, with custom tiling.",
                ),
            ],
            outputs=[io.Model.Output("model"), io.Vae.Output("vae")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, vae: Any, tiling: str, tile_size: int, overlap: int) -> io.NodeOutput:
        if tiling == OFF:
            return io.NodeOutput(model, TiledVAE(vae, whole=UNTILED))  # which looks for NaN
        if tiling == AUTO:
            tile_size, overlap = auto_tile(model), OVERLAP
        return io.NodeOutput(tile_model(model, tile_size, overlap), TiledVAE(vae))
