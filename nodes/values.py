"""Check recalled values, which are untrusted input: types and ranges."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

MAX_SEED = 2**64 - 1
MAX_NAME = 1000
"""Characters of a file, sampler or scheduler name: more than any file system takes."""

_NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_ABSOLUTE = re.compile(r"[A-Za-z]:[/\\]|[/\\]|~[/\\]|file:|.*(?:^|[/\\])\.\.[/\\]", re.DOTALL)
_MODEL_FOLDERS = frozenset(
    [
        "checkpoints",
        "stable-diffusion",
        "stablediffusion",
        "unet",
        "diffusion_models",
        "text_encoders",
        "clip",
        "lora",
        "loras",
        "lycoris",
        "vae",
        "vaes",
        "esrgan",
        "realesrgan",
        "upscale_models",
        "upscalers",
    ]
)
"""Folders of models in ComfyUI, A1111, Forge, SwarmUI and Fooocus, in lower case."""
_HASH = re.compile(r"[0-9a-f]{8,64}", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,40}", re.ASCII)


def to_number(value: Any) -> float | None:
    """A finite number from JSON, where Distillery writes numbers as strings too; else ``None``."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def to_integer(value: Any) -> int | None:
    """A whole number, exact beyond 2^53 where the file has it as an integer; else ``None``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    number = to_number(value)
    return int(number) if number is not None and number.is_integer() else None


def to_text(value: Any) -> str | None:
    """A text; empty counts."""
    return value if isinstance(value, str) else None


def to_name(value: Any) -> str | None:
    name = value.strip() if isinstance(value, str) else ""
    return name if 0 < len(name) <= MAX_NAME else None


def to_model_name(value: Any) -> str | None:
    """Name of a model file, without the folders of somebody's computer.

    Programs write ``C:\\Users\\NAME\\models\\Lora\\styles\\x.safetensors`` too. What stands below a folder of models is kept, as it
    tells files of one name apart (``styles\\x.safetensors``); where there is no such folder, the file's own name. A name
    that is relative already is left as it is.
    """
    name = to_name(value)
    if name is None or not _ABSOLUTE.match(name):
        return name
    parts = [part for part in map(str.strip, re.split(r"[/\\]+", name)) if part not in ("", ".")]
    if not parts:
        return None
    *folders, file = parts
    names = [folder.lower() for folder in folders]
    start = max((i + 1 for i, folder in enumerate(names) if folder in _MODEL_FOLDERS), default=0)
    if not start:
        start = max((i + 1 for i, folder in enumerate(names) if folder == "models"), default=len(folders))
    kept = [] if ".." in folders[start:] else folders[start:]
    short = ("\\" if "\\" in name else "/").join([*kept, file])
    # Of a name with the letter of a drive inside, another one is left; what is recorded is read back as it is.
    return short if not _ABSOLUTE.match(short) else to_model_name(short) if short != name else None


def to_hash(value: Any) -> str | None:
    """A hash of a file, lower-case hexadecimal, or its beginning: 8 to 64 digits (``0x`` before them is dropped)."""
    if not isinstance(value, str):
        return None
    text = value.strip().lower().removeprefix("0x")
    return text if _HASH.fullmatch(text) else None


def _family(value: Any) -> str | None:
    return _FAMILIES.get(value.strip().lower()) if isinstance(value, str) else None


FAMILIES = (
    "sd15", "sdxl", "sd3", "flux", "flux2", "chroma", "qwen_image", "z_image", "lumina2", "hidream", "auraflow",
)  # fmt: skip
"""Model families that are told apart."""
_FAMILIES = {**{name: name for name in FAMILIES}, "sd1.5": "sd15", "sd1": "sd15", "xl": "sdxl"}


def _keep(value: Any) -> str | None:
    return value if value in ("detail", "colours", "both", "nothing") else None


def whole(low: int, high: int) -> Callable[[Any], int | None]:
    """A check for whole numbers within bounds."""

    def check(value: Any) -> int | None:
        number = to_integer(value)
        return number if number is not None and low <= number <= high else None

    return check


def real(low: float, high: float) -> Callable[[Any], float | None]:
    """A check for numbers within bounds."""

    def check(value: Any) -> float | None:
        number = to_number(value)
        return number if number is not None and low <= number <= high else None

    return check


# The ranges are those of ComfyUI's own nodes: what they refuse is not worth recalling.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "positive": to_text,
    "negative": to_text,
    "seed": whole(0, MAX_SEED),
    "cfg": real(0, 100),
    "steps": whole(1, 10_000),
    "sampler": to_name,
    "scheduler": to_name,
    "denoise": real(0, 1),
    "guidance": real(0, 100),
    "checkpoint": to_model_name,
    "checkpoint_hash": to_hash,
    "vae": to_model_name,
    "vae_hash": to_hash,
    "clip_skip": whole(1, 24),
    "width": whole(1, 100_000),
    "height": whole(1, 100_000),
    "family": _family,
    "sharpen": real(0, 1),
    "hires.steps": whole(1, 10_000),
    "hires.denoise": real(0, 1),
    "hires.tile": whole(64, 16_384),
    "hires.scale": real(0.05, 64),
    "hires.upscaler": to_model_name,
    "hires.keep": _keep,
}
STRENGTH = real(-100, 100)
"""Check of a LoRA's strength, on the model or on the text encoder."""
