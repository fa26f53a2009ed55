"""The nodes as ComfyUI shows them: thin classes over the modules of :mod:`distillery.nodes`."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .compare import Compare
from .hires_result import HiResResult
from .hires_tiles import HiResTiles
from .load_image import LoadImageRecall
from .load_models import LoadModels
from .load_ultrasharp import LoadUltraSharp
from .pad_image import PadImage
from .parameters import Parameters
from .power import Power
from .routes import add_routes
from .save import SaveImageRecord
from .sharpen import Sharpen
from .upscale_2x import Upscale2x

NODES: list[type[io.ComfyNode]] = [
    LoadImageRecall,
    Parameters,
    LoadUltraSharp,
    Upscale2x,
    LoadModels,
    HiResTiles,
    PadImage,
    HiResResult,
    Sharpen,
    SaveImageRecord,
    Compare,
    Power,
]


class DistilleryExtension(ComfyExtension):
    """Entry point that ComfyUI calls."""

    async def on_load(self) -> None:
        add_routes()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
