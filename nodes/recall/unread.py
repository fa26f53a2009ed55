"""Warn of settings that change a picture and are not kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..texts import shorten
from .builder import GenerationBuilder

MAX_NAMED = 12
"""Number of settings that a warning names."""
_OFF = (
    "",
    "false",
    "none",
    "off",
    "no",
    "null",
    "disabled",
    "default",
    "automatic",
    "auto",
    "undefined",
    "0",
    "0.0",
    "[]",
    "{}",
)


def is_off(value: Any) -> bool:
    """Return True for a value that means that a setting has no effect."""
    if value is None or value is False:
        return True
    if isinstance(value, int | float):
        return value == 0
    if isinstance(value, str):
        text = value.strip().lower()
        return text in _OFF or text.strip("0.") == ""
    return isinstance(value, list | Mapping) and not value


def warn_of_unread(builder: GenerationBuilder, settings: Mapping[str, Any]) -> None:
    """Name settings that are neither kept nor known to be without effect, in one warning."""
    found = [f"{shorten(key, 40)}: {_shown(value)}" for key, value in settings.items() if not is_off(value)]
    if found:
        more = ", …" if len(found) > MAX_NAMED else ""
        builder.warn(f"the image was made with settings that are not kept: {', '.join(found[:MAX_NAMED])}{more}")


def _shown(value: Any) -> str:
    return (
        shorten(value if isinstance(value, str) else repr(value), 40) if not isinstance(value, list | Mapping) else "…"
    )
