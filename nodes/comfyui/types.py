"""The link types that only this pack's nodes exchange."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

CATEGORY = "Distillery"

GenerationLink = io.Custom("DISTILLERY_GENERATION")
"""A :class:`..generation.Generation`."""

SettingsLink = io.Custom("DISTILLERY_SETTINGS")
"""A :class:`..settings.Settings`: the generation as it will be used, and how."""

UpscalerInfoLink = io.Custom("DISTILLERY_UPSCALER_INFO")
"""A :class:`..record.UpscalerInfo`."""

NOT_CONNECTED: Any = object()
"""ComfyUI passes None for a lazy input that is not yet computed, and nothing for one without a link."""
