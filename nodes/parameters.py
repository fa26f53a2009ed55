"""The one table of `/upscale`'s parameters and of the standing defaults.

The command parser, the nodes, the driver's ``--help`` and the documentation all read it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .values import MAX_SEED

NEGATIVE_SUFFIX = "nsfw, worst quality, deformed, low quality, bad"
"""The suffix that Distillery puts behind every negative prompt. ``--neg`` replaces the user's part before it."""

HIRES_STEPS = 15
CFG = 6.0
MIN_SIDE = 64
"""Smallest side in pixels of an image that is upscaled: less than 8 latent cells carry no picture."""
OVERLAP = 128
"""Overlap of neighbouring HiRes tiles in pixels."""

MAX_PROMPT = 6000
"""Characters of a prompt that are encoded: 10,000 tripled the time of a job, 40,000 took 81 s, and what stands so far behind
moves nothing."""

SAMPLING = {"sd15": ("uni_pc", "karras"), "sdxl": ("euler_ancestral", "karras")}
"""Sampler and scheduler by model family, for images that do not name them."""
HIRES_TILE = {"sd15": 768, "sdxl": 1024}
"""Side of a HiRes tile in pixels by model family."""
DEFAULT_FAMILY = "sd15"

MINI_NAME = "distillery-mini.safetensors"
"""The built-in checkpoint, see :mod:`nodes.model_files.mini`."""


@dataclass(frozen=True)
class Parameter:
    """One ``--name value`` of the command line."""

    name: str
    kind: Literal["text", "int", "float", "choice"]
    meaning: str
    field: str
    """Attribute of :class:`.command.Command` that holds the value."""
    aliases: tuple[str, ...] = ()
    default: str = "the image's own"
    """In words, for help texts."""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    spellings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Other spellings of the choices."""
    advised: tuple[float, float] | None = None
    """Outside this range the value is accepted with ``advice`` as a warning."""
    advice: str = ""
    original: bool = True
    """False for what this project adds to Distillery's own parameters."""

    @property
    def accepts(self) -> str:
        """The accepted values in words."""
        if self.kind == "text":
            return "text up to the next --parameter"
        if self.kind == "choice":
            return f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
        number = "a whole number" if self.kind == "int" else "a number"
        high = "2^64-1" if self.maximum == MAX_SEED else f"{self.maximum:g}"
        return f"{number} from {self.minimum:g} to {high}"

    def advice_on(self, value: float) -> str | None:
        """The warning about a value outside the advised range."""
        if self.advised is None or self.advised[0] <= value <= self.advised[1]:
            return None
        return f"--{self.name} {value:g}: {self.advice}"


POWER = 0.3
SHARPEN = 0.3
KEEP = ("auto", "detail", "colours", "both", "nothing")
"""The parts of the enlarged picture that can be kept: see :mod:`.keep`."""

PARAMETERS: tuple[Parameter, ...] = (
    Parameter("neg", "text", "negative prompt", "negative", aliases=("negative_prompt",)),
    Parameter("seed", "int", "noise seed", "seed", minimum=0, maximum=MAX_SEED),
    Parameter(
        "cfg", "float", "classifier-free guidance", "cfg", minimum=1, maximum=30,
        default=f"the image's own ({CFG:g} where it has none)",
        advised=(3, 12), advice="the useful range is 3 to 12",
    ),
    Parameter(
        "power", "float", "denoise strength of the HiRes pass; 0 skips it", "power", minimum=0, maximum=1,
        default=f"{POWER:g}", advised=(0, 0.5), advice="above 0.5 expect hallucinations",
    ),
    Parameter(
        "sharpen", "float", "sharpening; 0 skips it", "sharpen", minimum=0, maximum=1, default=f"{SHARPEN:g}",
    ),
    Parameter("prompt", "text", "positive prompt", "prompt", aliases=("positive_prompt",), original=False),
    Parameter(
        "model", "text", "checkpoint to use instead of the image's own", "model",
        aliases=("checkpoint",), original=False,
    ),
    Parameter(
        "upscaler", "text", "upscale model to enlarge with", "upscaler", aliases=("upscale_model",),
        default="what the Load UltraSharp node says (4x-UltraSharp)", original=False,
    ),
    Parameter(
        "missing_lora", "choice", "what to do when a LoRA of the image is not installed", "missing_lora",
        default="what the Load Models node says (error)", choices=("error", "skip"), original=False,
    ),
    Parameter(
        "keep", "choice", "what of the enlarged picture is laid on the result: the detail that the VAE loses, the "
        "colours of areas, both or nothing", "keep",
        default="what the HiRes Result node says (auto: detail with the built-in checkpoint, else nothing)",
        choices=KEEP, spellings={"colors": "colours", "details": "detail", "none": "nothing"}, original=False,
    ),
)  # fmt: skip

BY_NAME: dict[str, Parameter] = {name: p for p in PARAMETERS for name in (p.name, *p.aliases)}
