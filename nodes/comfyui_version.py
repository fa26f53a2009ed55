"""Which ComfyUI the nodes need: an older one fails in the middle of their import, and says only which keyword."""

from __future__ import annotations

import importlib
import re

OLDEST = "0.27.0"
"""The oldest on which the tests of the nodes pass, and the main job makes the same pixels. pyproject.toml says it too."""


def check() -> None:
    """Raise ImportError where this is a ComfyUI that is known to be too old."""
    found = running_version()
    if found is not None and _numbers(found) < _numbers(OLDEST):
        raise ImportError(
            f"Distillery Upscale needs ComfyUI {OLDEST} or newer; this is ComfyUI {found}. Update ComfyUI (git pull and "
            "pip install -r requirements.txt in its folder, or its manager), and restart it."
        )


def running_version() -> str | None:
    """Return ComfyUI's own version; None where it does not tell."""
    try:
        found = importlib.import_module("comfyui_version").__version__
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, str) and _numbers(found) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
