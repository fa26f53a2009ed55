"""This pack's own record of a generation, as it stands in the images that it saves."""

from __future__ import annotations

import json
from dataclasses import replace

from .generation import Generation, to_dict
from .upscalers import UpscalerInfo

RECORD_KEY = "distillery"
"""Keyword of the PNG text chunk, and of the Save node's result."""
RECORD_VERSION = 1


def record_for(generation: Generation, upscaler: UpscalerInfo | None = None) -> str:
    """The record as JSON text: ``{"version": 1, "generation": {…}}``."""
    if upscaler is not None:
        generation = replace(
            generation,
            hires=replace(generation.hires, upscaler=upscaler.name),
            fields={**generation.fields, "hires.upscaler": "this upscale"},
        )
        if upscaler.notice:
            generation = generation.warn(upscaler.notice)
    data = {"version": RECORD_VERSION, "generation": to_dict(generation, carried=False)}
    return json.dumps(data, ensure_ascii=False, allow_nan=False)
