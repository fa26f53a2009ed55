"""Parameters."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io

from ..command import CommandError, parse_command
from ..generation import Generation
from ..parameters import PARAMETERS
from ..settings import settings_for
from ..values import MAX_SEED
from .types import CATEGORY, GenerationLink, SettingsLink

assert MAX_SEED == 0xFFFFFFFFFFFFFFFF  # KSampler's own limit


class Parameters(io.ComfyNode):
    """The command over the recalled generation over the defaults."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        lines = "\n".join(f"--{p.name}: {p.meaning}; {p.accepts}; default {p.default}" for p in PARAMETERS)
        return io.Schema(
            node_id="DistilleryParameters",
            display_name="Upscale Parameters",
            category=CATEGORY,
            description="Lays the command over what was recalled from the image, over Distillery's defaults, and "
            "gives the sampler and the text encoders what they need.",
            search_aliases=["distillery", "upscale", "power", "command"],
            inputs=[
                GenerationLink.Input("generation", tooltip="What was recalled from the image."),
                io.String.Input(
                    "command",
                    default="",
                    multiline=True,
                    placeholder="--power 0.3 --sharpen 0.3",
                    tooltip=f"Leave it empty to keep everything as it was. Example: --power 0.2 --neg night\n{lines}",
                ),
            ],
            outputs=[
                SettingsLink.Output("settings", tooltip="All of it, for Load Models and HiRes Result."),
                io.String.Output("positive", tooltip="Positive prompt."),
                io.String.Output("negative", tooltip="Negative prompt."),
                io.Int.Output("seed", tooltip="Noise seed."),
                io.Int.Output("steps", tooltip="Steps of the HiRes pass."),
                io.Float.Output("cfg", tooltip="Classifier-free guidance."),
                # Any type: KSampler's inputs are typed by their list of choices, which no V3 output can name.
                io.AnyType.Output("sampler_name", display_name="sampler_name", tooltip="Sampler."),
                io.AnyType.Output("scheduler", display_name="scheduler", tooltip="Scheduler."),
                io.Float.Output("denoise", tooltip="Denoise of the HiRes pass: --power."),
                io.Float.Output("sharpen", tooltip="Strength of the sharpening."),
            ],
        )

    @classmethod
    def execute(cls, generation: Generation, command: str) -> io.NodeOutput:
        s = settings_for(
            generation,
            parse_command(command),
            samplers=comfy.samplers.KSampler.SAMPLERS,
            schedulers=comfy.samplers.KSampler.SCHEDULERS,
        )
        return io.NodeOutput(
            s,
            s.positive,
            s.negative,
            s.seed,
            s.steps,
            s.cfg,
            s.sampler,
            s.scheduler,
            s.denoise,
            s.sharpen,
        )

    @classmethod
    def validate_inputs(cls, command: str = "") -> bool | str:
        # Before anything is queued, so that a typing error does not cost a minute.
        try:
            parse_command(command)
        except CommandError as error:
            return str(error)
        return True
