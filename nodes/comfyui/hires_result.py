"""HiRes Result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io

from ..errors import DistilleryError
from ..finite import NotFiniteError, is_finite
from ..generation import Generation
from ..imaging.colour import keep_colours
from ..imaging.detail import keep_detail
from ..keep import AUTO, keep_for
from ..parameters import KEEP
from ..settings import COMMAND, DEFAULT, Settings, warnings_without_power
from ..tiling.vae import EITHER_NOT_FINITE
from .types import CATEGORY, NOT_CONNECTED, GenerationLink, SettingsLink


class HiResResult(io.ComfyNode):
    """The regenerated image at the exact size, or the upscaled one where there is no HiRes pass."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistilleryHiResResult",
            display_name="HiRes Result",
            category=CATEGORY,
            description="Takes the padding off the regenerated image, and lays on it what is to be kept of the upscaled "
            "one. With a denoise of 0 it passes the upscaled image on, and nothing of the HiRes pass is run: no "
            "checkpoint is loaded.",
            inputs=[
                io.Image.Input("upscaled", lazy=True, tooltip="The image from Upscale 2x; gives the exact size."),
                SettingsLink.Input("settings", tooltip="From Upscale Parameters; a denoise of 0 skips the HiRes pass."),
                io.Image.Input("regenerated", lazy=True, tooltip="The image from VAE Decode."),
                GenerationLink.Input("loaded", lazy=True, tooltip="The generation from Load Models."),
                io.Image.Input(
                    "copy",
                    lazy=True,
                    optional=True,
                    tooltip="The upscaled image after VAE Encode and VAE Decode, without the sampler between them. "
                    "Computed only where detail is kept.",
                ),
                io.Combo.Input(
                    "keep",
                    options=list(KEEP),
                    default=AUTO,
                    optional=True,
                    tooltip="What of the upscaled image is laid on the result. detail: the fine detail that the VAE "
                    "loses, where the pass did not change the image. colours: the colours of areas, for models that "
                    "shift them; undoes changes of colour that the prompt asks for. auto: detail with the built-in "
                    "checkpoint, else nothing. --keep in the command overrides it.",
                ),
            ],
            outputs=[io.Image.Output("image"), GenerationLink.Output("generation")],
        )

    @classmethod
    def check_lazy_status(
        cls,
        upscaled: Any = None,
        settings: Settings | None = None,
        regenerated: Any = None,
        loaded: Generation | None = None,
        copy: Any = NOT_CONNECTED,
        keep: str | bool = AUTO,
    ) -> list[str]:
        if settings is None or not settings.denoise:
            return [] if upscaled is not None else ["upscaled"]
        if loaded is None:
            return ["loaded"]  # first, so that a model that is missing or damaged is told before any work is done
        needed = {"upscaled": upscaled, "regenerated": regenerated}
        # Which checkpoint was loaded decides what auto keeps.
        wanted = keep_for(_choice(settings, keep), loaded.checkpoint).detail
        if wanted and copy is not NOT_CONNECTED:
            needed["copy"] = copy
        return [name for name, value in needed.items() if value is None]

    @classmethod
    def execute(
        cls,
        upscaled: torch.Tensor,
        settings: Settings,
        regenerated: torch.Tensor | None = None,
        loaded: Generation | None = None,
        copy: torch.Tensor | None = None,
        keep: str | bool = AUTO,
    ) -> io.NodeOutput:
        if not settings.denoise or regenerated is None or loaded is None:
            return io.NodeOutput(upscaled, settings.generation)
        height, width = upscaled.shape[1:3]
        image = regenerated[:, :height, :width, :3]
        if not is_finite(image):  # of a VAE that did not come through HiRes Tiles, which can tell more
            raise NotFiniteError(EITHER_NOT_FINITE)
        choice = _choice(settings, keep)
        kept = keep_for(choice, loaded.checkpoint)
        if kept.detail and copy is None and choice == AUTO:  # a workflow from before there was that input
            kept = replace(kept, detail=False)
        if kept.detail:
            if copy is None:
                raise DistilleryError(
                    f"keep {choice} needs the input copy of HiRes Result, which has no link. Link it with a VAE Decode "
                    "of the latent from VAE Encode (the one that the sampler is given), or choose keep: colours or nothing."
                )
            image = keep_detail(image, copy[:, :height, :width], upscaled)
        if kept.colours:
            image = keep_colours(image, upscaled)
        return io.NodeOutput(image, _as_used(loaded, settings, kept.name))

    @classmethod
    def validate_inputs(cls, keep: str | bool = AUTO) -> bool | str:
        # Saved workflows from before have the switch keep_colours in this place.
        if isinstance(keep, bool) or keep in KEEP:
            return True
        return f"keep takes {', '.join(KEEP)}, not {keep!r}"


MODELS = ("checkpoint", "checkpoint_hash", "vae", "vae_hash", "loras", "clip_skip")


def _choice(settings: Settings, keep: str | bool) -> str:
    """The command's choice, else the node's."""
    if isinstance(keep, bool):
        keep = "colours" if keep else AUTO
    return settings.keep or keep


def _as_used(loaded: Generation, settings: Settings, kept: str) -> Generation:
    """The models as they were loaded, all else as it was set: several results can share one Load Models."""
    used = settings.generation
    models = {name: getattr(loaded, name) for name in MODELS}
    places = {**used.fields, **{k: v for k, v in loaded.fields.items() if k in MODELS}}
    places["hires.keep"] = DEFAULT if settings.keep in (None, AUTO) else COMMAND
    # What Load Models was given may have been set with another power.
    about_models = warnings_without_power(loaded)
    hires = replace(used.hires, keep=kept)
    return replace(used, **models, hires=hires, fields=places).warn(*about_models)
