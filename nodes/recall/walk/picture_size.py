"""The size of the picture or latent at a node, as far as the graph tells it."""

from __future__ import annotations

import re
from collections.abc import Callable

from ...values import to_integer, to_number
from ..graph.nodes import Node
from ..graph.shapes import named, same_names
from ..graph.value_nodes import preset_size
from .reader import GraphReader

CELL = 8
"""Side of a latent cell in pixels."""
MAX_DEPTH = 200
"""Number of nodes in a row that are looked at."""
_PRESET = re.compile(r"(?:\w{1,20}_)?(?:aspect|aspect_ratio|resolution|dimensions|preset|ratio)", re.ASCII)
"""Inputs that show that a node's size is a preset: its name may tell which."""
_CUSTOM = re.compile(r"custom|自定义", re.IGNORECASE)
"""Names of the preset that leaves the size to the numbers beside it."""
_TURNED = re.compile(r"swap|invert|orientation|portrait|landscape|flip", re.ASCII)
"""Inputs that may turn a preset."""

_KEEP = {
    "VAEDecode", "VAEDecodeTiled", "VAEEncode", "VAEEncodeTiled", "VAEEncodeForInpaint", "SetLatentNoiseMask",
    "RepeatLatentBatch", "LatentFromBatch", "InpaintModelConditioning", "SaveImage", "PreviewImage", "ImageSharpen",
    "ImageBlur", "ImageQuantize", "ImageInvert", "ImageFromBatch", "RepeatImageBatch", "LatentComposite", "KSampler",
    "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced", "UltimateSDUpscaleNoUpscale", "CR Latent Batch Size",
    "RemoveLatentMask+",
}  # fmt: skip
"""Nodes whose picture has the size of the one that comes in."""
_BY = {"LatentUpscaleBy": "scale_by", "ImageScaleBy": "scale_by", "UltimateSDUpscale": "upscale_by"}
"""Nodes that enlarge, and the input with the factor."""
_TO = {"LatentUpscale", "ImageScale"}
"""Nodes that bring a picture to a size; 0 keeps the proportions."""

Size = tuple[int, int]
Sources = Callable[[Node], list[Node]]
"""Returns the nodes that a node's picture comes from."""


def picture_size(reader: GraphReader, sources: Sources, node: Node) -> Size | None:
    """Return width and height of a node's picture, in pixels; ``None`` if the graph does not tell."""
    steps: list[Node] = []
    size: Size | None = None
    while len(steps) < MAX_DEPTH:
        size = _own_size(reader, node, bool(sources(node)))
        if size is not None and 0 not in size:
            break
        steps.append(node)
        if node.class_type not in _KEEP and node.class_type not in _BY and node.class_type not in _TO:
            return None
        found = sources(node)
        if not found or found[0] in steps:
            return None
        node = found[0]
    for step in reversed(steps):
        if size is None:
            return None
        size = _after(reader, step, size)
    return size


def own_size_inputs(node: Node) -> tuple[str, str] | None:
    """Return the inputs with the size of a picture that a node makes."""
    width, height = named(node, *same_names("width")), named(node, *same_names("height"))
    return (width, height) if width and height else None


def _own_size(reader: GraphReader, node: Node, has_source: bool) -> Size | None:
    names = own_size_inputs(node)
    if names is None or (has_source and node.class_type not in _TO):
        return None
    presets = [name for name in node.inputs if _PRESET.fullmatch(name.lower())]
    presets = [name for name in presets if "latent" in name.lower()] or presets
    told = reader.graph.value(node, presets[0]) if len(presets) == 1 else None
    if presets and not (isinstance(told, str) and _CUSTOM.search(told)):
        turned = any(_TURNED.search(name.lower()) for name in node.inputs)
        return None if turned else preset_size(told)
    width, height = (to_integer(reader.graph.value(node, name)) for name in names)
    return None if width is None or height is None or width < 0 or height < 0 else (width, height)


def _after(reader: GraphReader, node: Node, size: Size) -> Size | None:
    """Return the size behind a node from the size before it."""
    wide, high = size
    if node.class_type in _TO:
        own = _own_size(reader, node, True)
        if own is None or own == (0, 0):
            return None if own is None else size
        return (own[0] or round(wide * own[1] / high), own[1] or round(high * own[0] / wide)) if wide and high else None
    by = _BY.get(node.class_type) or (
        "upscale_by" if node.composite is not None and "upscale_by" in node.inputs else None
    )
    if by is None:
        return size
    scale = to_number(reader.graph.value(node, by))
    if scale is None or not 0 < scale <= 64:
        return None
    unit = CELL if node.class_type.startswith("Latent") else 1
    return round(wide // unit * scale) * unit, round(high // unit * scale) * unit
