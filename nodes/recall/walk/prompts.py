"""Read prompts, from a conditioning back to its texts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..builder import shown
from ..cutoff import NOT_APPLIED, used_regions
from ..graph.nodes import Link, Node, Output, plain, to_link
from ..graph.passthrough import UNPACKED
from ..graph.shapes import MADE, named, pipes, same_names, text_inputs
from .reader import GraphReader, InputRef
from .samplers import PLAIN_SAMPLERS

MAX_CONDITIONINGS = 100
MAX_CHAIN = 500
"""Length limit of a row of nodes that add regions to a text."""


class Encoder(NamedTuple):
    """A node that encodes text."""

    texts: tuple[str, ...]
    """Its text inputs: one for each text encoder, mostly with the same text."""
    clip: str = "clip"
    weighs: bool = False
    """True if it weighs words in a way of its own."""
    before: str = ""
    """The input that chooses a text of :data:`_SYSTEM_PROMPTS` to be put before the prompt."""


ENCODERS: dict[str, Encoder] = {
    "CLIPTextEncode": Encoder(("text",)),
    "CLIPTextEncodeSDXL": Encoder(("text_g", "text_l")),
    "CLIPTextEncodeSDXLRefiner": Encoder(("text",)),
    "CLIPTextEncodeFlux": Encoder(("clip_l", "t5xxl")),
    "CLIPTextEncodeSD3": Encoder(("clip_l", "clip_g", "t5xxl")),
    "CLIPTextEncodeHiDream": Encoder(("clip_l", "clip_g", "t5xxl", "llama")),
    "CLIPTextEncodeHunyuanDiT": Encoder(("bert", "mt5xl")),
    "CLIPTextEncodePixArtAlpha": Encoder(("text",)),
    "CLIPTextEncodeLumina2": Encoder(("user_prompt",), before="system_prompt"),
    "CLIPTextEncodeSDXL+": Encoder(("text",)),
    "TextEncodeForSamplerParams+": Encoder(("text",)),
    "Text to Conditioning": Encoder(("text",)),
    "Power Prompt - Simple (rgthree)": Encoder(("prompt",), "opt_clip"),
    "SDXL Power Prompt - Simple / Negative (rgthree)": Encoder(("prompt_g", "prompt_l"), "opt_clip"),
    "BNK_CLIPTextEncodeAdvanced": Encoder(("text",), weighs=True),
    "BNK_CLIPTextEncodeSDXLAdvanced": Encoder(("text_g", "text_l"), weighs=True),
    "smZ CLIPTextEncode": Encoder(("text",), weighs=True),
    "CLIPTextEncode (NSP)": Encoder(("text",)),
}
_SYSTEM_PROMPTS = {
    "superior": "You are an assistant designed to generate superior images with the superior degree of image-text "
    "alignment based on textual prompts or user prompts.",
    "alignment": "You are an assistant designed to generate high-quality images with the highest degree of image-text "
    "alignment based on textual prompts.",
}
"""What Lumina 2's encoder puts before the prompt; checked against ComfyUI's own in the tests."""
_CONTROLNETS = {
    "ControlNetApply", "ControlNetApplyAdvanced", "ControlNetApplySD3", "ControlNetInpaintingAliMamaApply",
    "ACN_AdvancedControlNetApply", "ACN_AdvancedControlNetApply_v2", "Apply ControlNet Stack", "CR Apply ControlNet",
    "CR Apply Multi-ControlNet",
}  # fmt: skip
_JOINS = {
    "ConditioningCombine", "ConditioningConcat", "ConditioningAverage", "ConditioningMultiCombine",
    "ImpactCombineConditionings", "ImpactConcatConditionings",
}  # fmt: skip
_PICTURE = re.compile(r"(?:\w{1,30}_)?(?:images?|pixels|latent|clip_vision\w{0,10})_?\d{0,3}", re.ASCII)
_CONDITIONING = re.compile(r"(?:\w{1,20}_)?cond(?:itioning)?s?(?:_?\w{1,12})?", re.ASCII)
_SIDES = re.compile(r"(?:\w{1,20}_)?(?:pos|neg)(?:itive|ative)?(?:_?\w{1,12})?", re.ASCII)
_JOINED = re.compile(r"conditioning(?:_to|_from|_?\d{1,4})", re.ASCII)


@dataclass
class Prompt:
    """One side's prompt, while its parts are collected."""

    side: str
    texts: list[tuple[str, str]] = field(default_factory=list)
    """Texts and their provenance."""
    encoders: list[tuple[Node, str]] = field(default_factory=list)
    """Nodes that encode them, and their input for the text encoder."""
    complete: bool = True
    """False if a part is unknown."""


def read_prompt(reader: GraphReader, side: str, links: tuple[Link | None, ...]) -> Prompt:
    """Set a prompt from a sampler's conditionings. side: ``positive`` or ``negative``."""
    prompt = Prompt(side)
    _follow(reader, prompt, [reader.graph.source(link) for link in links])
    if not prompt.complete and not prompt.texts:
        reader.builder.warn(f"the {side} prompt could not be read from the graph")
    texts = [text for text, _ in prompt.texts if text]
    if len(texts) > 1:
        reader.builder.warn(f"the {side} prompt is put together from {len(texts)} texts, which are joined by commas")
    if prompt.texts:
        places = list(dict.fromkeys(place for text, place in prompt.texts if text or not texts))
        reader.builder.set(side, ", ".join(texts), ", ".join(places[:4]))
    return prompt


def _follow(reader: GraphReader, prompt: Prompt, todo: list[Output | None]) -> None:
    """Collect the texts behind conditionings."""
    visited: set[tuple[str, int]] = set()
    while todo:
        source = todo.pop(0)
        if source is None:
            prompt.complete = False
        elif (source[0].id, source[1]) not in visited and len(visited) < MAX_CONDITIONINGS:
            visited.add((source[0].id, source[1]))
            todo += _behind(reader, prompt, *source)


def _behind(reader: GraphReader, prompt: Prompt, node: Node, slot: int) -> list[Output | None]:
    """Read a node of the conditioning's chain; returns the next ones to read."""
    graph, builder, class_type = reader.graph, reader.builder, node.class_type
    if prompt.side == "positive" and "guidance" in node.inputs:
        reader.set_from("guidance", InputRef(node, "guidance"))
    if class_type in ENCODERS:
        _encoded(reader, prompt, node, ENCODERS[class_type])
        return []
    if class_type == "ConditioningZeroOut":
        prompt.texts.append(("", reader.place(node)))
        return []
    if class_type == "FluxGuidance":
        return [graph.input(node, "conditioning")]
    if class_type.startswith("BNK_CutoffRegionsToConditioning"):
        prompt.complete = _cutoff(reader, prompt, node) and prompt.complete
        return []
    if class_type in _JOINS:
        return [graph.input(node, name) for name in sorted(node.inputs, key=_in_order) if _JOINED.fullmatch(name)]
    if "placeholder" in class_type.lower() and not any(to_link(value) for value in node.inputs.values()):
        prompt.texts.append(("", reader.place(node)))
        return []
    links = _passed_on(reader, node)
    several = _several(reader, node) if not any(links) else _numbered(reader, node, links)
    if several:
        builder.warn(f"{node} puts conditionings together in a way of its own, which is not kept")
        return [graph.source(link) for link in several]
    if not any(links):
        return _by_shape(reader, prompt, node, slot)
    if class_type in _CONTROLNETS or "controlnet" in class_type.lower():
        builder.warn(f"the image was made with a ControlNet ({node}), which the HiRes pass does not use")
    else:
        builder.warn(f"{node} changes the {prompt.side} prompt's conditioning: what it does is not kept")
    for name in node.inputs:
        behind = graph.input(node, name) if not _CONDITIONING.fullmatch(name.lower()) else None
        if behind is not None and behind[0].class_type in PLAIN_SAMPLERS:
            builder.warn(f"{node} takes what {behind[0]} sampled: that pass is not read")
    # One conditioning goes on whatever the slot; of two, each in its own, if conditionings are what comes first.
    if len(links) == 2 and (slot >= 2 or (slot != MADE and _gives_another_thing_first(reader, node))):
        return [graph.source(links[0 if prompt.side == "positive" else 1])]
    return [graph.source(links[slot] if 0 <= slot < len(links) else links[0] if len(links) == 1 else None)]


def _gives_another_thing_first(reader: GraphReader, node: Node) -> bool:
    """Return True if a node's first output is used, but as no conditioning: then its slots have another order."""
    uses = reader.graph.uses_of_the_first_output(node.id)
    return bool(uses) and not any(map(is_conditioning, uses))


def is_conditioning(name: str) -> bool:
    """Return True for the name of an input that takes a conditioning."""
    return (_CONDITIONING.fullmatch(name.lower()) or _SIDES.fullmatch(name.lower())) is not None


def _passed_on(reader: GraphReader, node: Node) -> list[Link | None]:
    """Return the links to the conditionings that a node passes on: one, or the positive and the negative one."""
    graph = reader.graph
    for names in (("positive", "negative"), ("pos", "neg"), ("conditioning_to",), ("conditioning",), ("cond",),
                  ("conditioning_1",), ("conditioning1",), ("base_positive", "base_negative")):  # fmt: skip
        links = [graph.link(node, name) for name in names]
        if any(links):
            return links
    return []


def _several(reader: GraphReader, node: Node) -> list[Link | None]:
    """Return the links to conditionings of a node that puts several together, such as one for each region."""
    names = [name for name in node.inputs if _CONDITIONING.fullmatch(name.lower())]
    return [link for name in sorted(names, key=_in_order) if (link := reader.graph.link(node, name))]


def _numbered(reader: GraphReader, node: Node, links: list[Link | None]) -> list[Link | None]:
    """Return the links to conditionings that differ by a number alone, if it is one of these that a node passes on."""
    names = [name for name in node.inputs if _JOINED.fullmatch(name.lower()) and name[-1:].isdigit()]
    found: list[Link | None] = [reader.graph.link(node, name) for name in sorted(names, key=_in_order)]
    found = [link for link in found if link]
    return found if len(found) > 1 and links[0] in found else []


def _by_shape(reader: GraphReader, prompt: Prompt, node: Node, slot: int) -> list[Output | None]:
    """Read a node of an unknown class: one that encodes texts, or passes a pipe on."""
    for pipe in pipes(node) if slot != MADE else ():
        bundle = Node(f"{node.id}/{pipe}", "unpack", {"pipe": node.inputs[pipe]}, node, {"pipe": pipe})
        reader.graph.nodes[bundle.id] = bundle
        source = reader.graph.source(Link(bundle.id, UNPACKED.index(prompt.side)))
        if source is not None:
            reader.assume(node, "a pipe")
            return [source]
    names = text_inputs(node, prompt.side)
    pictures = [name for name, value in node.inputs.items() if _PICTURE.fullmatch(name.lower()) and to_link(value)]
    if not names and _of_a_picture_alone(reader, node):
        reader.builder.warn(f"{node} makes the {prompt.side} prompt's conditioning of a picture alone: it has no text")
        prompt.texts.append(("", reader.place(node)))
        return []
    if not names:
        reader.builder.warn(f"the {prompt.side} prompt comes from {node}, which is not known here")
        prompt.complete = False
        return []
    reader.assume(node, "a text encoder")
    if pictures:
        reader.builder.warn(
            f"the {prompt.side} prompt of {node} comes with a picture ({', '.join(pictures[:4])}), which is not kept"
        )
    for name, value in node.inputs.items():
        if "system" in name.lower() and isinstance(value, str) and value.strip():
            reader.builder.warn(f"{node.place(name)} puts a text before the prompt, which is not kept: {shown(value)}")
    clip = named(node, *same_names("clip"))
    _encoded(reader, prompt, node, Encoder(tuple(names), clip or "clip"))
    return []


def _of_a_picture_alone(reader: GraphReader, node: Node) -> bool:
    """Return True for a node that makes a conditioning of a picture, by CLIP's vision, and whose inputs are all told."""
    seen = reader.follow(node, "clip_vision") and any(
        _PICTURE.fullmatch(name.lower()) and to_link(value) for name, value in node.inputs.items()
    )
    numbers = any(isinstance(plain(value), int | float) for value in node.inputs.values())
    texts = any(isinstance(plain(value), str) for value in node.inputs.values())
    return bool(seen) and numbers and not texts and not reader.follow(node, *same_names("clip"))


def _in_order(name: str) -> tuple[int, int, str]:
    """Sort inputs by number, and the base of a concatenation before its addition."""
    number = re.sub(r"\D", "", name)
    return (int(number) if number.isascii() and number else 0, name.endswith("_from"), name)


def _encoded(reader: GraphReader, prompt: Prompt, node: Node, encoder: Encoder) -> None:
    prompt.encoders.append((node, encoder.clip))
    found = dict.fromkeys(_text_at(reader, node, name, prompt.side) for name in encoder.texts if name in node.inputs)
    known = [text for text in found if text is not None]
    if not known:
        prompt.complete = False
    if encoder.weighs and known:
        reader.builder.warn(f"{node} weighs words in a way of its own, which is not kept")
    if encoder.before:
        system = _SYSTEM_PROMPTS.get(str(reader.graph.value(node, encoder.before)))
        if system is None:
            reader.builder.warn(f"{node.place(encoder.before)} puts a text before the prompt, which is not kept")
        else:
            known = [f"{system} <Prompt Start> {text}" for text in known]
    for text in known:
        prompt.texts.append((text, reader.place(node, encoder.texts[0])))


def _text_at(reader: GraphReader, node: Node, name: str, side: str) -> str | None:
    value = reader.graph.value(node, name)
    if isinstance(value, str):
        return value
    why = (
        reader.why_unknown(node, name)
        if reader.graph.link(node, name) and value is None
        else f"{node.place(name)} is no text"
    )
    reader.builder.warn(f"{why}: this part of the {side} prompt is not recalled")
    return None


def _cutoff(reader: GraphReader, prompt: Prompt, node: Node) -> bool:
    """Read a text with BNK Cutoff's regions; False if it is unknown."""
    graph = reader.graph
    triples: list[tuple[Any, ...]] = []
    source = graph.input(node, "clip_regions")
    for _ in range(MAX_CHAIN):
        if source is None:
            return False
        step = source[0]
        if step.class_type == "BNK_CutoffBasePrompt":
            regions = used_regions(reversed(triples))
            if regions:
                reader.builder.carried["cutoff"] = regions
                reader.builder.warn(NOT_APPLIED)
            text = _text_at(reader, step, "text", prompt.side)
            if text is not None:
                prompt.texts.append((text, reader.place(step, "text")))
                prompt.encoders.append((step, "clip"))
            return text is not None
        if step.class_type != "BNK_CutoffSetRegions":
            reader.builder.warn(f"the {prompt.side} prompt comes from {step}, which is not known here")
            return False
        triples.append(tuple(graph.value(step, name) for name in ("region_text", "target_text", "weight")))
        source = graph.input(step, "clip_regions")
    return False
