"""Power."""

from __future__ import annotations

from comfy_api.latest import io

from ..parameters import POWER
from ..settings import Settings, with_power
from .types import CATEGORY, SettingsLink


class Power(io.ComfyNode):
    """Another power for the same settings, to compare several in one graph."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistilleryPower",
            display_name="Power",
            category=CATEGORY,
            description="Takes everything from Upscale Parameters but the power of the HiRes pass, so that one graph "
            "can compare several powers while the enlargement and the models are shared.",
            search_aliases=["denoise", "strength", "distillery"],
            inputs=[
                SettingsLink.Input("settings", tooltip="From Upscale Parameters."),
                io.Float.Input(
                    "power", default=POWER, min=0, max=1, step=0.05, display_mode=io.NumberDisplay.slider,
                    tooltip="How much of the image is regenerated. 0: nothing; 0.3: the usual; above 0.5 expect "
                    "hallucinations. A --power in the command does not count here.",
                ),
            ],
            outputs=[
                io.Float.Output("denoise", tooltip="For the sampler."),
                SettingsLink.Output("settings", tooltip="For HiRes Result."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, settings: Settings, power: float) -> io.NodeOutput:
        return io.NodeOutput(power, with_power(settings, power))
