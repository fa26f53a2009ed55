"""This pack's own record of a generation, as it stands in the images that it saves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .generation import Generation, to_dict
from .model_files.names import match_name
from .settings import COMMAND
from .values import to_model_name

RECORD_KEY = "distillery"
"""Keyword of the PNG text chunk, and of the Save node's result."""
RECORD_VERSION = 1
RELAY = "copy_of_another_file"
"""Key that is true in the record of a mere copy: see :func:`record_for_copy`."""


@dataclass(frozen=True)
class UpscalerInfo:
    """The upscale model that a Load UltraSharp node gave."""

    name: str
    """File name."""
    notice: str | None = None
    """A warning for the user, such as that a stand-in was used."""


def record_for(generation: Generation, upscaler: UpscalerInfo | None = None) -> str:
    """Write the record as JSON text: ``{"version": 1, "generation": {…}}``."""
    if upscaler is not None:
        asked = generation.hires.upscaler if generation.fields.get("hires.upscaler") == COMMAND else None
        if asked is not None and match_name(asked, [upscaler.name]) is None:
            generation = generation.warn(
                f"--upscaler {asked}: this graph enlarged with {upscaler.name}; choose the model in its Load UltraSharp node"
            )
        generation = replace(
            generation,
            hires=replace(generation.hires, upscaler=upscaler.name),
            fields={**generation.fields, "hires.upscaler": "this upscale"},
        )
        if upscaler.notice:
            generation = generation.warn(upscaler.notice)
    return _text({"version": RECORD_VERSION}, generation)


def record_for_copy(generation: Generation) -> str:
    """Write the record for a clean copy of a file whose generation was recalled.

    Whoever reads the copy gets this very generation (``carried`` apart): origin, places and warnings are those of
    the original file, and nothing claims that this pack made the picture.
    """
    return _text({"version": RECORD_VERSION, RELAY: True}, generation)


def _without_folders(generation: Generation) -> Generation:
    """The generation with names of models that name no folder of the user's: whoever gets the picture reads them."""

    def short(name: str | None) -> str | None:
        return to_model_name(name) if name else name

    return replace(
        generation,
        checkpoint=short(generation.checkpoint),
        vae=short(generation.vae),
        loras=tuple(replace(lora, name=short(lora.name) or lora.name) for lora in generation.loras),
        hires=replace(generation.hires, upscaler=short(generation.hires.upscaler)),
    )


def _text(head: Mapping[str, Any], generation: Generation) -> str:
    data = {**head, "generation": to_dict(_without_folders(generation), carried=False)}
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    # Halves of surrogate pairs, which untrusted input can hold, cannot be written.
    return text.encode("utf-8", "replace").decode("utf-8")
