"""Warn of the settings of A1111's text that the HiRes pass ignores or handles differently."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...values import to_number
from ..builder import GenerationBuilder
from ..unread import warn_of_unread

_NOT_USED = {
    "a refiner": ("Refiner",),
    "ADetailer": ("ADetailer model",),
    "a ControlNet": ("ControlNet",),
    "Regional Prompter": ("RP Active",),
    "Forge Couple": ("forge_couple",),
    "Tiled Diffusion": ("Tiled Diffusion",),
    "Dynamic Thresholding": ("Dynamic thresholding enabled", "dynthres_enabled"),
    "FreeU": ("FreeU", "freeu_enabled"),
    "an IPAdapter": ("IPAdapter", "IP-Adapter"),
    "face restoration": ("Face restoration",),
    "a mask (inpainting)": ("Mask blur", "Masked content"),
    "a variation seed": ("Variation seed",),
    "a seed of another size": ("Seed resize from",),
    "styles": ("Styles",),
    "a hypernetwork": ("Hypernet",),
    "Perturbed Attention Guidance": ("pag_enabled", "PAG Active"),
}
"""Unused features by prefixes of their settings. Programs that expand styles have them in the prompt already."""
_DIFFERENT = {
    "ENSD": "ComfyUI has no such offset of the seed, so an ancestral sampler takes other noise",
    "Eta": "ComfyUI's samplers have an eta of 1",
}
_HARMLESS = re.compile(
    r"addnet .*|performance|raw prompt|raw negative prompt|metadata scheme|fooocus v2 expansion|steps|sampler|scheduler|schedule type|seed|size|cfg scale|distilled cfg scale|clip skip|denoising strength|"
    r"first pass size|model|vae|model hash|vae hash|hashes|(?:lora|ti|embedding|sd|model)[ _]?hashes|lora.*|embeddings|"
    r"version|app|backend|pipeline|parser|operations|user|batch size|batch pos|batch|index|time(?: taken)?|created date|date|"
    r"civitai resources|civitai metadata|rng|module \d{1,2}|template|negative template|wildcard.*|"
    r"text after the settings|ultimate sd upscale.*|hires .*|refine|comment|nsfw|type|filename|author|software|"
    r"copyright|width|height|url|save.*|eta|ensd|max tokens?|fp8 weight|cache fp16 weight for lora|diffusion in low bits|"
    r"guidance scale|inpaint area|sampler s(?:igma|chedule)|workflow|metadata.*|resources.*|base ?model|"
    r"sd ?version|image id|task id|engine.*|token count.*",
    re.IGNORECASE,
)
"""Settings that are kept, named elsewhere, or without effect on the picture."""


def _same_model(key: str, texts: Mapping[str, str]) -> bool:
    """Return True for a refiner that is the model itself."""
    model = texts.get("Model", "").lower()
    return key == "Refiner" and bool(model) and re.sub(r"\s*\[[0-9a-fA-F]*\]$", "", texts[key]).lower() == model


def warn_of_settings(builder: GenerationBuilder, texts: Mapping[str, str], settings: Mapping[str, Any]) -> None:
    """Warn of settings that the HiRes pass ignores or handles differently, and of those that nothing is known of."""
    named: set[str] = set()
    for what, keys in _NOT_USED.items():
        found = [key for key in texts if key.startswith(keys)]
        # The rest of what an extension or a script writes begins with the same word.
        words = tuple(key.split(" ")[0] for key in (*keys, *found)) if found else ()
        named.update(key for key in texts if words and key.startswith(words))
        if found and texts[found[0]].lower() not in ("false", "none", "") and not _same_model(found[0], texts):
            builder.warn(
                f"the image was made with {what} ({found[0]}: {texts[found[0]][:60]}), which the HiRes pass does not use"
            )
    for key, what in _DIFFERENT.items():
        value = texts.get(key, "")
        if value and to_number(value) != 0:
            builder.warn(f"the image was made with {key} {value[:20]}: {what}")
    warn_of_unread(
        builder, {key: value for key, value in settings.items() if key not in named and not _HARMLESS.fullmatch(key)}
    )
