"""The LoRAs of A1111's text: tags in the prompt, or settings of image savers.

Savers name them in numbered settings (``Lora_0 Model name``, ``Lora_0 Strength model``), or in lists of names and
weights. Where only names are given, a warning tells them: nothing says how strong they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..builder import GenerationBuilder, shown
from .prompt_syntax import LoraTag

MAX_LORAS = 100
_NUMBERED = re.compile(r"lora[ _]?(\d{1,3})(?:[ _:-]+(.{1,60}))?", re.IGNORECASE | re.ASCII)
_WITH_WEIGHT = re.compile(r"(.{1,300}?)\s*[:(]\s*(-?\d{0,3}\.?\d{1,6})\s*\)?")
"""A name with its weight behind a colon or in brackets."""
_NOT_A_LORA = ("lora hashes", "lora weights", "loraweights", "lora strengths", "lora type")
"""Settings that are no LoRA by themselves."""

Entry = tuple[Any, Any, Any, str]
"""Name, strength on the model, strength on the text encoder, and place."""


def set_loras(
    builder: GenerationBuilder, tags: Iterable[LoraTag], settings: Mapping[str, Any], hashes: Mapping[str, Any],
    place: Callable[[str], str],
) -> None:  # fmt: skip
    """Set the LoRAs from the prompt's tags, else from settings; warn of those that have only a name."""
    entries: list[Entry] = [
        (tag.name, tag.strength_model, tag.strength_clip, place(f"<lora:{tag.name}>")) for tag in tags
    ]
    # Fooocus writes the weights apart from the prompt.
    entries = entries or [
        (name, weight, weight, place("Lora weights")) for name, weight in pairs(_get(settings, "lora weights")).items()
    ]
    numbered, own_hashes = _numbered(settings, place)
    entries = entries or numbered or _lists(settings, place) or _additional_networks(settings, place)
    if entries:
        builder.set_loras(entries[:MAX_LORAS], "parameters", {**own_hashes, **hashes})
    known = {_stem(str(entry[0])) for entry in entries}
    names = [
        *pairs(_get(settings, "lora hashes")),
        *(_WITH_WEIGHT.sub(r"\1", n) for n in _list(_get(settings, "loras"))),
    ]
    lacking = [name for name in dict.fromkeys(names) if _stem(name) not in known]
    others = [
        f"{key}: {value}" for key, value in settings.items()
        if key.lower().startswith("lora") and key.lower() not in _NOT_A_LORA and not _is_list(key)
        and not _NUMBERED.fullmatch(key) and value not in ("", None)
    ]  # fmt: skip
    if lacking:
        builder.warn(
            f"the image was made with LoRAs whose weights it does not tell: {', '.join(map(shown, lacking[:8]))}"
        )
    if others and not entries:
        builder.warn(f"the image names LoRAs in a way that is not read here: {'; '.join(map(shown, others[:5]))}")


def names_loras(settings: Mapping[str, Any]) -> bool:
    """Return True if any setting names a LoRA: then a text is not without LoRAs."""
    return any(
        key.lower().startswith(("lora", "addnet model")) and value not in ("", None) for key, value in settings.items()
    )


def pairs(value: Any) -> dict[str, str]:
    """Parse ``name: value, name: value``."""
    if not isinstance(value, str):
        return {}
    parts = (part.rpartition(":") for part in value.split(","))
    return {name.strip(): text.strip() for name, _, text in parts if name.strip()}


def _numbered(settings: Mapping[str, Any], place: Callable[[str], str]) -> tuple[list[Entry], dict[str, Any]]:
    """Return the LoRAs of numbered settings, and their hashes by name."""
    found: dict[int, dict[str, tuple[Any, str]]] = {}
    for key, value in settings.items():
        match = _NUMBERED.fullmatch(key)
        if match:
            what = (match[2] or "name").lower()
            kind = (
                "hash" if "hash" in what
                else "clip" if ("strength" in what or "weight" in what) and ("clip" in what or "te" in what.split())
                else "model" if "strength" in what or "weight" in what
                else "name" if "name" in what or what in ("model", "file")
                else what
            )  # fmt: skip
            found.setdefault(int(match[1]), {}).setdefault(kind, (value, key))
    entries: list[Entry] = []
    hashes: dict[str, Any] = {}
    for _, parts in sorted(found.items()):
        name, key = parts.get("name", (None, ""))
        if not isinstance(name, str) or name.lower() in ("", "none"):
            continue
        with_weight = _WITH_WEIGHT.fullmatch(name) if "model" not in parts else None
        if with_weight:
            name = with_weight[1]
        model = with_weight[2] if with_weight else parts.get("model", (1.0, ""))[0]
        entries.append((name, model, parts.get("clip", (model, ""))[0], place(key)))
        if "hash" in parts:
            hashes[name.strip()] = parts["hash"][0]
    return entries, hashes


def _lists(settings: Mapping[str, Any], place: Callable[[str], str]) -> list[Entry]:
    """Return the LoRAs of a list of names and one of weights, as SwarmUI has them."""
    written = [_WITH_WEIGHT.fullmatch(part) for part in _list(_get(settings, "loras"))]
    if written and all(written):
        return [(match[1], match[2], match[2], place("Loras")) for match in written if match]
    weights = _list(_get(settings, "loraweights", "lora strengths"))
    names = _list(_get(settings, "loras")) or list(pairs(_get(settings, "lora hashes")))
    if not weights or len(weights) != len(names):
        return []
    on_clip = _list(_get(settings, "loratencweights"))
    clips = on_clip if len(on_clip) == len(names) else weights
    return [(n, w, c or w, place("loraweights")) for n, w, c in zip(names, weights, clips, strict=True)]


def _additional_networks(settings: Mapping[str, Any], place: Callable[[str], str]) -> list[Entry]:
    """Return the LoRAs of an old extension of A1111: weight A is on the model, B on the text encoder."""
    entries: list[Entry] = []
    for number in range(1, 11):
        name = settings.get(f"AddNet Model {number}")
        if isinstance(name, str) and str(settings.get(f"AddNet Module {number}", "LoRA")).lower() == "lora":
            model = settings.get(f"AddNet Weight A {number}", settings.get(f"AddNet Weight {number}", 1.0))
            clip = settings.get(f"AddNet Weight B {number}", model)
            entries.append((re.sub(r"\([0-9a-f]{6,64}\)$", "", name), model, clip, place(f"AddNet Model {number}")))
    return entries


def _is_list(key: str) -> bool:
    return key.lower() in ("loras", "loraweights", "loratencweights", "lora strengths")


def _list(value: Any) -> list[str]:
    if isinstance(value, int | float):
        return [repr(value)]
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else []


def _get(settings: Mapping[str, Any], *names: str) -> Any:
    return next((value for key, value in settings.items() if key.lower() in names), None)


def _stem(name: str) -> str:
    return re.split(r"[\\/]", name.strip().lower())[-1].removesuffix(".safetensors")
