"""HiRes Result."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfy_api.latest import io

from ..colour import keep_colours as with_colours_of
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
                io.Boolean.Input(
                    "keep_colours",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Colours and brightness of areas from the upscaled image, detail from the regenerated one. "
                    "For models that shift colours; undoes changes of colour that the prompt asks for.",
                ),
            ],
            outputs=[io.Image.Output("image"), GenerationLink.Output("generation")],
        )

    @classmethod
    def check_lazy_status(
        cls, upscaled=None, settings: Settings | None = None, regenerated=None, loaded=None, keep_colours=False
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
        keep_colours: bool = False,
    ) -> io.NodeOutput:
        if not settings.denoise or regenerated is None or loaded is None:
            return io.NodeOutput(upscaled, settings.generation)
        height, width = upscaled.shape[1:3]
        image = regenerated[:, :height, :width, :3]
        if keep_colours:
            image = with_colours_of(image, upscaled)
        return io.NodeOutput(image, _as_used(loaded, settings.generation))


MODELS = ("checkpoint", "checkpoint_hash", "vae", "vae_hash", "loras", "clip_skip")


def _as_used(loaded: Generation, settings: Generation) -> Generation:
    """The models as they were loaded, all else as it was set: several results can share one Load Models."""
    models = {name: getattr(loaded, name) for name in MODELS}
    places = {**settings.fields, **{k: v for k, v in loaded.fields.items() if k in MODELS}}
    # What Load Models was given may have been set with another power.
    about_models = (w for w in loaded.warnings if not w.startswith("--power "))
    return replace(settings, **models, fields=places).warn(*about_models)
