"""Samplers of unknown classes: taken for ComfyUI's own where the names of their inputs show them to be samplers."""

from __future__ import annotations

import re
from typing import Any

from ...values import to_number
from ..graph.nodes import Link, Node, plain, to_link
from ..graph.passthrough import UNPACKED
from ..graph.shapes import named, pipes, same_names
from .reader import GraphReader
from .samplers import PLAIN_SAMPLERS, TILED_UPSCALERS

_REGIONAL = re.compile(r"detail|segs|inpaint|provider|face|hand|unsampl|schedul|sigma|noise|guider", re.IGNORECASE)
"""Classes that sample parts of a picture alone, or only set up a sampler."""
_REGIONAL_INPUTS = {"segs", "bbox_detector", "guide_size", "detailer_pipe"}
_NAMES = {
    "seed": (*same_names("seed"), "main_seed"),
    "steps": same_names("steps"),
    "cfg": (*same_names("cfg"), "true_gs"),
    "sampler_name": same_names("sampler_name"),
    "scheduler": same_names("scheduler"),
    "denoise": same_names("denoise"),
    "model": same_names("model"),
    "positive": same_names("positive"),
    "negative": same_names("negative"),
    "latent_image": (*same_names("latent_image"), *same_names("image")),
    "vae": same_names("vae"),
}
"""KSampler's inputs, and what they are called elsewhere."""
_ADVANCED = ("add_noise", "start_at_step", "end_at_step", "return_with_leftover_noise")


def assume_samplers(reader: GraphReader) -> None:
    """Replace samplers of unknown classes by KSampler with the same id, so that whatever slot they are linked at counts."""
    graph = reader.graph
    for node in list(graph.nodes.values()):
        if node.class_type in PLAIN_SAMPLERS or node.class_type in TILED_UPSCALERS or not graph.is_unknown(node):
            continue
        if _looks_like_a_sampler(node):
            _assume(reader, node)


def _looks_like_a_sampler(node: Node) -> bool:
    if _REGIONAL.search(node.class_type) or any(name in node.inputs for name in _REGIONAL_INPUTS):
        return False
    piped = next(pipes(node), None) is not None
    prompted = any(_linked(node, name) for name in _NAMES["positive"]) or _text_of(node, "positive") is not None
    counted = named(node, *_NAMES["steps"]) and named(node, *_NAMES["seed"])
    if counted and (piped or (prompted and (_linked_any(node, "model") or named(node, *_NAMES["cfg"])))):
        return True
    return piped and "sampler" in node.class_type.lower()


def _linked(node: Node, name: str) -> bool:
    at = named(node, name)
    return at is not None and to_link(node.inputs[at]) is not None


def _linked_any(node: Node, name: str) -> bool:
    return any(_linked(node, other) for other in _NAMES[name])


def _text_of(node: Node, side: str) -> str | None:
    """Return the input with a side's prompt as a text, of a node that does it all."""
    at = named(node, side, f"{side}_prompt", *(("prompt",) if side == "positive" else ()))
    return at if at is not None and isinstance(plain(node.inputs[at]), str) else None


def _assume(reader: GraphReader, node: Node) -> None:
    graph = reader.graph
    inputs: dict[str, Any] = {}
    names: dict[str, str] = {}
    for ours, theirs in _NAMES.items():
        at = next((found for name in theirs if (found := named(node, name)) and _fits(ours, node.inputs[found])), None)
        if at is not None:
            inputs[ours], names[ours] = node.inputs[at], at
    for side in ("positive", "negative"):
        text = _text_of(node, side)
        if side not in inputs and text is not None:
            encoder = Node(f"{node.id}/{side}", "CLIPTextEncode", {"text": node.inputs[text]}, node, {"text": text})
            inputs[side] = _add(reader, encoder)
    pipe = next(pipes(node), None)
    if pipe is not None:
        bundle = _add(reader, Node(f"{node.id}/{pipe}", "unpack", {"pipe": node.inputs[pipe]}, node, {"pipe": pipe}))
        for slot, name in enumerate(UNPACKED):
            if name not in inputs and graph.source(Link(bundle.id, slot)) is not None:
                inputs[name] = Link(bundle.id, slot)
        inputs["pipe"] = node.inputs[pipe]
    inputs.update({name: node.inputs[name] for name in (*_ADVANCED, "guidance") if name in node.inputs})
    tiled = named(node, "tile_width") is not None and named(node, "upscale_by", "upscaled_image") is not None
    class_type = "UltimateSDUpscale" if tiled else "KSamplerAdvanced" if "start_at_step" in inputs else "KSampler"
    if tiled:
        inputs = {**node.inputs, **inputs}
    elif named(node, "upscale_by", "upscale_model"):
        reader.builder.warn(f"{node} may enlarge the picture too: that is not read")
    graph.nodes[node.id] = Node(node.id, class_type, inputs, node, names)
    reader.assume(node, "a sampler")


def _fits(name: str, value: Any) -> bool:
    """Return True if a value can be that of a sampler's input: a link, or of the right type."""
    if to_link(value):
        return True
    if name in ("model", "positive", "negative", "latent_image", "vae"):
        return False
    told = plain(value)
    return isinstance(told, str) if name in ("sampler_name", "scheduler") else to_number(told) is not None


def _add(reader: GraphReader, node: Node) -> Link:
    reader.graph.nodes[node.id] = node
    return Link(node.id, 0)
