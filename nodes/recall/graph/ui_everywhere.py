"""Links of "Use Everywhere", which exist in no list of links: values go to all inputs of their type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MAX_LINKS = 20_000
"""Limit of links that are added."""
MUTED = (2, 4)
_SEEDS = ("seed", "noise_seed")


class Broadcast(NamedTuple):
    """A value that is handed on without a link."""

    kind: str
    """Type of the value, such as ``MODEL``."""
    origin: Any
    """Id of the node that makes it."""
    slot: int
    names: re.Pattern[str] | None
    """The inputs that take it; ``None`` for all of the type."""


def is_everywhere(kind: str) -> bool:
    """Return True for a class of Use Everywhere."""
    return "everywhere" in kind.lower()


def add_links(data: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Return the workflow with the links that Use Everywhere makes, and True if all of them are known."""
    nodes = [node for node in _list(data.get("nodes")) if isinstance(node, Mapping)]
    senders = [node for node in nodes if is_everywhere(str(node.get("type"))) and node.get("mode") not in MUTED]
    extra = data.get("extra")
    recorded = _list(extra.get("ue_links")) if isinstance(extra, Mapping) else []
    if not senders and not recorded:
        return data, True
    wanted: dict[tuple[str, int], tuple[Any, int, str]] = {}
    if recorded:
        for entry in recorded[:MAX_LINKS]:
            if (
                isinstance(entry, Mapping)
                and isinstance(entry.get("downstream_slot"), int)
                and isinstance(entry.get("upstream_slot"), int)
            ):
                at = (str(entry.get("downstream")), entry["downstream_slot"])
                wanted[at] = (entry.get("upstream"), entry["upstream_slot"], str(entry.get("type")))
        known = True
    else:
        broadcasts, known = _broadcasts(data, senders)
        old = not isinstance(extra, Mapping) or "ue_links" not in extra
        wanted = dict(_matches(nodes, broadcasts, old))
        if not known and old:
            wanted |= _by_patterns(nodes, senders)
    links = list(_list(data.get("links")))
    # An input may name a link of Use Everywhere's, which is in no list.
    listed = {str(link[0]) for link in links if isinstance(link, list) and link}
    copies = []
    for node in _list(data.get("nodes")):
        if isinstance(node, Mapping) and isinstance(node.get("inputs"), list):
            inputs = list(node["inputs"])
            for slot, entry in enumerate(inputs):
                found = wanted.get((str(node.get("id")), slot))
                if found is None or not isinstance(entry, Mapping) or str(entry.get("link")) in listed:
                    continue
                link = f"everywhere:{len(links)}"
                inputs[slot] = {**entry, "link": link}
                links.append([link, found[0], found[1], node.get("id"), slot, found[2]])
            node = {**node, "inputs": inputs}
        copies.append(node)
    return {**data, "nodes": copies, "links": links}, known


def _broadcasts(data: Mapping[str, Any], senders: list[Mapping[str, Any]]) -> tuple[list[Broadcast], bool]:
    links = {
        str(link[0]): link
        for link in _list(data.get("links"))
        if isinstance(link, list) and len(link) >= 6 and isinstance(link[2], int)
    }
    by_id = {str(node.get("id")): node for node in _list(data.get("nodes")) if isinstance(node, Mapping)}
    found: list[Broadcast] = []
    known = True
    for node in senders:
        kind = str(node.get("type"))
        if kind.startswith("Seed Everywhere"):
            found.append(Broadcast("INT", node.get("id"), 0, re.compile("|".join(_SEEDS))))
            continue
        if "?" in kind:
            known = False  # its patterns are untrusted regular expressions, which are not run
            continue
        prompts = kind.startswith("Prompts Everywhere")
        for index, entry in enumerate(_list(node.get("inputs"))):
            link = links.get(str(entry.get("link"))) if isinstance(entry, Mapping) else None
            if link is not None:
                names = (
                    re.compile(r"(?:.*_)?neg.*" if index else r"(?:.*_)?pos.*|prompt|conditioning") if prompts else None
                )
                found.append(Broadcast(_type_of(by_id.get(str(link[1])), link), link[1], link[2], names))
    return found, known


def _type_of(origin: Mapping[str, Any] | None, link: list[Any]) -> str:
    """Return the type of a link: that of the output, as a link to an input for anything may say nothing."""
    outputs = _list(origin.get("outputs")) if origin is not None else []
    entry = outputs[link[2]] if 0 <= link[2] < len(outputs) else None
    return str(entry.get("type")) if isinstance(entry, Mapping) else str(link[5])


def _matches(
    nodes: list[Mapping[str, Any]], broadcasts: list[Broadcast], old: bool
) -> Iterator[tuple[tuple[str, int], tuple[Any, int, str]]]:
    for node in nodes:
        if is_everywhere(str(node.get("type"))):
            continue
        entries = _list(node.get("inputs"))
        for slot, entry in enumerate(entries):
            if not isinstance(entry, Mapping) or entry.get("link") is not None:
                continue
            name = str(entry.get("name")).lower()[:100]
            seeds = name in _SEEDS
            # Newer editors list every widget as an input; in older ones, those that are listed were turned into sockets.
            if isinstance(entry.get("widget"), Mapping) and not old and not seeds:
                continue
            fitting = [
                b for b in broadcasts if b.kind == entry.get("type") and (b.names is None or b.names.fullmatch(name))
            ]
            # What is for some inputs alone goes before what is for all; of equals none is sure.
            narrow = [b for b in fitting if b.names is not None] or fitting
            if len(narrow) == 1 and str(narrow[0].origin) != str(node.get("id")):
                yield (str(node.get("id")), slot), (narrow[0].origin, narrow[0].slot, narrow[0].kind)


def _by_patterns(
    nodes: list[Mapping[str, Any]], senders: list[Mapping[str, Any]]
) -> dict[tuple[str, int], tuple[Any, int, str]]:
    """Return links of texts that were turned into sockets to a node that hands on by patterns: their values are not known."""
    sender = next((node.get("id") for node in senders if "?" in str(node.get("type"))), None)
    return {
        (str(node.get("id")), slot): (sender, 0, "STRING")
        for node in nodes if not is_everywhere(str(node.get("type")))
        for slot, entry in enumerate(_list(node.get("inputs")))
        if isinstance(entry, Mapping) and entry.get("link") is None and entry.get("type") == "STRING"
        and isinstance(entry.get("widget"), Mapping)
    }  # fmt: skip


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
