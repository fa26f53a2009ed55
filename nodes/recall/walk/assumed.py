"""Samplers of unknown classes: taken for ComfyUI's own where the names of their inputs show them to be samplers."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from typing import Any

from ...values import to_number
from ..graph.composites.loras import NONE
from ..graph.graph import MAX_NODES
from ..graph.nodes import Link, Node, plain, to_link
from ..graph.passthrough import UNPACKED
from ..graph.shapes import lora_inputs, named, pipes, same_names
from .reader import GraphReader
from .samplers import PLAIN_SAMPLERS, TILED_UPSCALERS

_REGIONAL = re.compile(r"detail|segs|inpaint|provider|face|hand|unsampl|schedul|sigma|noise|guider", re.IGNORECASE)
"""Classes that sample parts of a picture alone, or only set up a sampler."""
_REGIONAL_INPUTS = {"segs", "bbox_detector", "guide_size", "detailer_pipe"}
MAX_PROVIDERS = 5
"""Length limit of a row of nodes that set up a sampler."""
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


_PROVIDERS = ("base_sampler", "sampler", "advanced_sampler", "upscaler", "full_sampler_opt")
"""Inputs through which a node takes the sampler that another node sets up, the most important first."""
_FIXED = {"XlabsSampler": ("euler", "simple")}
"""Samplers that have no choice of sampler and scheduler, and what they always sample with."""


def assume_samplers(reader: GraphReader) -> None:
    """Replace samplers of unknown classes by KSampler with the same id, so that whatever slot they are linked at counts."""
    graph = reader.graph
    for node in list(graph.nodes.values()):
        if node.class_type in PLAIN_SAMPLERS or node.class_type in TILED_UPSCALERS or not graph.is_unknown(node):
            continue
        if _unsamples(node):
            continue
        if _looks_like_a_sampler(node):
            _assume(reader, node)
        elif (unsampler := _continued(reader, node)) is not None:
            _assume(reader, replace(node, inputs={**unsampler.inputs, **node.inputs}))
        elif (provider := _provider(reader, node)) is not None:
            reader.assume(provider, "the settings of a sampler")
            # What the provider says of steps goes first: those of an enlargement in rounds are its rounds.
            _assume(reader, replace(node, inputs={**node.inputs, **provider.inputs}))


def assume_detailer(reader: GraphReader, outputs: list[Node]) -> Node | None:
    """Replace the last node that samples parts of a picture by KSampler; ``None`` if the graph has none.

    outputs: where to look first.
    """
    graph = reader.graph
    found: dict[str, Node] = {}
    linked = {link.id for node in graph.nodes.values() for v in node.inputs.values() if (link := to_link(v))}
    todo = deque([*outputs, *(node for node in graph.nodes.values() if node.id not in linked)])
    while todo and len(found) < MAX_NODES:
        node = todo.popleft()
        if node.id in found:
            continue
        found[node.id] = node
        if graph.is_unknown(node) and _samples_parts(node):
            return _assume(reader, node)
        todo += [source[0] for name in node.inputs if (source := graph.input(node, name)) is not None]
    return None


def _samples_parts(node: Node) -> bool:
    if not _REGIONAL.search(node.class_type) or "provider" in node.class_type.lower():
        return False
    fed = next(pipes(node), None) is not None or (_linked_any(node, "model") and _linked_any(node, "positive"))
    counted = named(node, *_NAMES["steps"]) and named(node, *_NAMES["seed"])
    return fed and bool(counted or "sampler" in node.class_type.lower())


def _unsamples(node: Node) -> bool:
    """Return True for a node that turns a picture back into noise: what it does that with made no picture."""
    return node.inputs.get("sampler_mode") == "unsample"


def _continued(reader: GraphReader, node: Node) -> Node | None:
    """Return the node that turned a picture into the noise which a sampler without a model of its own begins with."""
    step: Node = node
    for _ in range(MAX_PROVIDERS):
        if "sampler" not in step.class_type.lower() or _linked_any(step, "model") or not named(step, "sampler_name"):
            return None
        at = next((found for name in _NAMES["latent_image"] if (found := named(step, name))), None)
        source = reader.graph.input(step, at) if at is not None else None
        if source is None:
            return None
        step = source[0]
        if _unsamples(step):
            return step
    return None


def _provider(reader: GraphReader, node: Node) -> Node | None:
    """Return the node that sets up the sampler which a node runs on a picture."""
    if not any(_linked_any(node, name) for name in ("latent_image",)) or "provider" in node.class_type.lower():
        return None
    step: Node = node
    for _ in range(MAX_PROVIDERS):
        at = named(step, *_PROVIDERS)
        found = reader.graph.input(step, at) if at is not None else None
        if found is None or not reader.graph.is_unknown(found[0]):
            return None
        step = found[0]
        if named(step, *_NAMES["cfg"]) and named(step, "sampler_name"):
            return step
    return None


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


def _assume(reader: GraphReader, node: Node) -> Node:
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
    if (lora := lora_inputs(node)) and "model" in inputs and plain(node.inputs[lora[0]]) not in NONE:
        # The prompts are encoded before, so that it acts on the model alone.
        loader = {"model": inputs["model"], "lora_name": node.inputs[lora[0]]}
        loader["strength_model"] = node.inputs[lora[1]] if lora[1] else 1.0
        given = {"lora_name": lora[0], "strength_model": lora[1] or ""}
        inputs["model"] = _add(reader, Node(f"{node.id}/lora", "LoraLoaderModelOnly", loader, node, given))
    tiled = named(node, "tile_width") is not None and named(node, "upscale_by", "upscaled_image") is not None
    class_type = "UltimateSDUpscale" if tiled else "KSamplerAdvanced" if "start_at_step" in inputs else "KSampler"
    if tiled:
        inputs = {**node.inputs, **inputs}
    elif (by := named(node, "upscale_by", "upscale_factor")) and not named(node, "upscale_model"):
        inputs["upscale_by"], names["upscale_by"] = node.inputs[by], by
    elif named(node, "upscale_by", "upscale_model"):
        reader.builder.warn(f"{node} may enlarge the picture too: that is not read")
    if "sampler_name" not in inputs and node.class_type in _FIXED:
        inputs["sampler_name"], inputs["scheduler"] = _FIXED[node.class_type]
        names |= {"sampler_name": "", "scheduler": ""}
        reader.builder.warn(
            f"{node} names neither sampler nor scheduler: {' and '.join(_FIXED[node.class_type])} stand in for its own"
        )
    assumed = graph.nodes[node.id] = Node(node.id, class_type, inputs, graph.nodes[node.id], names)
    reader.assume(node, "a sampler")
    return assumed


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
