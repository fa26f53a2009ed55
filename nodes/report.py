"""A generation as rows of text: every field, for a terminal. For the nodes see :mod:`.summary`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .generation import Generation, Lora
from .model_parts import Parts, patch_text

FIELDS = (
    "origin", "positive", "negative", "seed", "cfg", "steps", "sampler", "scheduler", "denoise", "guidance", "checkpoint",
    "checkpoint_hash", "parts", "patches", "vae", "vae_hash", "loras", "clip_skip", "width", "height", "hires.steps", "hires.denoise", "hires.tile", "hires.scale",
    "hires.upscaler", "hires.keep", "family", "sharpen",
)  # fmt: skip
"""In the order in which they are shown."""

_ONLY_WHERE_KNOWN = {"guidance", "checkpoint_hash", "vae_hash", "parts", "patches"}
"""Fields that most images cannot have: no row says that they are missing."""

NO_DATA = "No generation data. To upscale it give --prompt and --model, or --power 0."

Row = tuple[str, str, str]
"""Field, value and where it came from; value and place are empty where the image does not tell."""


def as_rows(generation: Generation) -> list[Row]:
    """Every field of a generation, one row each and one for each LoRA."""
    rows: list[Row] = []
    for name in FIELDS:
        where = generation.fields.get(name, "")
        if name == "loras":
            for i, lora in enumerate(generation.loras, 1):
                rows.append((f"lora {i}", _lora(lora), where))
            if not generation.loras:
                rows.append(("loras", "none" if where else "", where))
            continue
        if name == "patches":
            rows += [("patch", patch_text(patch), where) for patch in generation.patches]
            continue
        holder: Any = generation
        for part in name.split("."):
            holder = getattr(holder, part)
        value = _text(holder)
        if not value and name in _ONLY_WHERE_KNOWN:
            continue
        if name == "vae" and holder is None and where:
            value = "the checkpoint's own"
        rows.append((name, value, where))
    return rows


def carried_rows(generation: Generation) -> list[tuple[str, str]]:
    """What else the image carries, nested names joined by dots: what Distillery's /checkmetadata prints."""
    return list(_flat("", generation.carried))


def _lora(lora: Lora) -> str:
    digest = f", hash {lora.hash}" if lora.hash else ""
    return f"{lora.name} (model {lora.strength_model:g}, clip {lora.strength_clip:g}{digest})"


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), item)
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for i, item in enumerate(value, 1):
            yield from _flat(f"{name}.{i}", item)
    elif isinstance(value, list):
        yield name, ", ".join(map(_text, value))
    else:
        yield name, _text(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Parts):
        named = [f"type {value.type}"] * bool(value.type) + [f"dtype {value.dtype}"] * bool(value.dtype)
        return "; ".join([", ".join(value.encoders) or "text encoders not named", *named])
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
