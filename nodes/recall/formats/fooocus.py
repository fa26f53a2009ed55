"""Fooocus: JSON or A1111's text in ``parameters``; the text ``fooocus_scheme`` says which.

Fooocus makes images with SDXL models only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...generation import Generation
from ..builder import GenerationBuilder, shown
from ..containers.texts import TextChunks
from ..unread import warn_of_unread
from . import a1111

ORIGIN = "fooocus"
KEY = "parameters"
SCHEME = "fooocus_scheme"

_FIELDS = {
    # Keys since 2.2, and the labels that older versions and logs have instead.
    "seed": ("seed", "Seed"),
    "steps": ("steps", "Steps"),
    "cfg": ("guidance_scale", "Guidance Scale"),
    "checkpoint": ("base_model", "Base Model"),
    "checkpoint_hash": ("base_model_hash",),
    "clip_skip": ("clip_skip", "CLIP Skip"),
}
_SAMPLING = ("sampler", "scheduler")
_PROMPTS = {
    "positive": ("full_prompt", "prompt", "Prompt"),
    "negative": ("full_negative_prompt", "negative_prompt", "Negative Prompt"),
}
_SIZE = re.compile(r"\D{0,3}(\d{1,6})\D{1,3}(\d{1,6})\D{0,3}", re.ASCII)
_LORA = re.compile(r"(?:lora_combined_|LoRA )(\d{1,3})", re.ASCII)
_KNOWN = re.compile(
    r"(?:full_|raw_|original_)?(?:negative_)?prompts?|prompt_expansion|seed|steps|guidance_scale|sampler|scheduler|base_model(?:_hash)?|"
    r"clip_skip|resolution|vae|loras?|lora_combined_\d+|lora \d+|refiner_\w+|styles|performance|version|metadata_scheme|created_by|"
    r"inpaint_\w+|freeu|(?:raw |original )?(?:negative )?prompt|fooocus v\d expansion|guidance scale|base model(?: hash)?|clip skip|"
    r"refiner \w+|user|date|image_number|software",
    re.IGNORECASE,
)
"""Parts of the record that are kept, named elsewhere, or without effect on the picture."""
_FAMILY = "Fooocus runs SDXL only"


def read(chunks: TextChunks) -> Generation | None:
    """Read the record in either of its schemes."""
    if not chunks.looks_like_json(KEY):
        return _read_a1111(chunks)
    data = chunks.json_object(KEY)
    if data is None or not _is_fooocus(chunks, data):
        return None
    builder = GenerationBuilder()
    for name, keys in _FIELDS.items():
        for key in keys:
            builder.set(name, data.get(key), place(key))
    sampler, scheduler = (next((key for key in (name, name.title()) if key in data), name) for name in _SAMPLING)
    builder.set_sampling(data.get(sampler), data.get(scheduler), place(sampler), place(scheduler))
    for name, keys in _PROMPTS.items():
        for key in keys:
            builder.set(name, _prompt(data.get(key)), place(key))
    for key in ("resolution", "Resolution"):
        if match := _SIZE.fullmatch(str(data.get(key, ""))):
            builder.set("width", match[1], place(key))
            builder.set("height", match[2], place(key))
    vae = data.get("vae", data.get("VAE"))
    if isinstance(vae, str) and not vae.startswith("Default") and vae not in ("", "None"):
        builder.set("vae", vae, place("vae"))
    else:
        builder.set_known_none("vae", f"{place('vae')}: the checkpoint's own")
    _set_loras(builder, data)
    builder.set("family", "sdxl", _FAMILY)
    refiner = data.get("refiner_model", data.get("Refiner Model"))
    if refiner not in (None, "", "None", builder.get("checkpoint")):
        builder.warn(f"the image was made with a refiner ({shown(refiner)}), which the HiRes pass does not use")
    styles = data.get("styles", data.get("Styles"))
    if isinstance(data.get("full_prompt"), list) and len(data["full_prompt"]) > 1:
        builder.warn("Fooocus reads the prompt and each of its styles by itself: they are joined by commas")
    elif "full_prompt" not in data and styles not in (None, "", "[]", []):
        builder.warn(f"the image was made with the styles {shown(styles)}, whose words it does not tell")
    _warn(builder, data.get("inpaint_method"), data.get("freeu"))
    warn_of_unread(builder, {key: value for key, value in data.items() if not _KNOWN.fullmatch(key)})
    builder.carried[KEY] = data
    return builder.build(ORIGIN)


def _read_a1111(chunks: TextChunks) -> Generation | None:
    text = chunks.get(KEY, "")
    if chunks.get(SCHEME) != "a1111" and "Version: Fooocus" not in text[-2000:]:
        return None
    builder = a1111.collect(chunks)
    if builder is None:
        return None
    builder.set("family", "sdxl", _FAMILY)
    return builder.build(ORIGIN)


def _is_fooocus(chunks: TextChunks, data: Mapping[str, Any]) -> bool:
    return (
        chunks.get(SCHEME) == "fooocus"
        or data.get("metadata_scheme") == "fooocus"
        or str(data.get("version", data.get("Version", ""))).startswith("Fooocus")
        or ("base_model" in data and "guidance_scale" in data)
        or ("Base Model" in data and "Guidance Scale" in data)
    )


def _prompt(value: Any) -> Any:
    """Return a prompt as one text; with styles Fooocus writes a list."""
    if isinstance(value, list):
        return ", ".join(text.strip() for text in value if isinstance(text, str) and text.strip())
    return value


def _set_loras(builder: GenerationBuilder, data: Mapping[str, Any]) -> None:
    entries: list[tuple[Any, Any, Any, str]] = []
    hashes: dict[str, Any] = {}
    loras = data.get("loras")
    if isinstance(loras, list):
        for i, lora in enumerate(loras[:100]):
            if isinstance(lora, list) and len(lora) >= 2:
                entries.append((lora[0], lora[1], lora[1], place(f"loras[{i}]")))
                if len(lora) > 2 and isinstance(lora[0], str):
                    hashes[lora[0]] = lora[2]
            else:
                builder.warn(f"{place(f'loras[{i}]')} is no LoRA and is left out: {shown(lora)}")
    else:
        for key, value in data.items():
            if _LORA.fullmatch(key) and isinstance(value, str):
                parts = [part.strip() for part in value.split(" : ")]
                if len(parts) == 3 and parts.pop(0) != "True":
                    continue  # turned off
                name, weight = parts if len(parts) == 2 else (value, None)
                if name != "None":
                    entries.append((name, weight, weight, place(key)))
    builder.set_loras(entries, f"{KEY} without LoRAs", hashes)


def _warn(builder: GenerationBuilder, inpainting: Any, freeu: Any) -> None:
    for value, what in ((inpainting, "inpainting"), (freeu, "FreeU")):
        if value not in (None, "", "None"):
            builder.warn(f"the image was made with {what}, which the HiRes pass does not use")


def place(key: str) -> str:
    """Provenance of a value, for ``fields``."""
    return f"{KEY}.{key}"
