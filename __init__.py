"""Distillery Upscale: a ComfyUI node pack. ComfyUI calls :func:`comfy_entrypoint`.

The same folder is the Python package ``distillery`` when installed by pip; its driver is
``distillery.driver``. Nothing of ComfyUI is imported before ComfyUI asks for the nodes.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """The extension with this pack's nodes (ComfyUI's V3 entry point)."""
    from .nodes.comfyui import DistilleryExtension

    return DistilleryExtension()


__all__ = ["WEB_DIRECTORY", "__version__", "comfy_entrypoint"]
