"""Distillery Upscale: a ComfyUI node pack. ComfyUI calls :func:`comfy_entrypoint`.

The same folder is the Python package ``distillery`` when installed by pip; its driver is
``distillery.driver``. Nothing of ComfyUI is imported before ComfyUI asks for the nodes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

WEB_DIRECTORY = "./web"


def _version() -> str:
    """Return the version that pyproject.toml states: there ComfyUI's manager and registry look for it too."""
    try:
        text = Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8")
    except OSError:  # installed as a package, which comes without that file
        from importlib.metadata import version

        return version("distillery-upscale")
    match = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    return match[1] if match else "unknown"


__version__ = _version()


async def comfy_entrypoint() -> Any:
    """Return the extension with this pack's nodes (ComfyUI's V3 entry point).

    Raises ImportError where this ComfyUI is older than what the nodes need.
    """
    from .nodes.comfyui_version import check

    check()
    from .nodes.comfyui import DistilleryExtension

    return DistilleryExtension()


__all__ = ["WEB_DIRECTORY", "__version__", "comfy_entrypoint"]
