"""Expand loaders of several LoRAs into chains of ComfyUI's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ....texts import shorten
from ....values import to_integer, to_number
from ..graph import Graph
from ..nodes import Node, to_link
from .expansion import Expansion, LoraEntry, Rule

MAX_LORAS = 200
"""Limit of one node, and of one stack."""
MAX_STACKS = 50
"""Length limit of a row of LoRA stacks."""
_LISTED = re.compile(r"lora_\d{1,6}", re.ASCII | re.IGNORECASE)
NONE = ("None", "none", "", None)


def power_loras(node: Node) -> Iterator[LoraEntry]:
    """Yield the LoRAs of rgthree's Power Lora Loader: ``{on, lora, strength, strengthTwo?}``, the second as the first."""
    for name, entry in node.inputs.items():
        if isinstance(entry, Mapping) and _LISTED.fullmatch(name) and entry.get("on") is True:
            second = entry.get("strengthTwo")
            model = entry.get("strength")
            yield LoraEntry(entry.get("lora"), model, model if second is None else second, name)


def managed_loras(node: Node) -> Iterator[LoraEntry]:
    """Yield the LoRAs of LoRA Manager: a list of ``{name, strength, clipStrength?, active}``, possibly wrapped."""
    entries = node.inputs.get("loras")
    if isinstance(entries, Mapping):
        entries = entries.get("__value__")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and entry.get("active") is True:
            second = entry.get("clipStrength")
            model = entry.get("strength")
            yield LoraEntry(entry.get("name"), model, model if second is None else second, "loras")


def numbered_loras(node: Node, name: str, model: str, clip: str, switch: str = "") -> Iterator[LoraEntry]:
    """Yield the LoRAs of numbered inputs; ``{}`` in a name stands for the number."""
    pattern = re.compile(re.escape(name).replace(r"\{\}", r"(\d{1,6})"), re.ASCII)
    numbers = [match.group(1) for key in node.inputs if (match := pattern.fullmatch(key))]
    for number in sorted(numbers, key=int):
        if switch and node.inputs.get(switch.format(number)) not in ("On", True):
            continue
        yield LoraEntry.of(node, name.format(number), model.format(number), clip.format(number))


def _counted_loras(graph: Graph, node: Node) -> Iterator[LoraEntry]:
    """Yield the LoRAs of stackers with a count: one strength for both in simple mode, else two."""
    easy = node.class_type == "easy loraStack"
    if easy and graph.value(node, "toggle") in (False, "False", None):
        return
    simple = graph.value(node, "mode" if easy else "input_mode") == "simple"
    if easy:
        names = ("lora_{}_strength",) * 2 if simple else ("lora_{}_model_strength", "lora_{}_clip_strength")
        entries = numbered_loras(node, "lora_{}_name", *names)
    else:
        names = ("lora_wt_{}",) * 2 if simple else ("model_str_{}", "clip_str_{}")
        entries = numbered_loras(node, "lora_name_{}", *names)
    count = to_integer(graph.value(node, "num_loras" if easy else "lora_count")) or 0
    for entry in entries:
        if int("".join(re.findall(r"\d", entry.at)) or 0) <= count:
            yield entry


_STACKS: dict[str, tuple[Callable[[Graph, Node], Iterator[LoraEntry]], str, bool]] = {
    # class: (its own LoRAs, the input with the stack that it adds them to, whether its own come last)
    "CR LoRA Stack": (
        lambda graph, node: numbered_loras(node, "lora_name_{}", "model_weight_{}", "clip_weight_{}", "switch_{}"),
        "lora_stack", True,
    ),
    "LoRA Stacker": (_counted_loras, "lora_stack", False),
    "easy loraStack": (_counted_loras, "optional_lora_stack", True),
    "Lora Stacker (LoraManager)": (lambda graph, node: managed_loras(node), "lora_stack", True),
}  # fmt: skip


def stacked(expansion: Expansion, value: Any) -> list[LoraEntry]:
    """Return the LoRAs of a stack in the order of application."""
    graph, before, after, visited = expansion.graph, list[list[LoraEntry]](), list[LoraEntry](), set[str]()
    link = to_link(value)
    while link is not None and len(visited) < MAX_STACKS:
        source = graph.source(link)
        if source is None or source[0].id in visited:
            break
        node = source[0]
        visited.add(node.id)
        if node.class_type not in _STACKS:
            # Kept as a loader that nothing is known of, so that it is named where the chain is read.
            before.append([LoraEntry(link, None, None, "lora_stack")])
            break
        own, base, last = _STACKS[node.class_type]
        entries = [entry for entry in own(graph, node) if entry.name not in NONE][:MAX_LORAS]
        if last:
            before.append(entries)
        else:
            after = after + entries
        link = to_link(node.inputs.get(base))
    return (after + [entry for entries in reversed(before) for entry in entries])[:MAX_LORAS]


def used(entries: Iterator[LoraEntry]) -> list[LoraEntry]:
    """Return the entries that name a file."""
    return [entry for entry in entries if entry.name not in NONE][:MAX_LORAS]


def lora_list(read: Callable[[Node], Iterator[LoraEntry]], clip: str = "clip") -> Rule:
    """Expand a loader with a list of LoRAs, and with a stack that precedes them."""

    def rule(expansion: Expansion, node: Node) -> None:
        loras = stacked(expansion, node.inputs.get("lora_stack")) + used(read(node))
        model, end = expansion.add_loras(node.inputs.get("model"), node.inputs.get(clip), loras)
        expansion.slots.update({0: model, 1: end})

    return rule


# LoRAs that are named in a text

_TAG = re.compile(r"<lora:([^>:]{1,300})((?::[^>:]{0,60}){0,6}):?>")


def tags_in(text: str, at: str) -> list[LoraEntry]:
    """Return the LoRAs of ``<lora:name:model:clip>``; the second strength is the first by default."""
    found: dict[str, LoraEntry] = {}
    for match in _TAG.finditer(text):
        numbers = [n for part in match.group(2).split(":") if (n := to_number(part)) is not None]
        model = numbers[0] if numbers else 1.0
        name = match.group(1).strip()
        found.setdefault(name, LoraEntry(name, model, numbers[1] if len(numbers) > 1 else model, at))
    return list(found.values())[:MAX_LORAS]


def _beside_strengths(text: str) -> str:
    """Return what the first tag that has more than strengths says beside them, such as weights of blocks."""
    parts = (part for match in _TAG.finditer(text) for part in match.group(2).split(":"))
    return shorten(next((part for part in parts if part.strip() and to_number(part) is None), ""), 40)


def tagged(texts: tuple[str, ...], model: str, clip: str, slots: tuple[int | None, int, int, int]) -> Rule:
    """Expand a node that loads the LoRAs in its texts, removes their tags, and may encode the texts.

    texts: its inputs. slots: those of the conditioning, the model, the text encoder and the first text.
    """

    def rule(expansion: Expansion, node: Node) -> None:
        values = [expansion.graph.value(node, name) for name in texts]
        loads = to_link(node.inputs.get(model)) is not None and to_link(node.inputs.get(clip)) is not None
        skips = node.inputs.get("insert_lora") == "DISABLE LORAS"
        loras, left = list[LoraEntry](), list[Any]()
        for name, value in zip(texts, values, strict=True):
            tagged = isinstance(value, str) and (loads or skips)
            loras += tags_in(value, name) if tagged and not skips else []
            if tagged and not skips and (beside := _beside_strengths(value)):
                expansion.graph.notes[f"{node} loads a LoRA with {beside}, which is not kept"] = None
            # A text that cannot be told stays linked, so that the node it comes from is named.
            left.append(_TAG.sub("", value) if tagged else node.inputs.get(name))
        ends = expansion.add_loras(node.inputs.get(model), node.inputs.get(clip), loras)
        expansion.slots.update(zip(slots[1:3], ends, strict=True))
        expansion.slots.update(enumerate(left, slots[3]))
        if slots[0] is not None:
            class_type, names = (
                ("CLIPTextEncode", ("text",)) if len(texts) == 1 else ("CLIPTextEncodeSDXL", ("text_g", "text_l"))
            )
            given = dict(zip(names, texts, strict=True))
            expansion.slots[slots[0]] = expansion.add_node(
                class_type, given, clip=ends[1], **dict(zip(names, left, strict=True))
            )

    return rule


def switched_lora(expansion: Expansion, node: Node) -> None:
    """Expand a loader of one LoRA with a switch, or with a choice of "None"."""
    lora = LoraEntry.of(node, "lora_name", "strength_model", "strength_clip")
    entries = used(iter([lora])) if node.inputs.get("switch", "On") == "On" else []
    model, clip = expansion.add_loras(node.inputs.get("model"), node.inputs.get("clip"), entries)
    expansion.slots.update({0: model, 1: clip})
