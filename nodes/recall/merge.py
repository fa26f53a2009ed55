"""Merge the generations of two formats in one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from ..generation import Generation, HiRes, Lora
from ..model_files.names import match_name
from .builder import shown

_TELLING = {"positive", "negative", "seed", "sampler", "scheduler", "loras", "denoise"}
"""Fields that the other format's own warnings are about."""


def merge(graph: Generation, other: Generation) -> Generation:
    """Fill the gaps of a graph's generation from another format.

    The graph is what ran, so its values win; a warning names each value of the other format that differs. No
    difference are a file named without its folder or extension, a sampler's GPU variant, sizes (image savers
    write that of the result) and the HiRes pass (texts describe it in part). The other format's hashes count for
    files that both name. Its warnings are kept if it filled a gap that they may be about.
    """
    keyword = _keyword(other)
    values: dict[str, Any] = {}
    places = dict(graph.fields)
    warnings: list[str] = []
    filled: set[str] = set()

    def fill(name: str, key: str) -> None:
        filled.add(name)
        if name in other.fields:
            places[name] = other.fields[name]
        values[key] = getattr(other, key)

    for key, same in _COMPARED.items():
        ours, theirs = getattr(graph, key), getattr(other, key)
        if theirs is None:
            continue
        if ours is None and key not in graph.fields:
            fill(key, key)
        elif ours is None or not same(ours, theirs):
            kept = shown(ours) if ours is not None else graph.fields[key]
            warnings.append(f"{keyword} says {key} {shown(theirs)}, the graph says {kept}: the graph is kept")
    if graph.width is None and graph.height is None and other.width is not None:
        fill("width", "width")
        fill("height", "height")
    for hash_key, key in (("checkpoint_hash", "checkpoint"), ("vae_hash", "vae")):
        ours, theirs = values.get(key, getattr(graph, key)), getattr(other, key)
        agreed = ours == theirs if ours is None or theirs is None else _same_file(ours, theirs)
        if agreed and getattr(graph, hash_key) is None and getattr(other, hash_key) is not None:
            fill(hash_key, hash_key)

    if "loras" not in graph.fields and not graph.loras:
        if other.loras:
            fill("loras", "loras")
    elif other.loras:  # a text without any does not say that there were none
        values["loras"] = tuple(_with_hash(lora, other.loras) for lora in graph.loras)
        if not _same_loras(graph.loras, other.loras):
            warnings.append(
                f"{keyword} says the LoRAs {_listed(other.loras)}, the graph says {_listed(graph.loras)}: the graph is kept"
            )

    hires = {}
    for part in (f.name for f in fields(HiRes)):
        if getattr(graph.hires, part) is None and getattr(other.hires, part) is not None:
            hires[part] = getattr(other.hires, part)
            places[f"hires.{part}"] = other.fields.get(f"hires.{part}", keyword)
    if hires:
        values["hires"] = replace(graph.hires, **hires)

    carried = {**graph.carried, **({keyword: dict(other.carried)} if other.carried else {})}
    merged = replace(graph, **values, fields=places, carried=carried)
    return merged.warn(*warnings, *(other.warnings if filled & _TELLING else ()))


def _same_text(ours: str, theirs: str) -> bool:
    return "".join(ours.split()) == "".join(theirs.split())


def _same_file(ours: str, theirs: str) -> bool:
    return match_name(ours, [theirs]) is not None


def _same_sampler(ours: str, theirs: str) -> bool:
    return ours.removesuffix("_gpu") == theirs.removesuffix("_gpu")


def _same(ours: Any, theirs: Any) -> bool:
    return bool(ours == theirs)


_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "positive": _same_text,
    "negative": _same_text,
    "seed": _same,
    "cfg": _same,
    "steps": _same,
    "sampler": _same_sampler,
    "scheduler": _same,
    "denoise": _same,
    "guidance": _same,
    "checkpoint": _same_file,
    "vae": _same_file,
    "clip_skip": _same,
    "family": _same,
}


def _same_loras(ours: tuple[Lora, ...], theirs: tuple[Lora, ...]) -> bool:
    """Return True for the same files at the same strengths in any order: texts have an order of their own."""
    left = list(theirs)
    for lora in ours:
        found = next(
            (
                other for other in left
                if _same_file(lora.name, other.name) and lora.strength_model == other.strength_model
            ),
            None,
        )  # fmt: skip
        if found is None:
            return False
        left.remove(found)
    return not left


def _with_hash(lora: Lora, others: tuple[Lora, ...]) -> Lora:
    if lora.hash is not None:
        return lora
    return replace(lora, hash=next((o.hash for o in others if o.hash and _same_file(lora.name, o.name)), None))


def _listed(loras: tuple[Lora, ...]) -> str:
    return shown(", ".join(f"{lora.name} {lora.strength_model:g}" for lora in loras))


def _keyword(other: Generation) -> str:
    """Return the keyword of the text, from its provenance."""
    place = next(iter(other.fields.values()), other.origin)
    return "parameters" if place.startswith(("parameters", "sui_")) else other.origin
