"""The values of a node whose widgets are not named, by their types and by the node's sockets.

The editor's workflow says of each socket which type it has. So what is only a row of values in a loader, a LoRA, a
text encoder, a sampler or a primitive can be told; whatever does not fit stays unnamed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..sampler_names import is_sampler, is_scheduler

_FILE = re.compile(r".{1,400}\.(?:safetensors|sft|ckpt|pth?|bin|gguf)", re.IGNORECASE | re.DOTALL)
_ENCODER = re.compile(r"CLIP(?!_VISION)|GLM|T5|GEMMA|LLM|TEXT_?ENCODER", re.IGNORECASE)
"""Types of sockets that take a text encoder."""
_CONTROL = ("fixed", "increment", "decrement", "randomize", "increment-wrap")
MIN_SEED = 100_000
"""A whole number from here on is a seed if nothing else is."""


def named_by_type(values: Sequence[Any], inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, Any]:
    """Return values by the names of known nodes' inputs. inputs, outputs: types of the node's sockets."""
    has, gives = set(inputs), set(outputs)
    found = _sampling(values)
    files = [value for value in values if isinstance(value, str) and _FILE.fullmatch(value)]
    texts = [value for value in values if isinstance(value, str)]
    if files and "MODEL" in gives and "MODEL" not in has:
        found.setdefault("ckpt_name" if {"CLIP", "VAE"} & gives else "unet_name", files[0])
    elif files and gives == {"VAE"}:
        found.setdefault("vae_name", files[0])
    elif files and gives == {"CLIP"} and "CLIP" not in has:
        found |= {f"clip_name{i}": file for i, file in enumerate(files[:4], 1)}
    elif len(files) == 1 and "MODEL" in gives and "MODEL" in has and _begins(values, files[0]):
        found |= _lora(values, values.index(files[0]), clip="CLIP" in gives)
    encoder = any(_ENCODER.search(kind) for kind in has)
    encodes = "CONDITIONING" in gives and encoder and "CONDITIONING" not in has and not files
    if encodes and len(texts) == 1 and texts[0].lower() not in ("true", "false"):
        found.setdefault("text", texts[0])
    if len(values) == 1 and len(gives) == 1 and not has and isinstance(values[0], str | int | float):
        only = values[0]
        fits = isinstance(only, str) if "STRING" in gives else not isinstance(only, str | bool)
        if fits and gives & {"STRING", "INT", "FLOAT"}:
            found.setdefault("value", only)
    return found


def _sampling(values: Sequence[Any]) -> dict[str, Any]:
    """Return the settings of a sampler: they stand around its name and the scheduler's."""
    at = next(
        (
            i for i in range(len(values) - 1)
            if isinstance(values[i], str) and isinstance(values[i + 1], str)
            and is_sampler(values[i]) and is_scheduler(values[i + 1])
        ),
        None,
    )  # fmt: skip
    if at is None:
        return {}
    found = {"sampler_name": values[at], "scheduler": values[at + 1]}
    steps, cfg = (values[at - 2], values[at - 1]) if at >= 2 else (0, 0)
    if (
        isinstance(steps, int)
        and not isinstance(steps, bool)
        and 0 < steps <= 1000
        and _number(cfg)
        and 0 <= cfg <= 100
    ):
        found |= {"steps": steps, "cfg": cfg}
    # Not 0, which is where a sampler of some of the steps begins.
    if at + 2 < len(values) and _number(values[at + 2]) and 0 < values[at + 2] <= 1:
        found["denoise"] = values[at + 2]
    whole = [i for i, v in enumerate(values) if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
    sure = [i for i in whole if i + 1 < len(values) and values[i + 1] in _CONTROL]
    large = [i for i in whole if values[i] >= MIN_SEED]
    seeds = sure or large
    if len(seeds) == 1:
        found["seed"] = values[seeds[0]]
    return found


def _lora(values: Sequence[Any], at: int, clip: bool) -> dict[str, Any]:
    """Return a LoRA and the one or two strengths behind it."""
    strengths = []
    for value in values[at + 1 :]:
        if not _number(value):
            break
        strengths.append(value)
    if len(strengths) not in (1, 2):
        return {}
    found = {"lora_name": values[at], "strength_model": strengths[0]}
    if clip:
        found["strength_clip"] = strengths[-1]
    return found


def _begins(values: Sequence[Any], file: str) -> bool:
    """Return True if a row begins as a LoRA's does; files of enlarging models end with .pth."""
    return isinstance(values[0], str) and not file.lower().endswith(".pth")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
