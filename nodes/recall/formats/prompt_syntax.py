"""Translate the prompt syntax of other programs into ComfyUI's.

ComfyUI reads ``(words:1.2)`` and ``embedding:name``. Anything else is text to it, so tags of networks are lifted
out, syntax with a counterpart is translated, and a warning names the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

MAX_PROMPT = 1_000_000
"""Length up to which a prompt is searched."""
MAX_EMBEDDINGS = 100

_NETWORK = re.compile(r"<(lora|lyco|hypernet):([^<>:\n]{1,500})((?::[^<>:\n]{0,200}){0,10})>", re.IGNORECASE)
_LIFTED = re.compile(r"(?<=[ \t])\0[ \t]+|\0")
"""Place of a lifted tag, with the blanks behind it if there are some before it."""
_BRACKETS = re.compile(r"(?<!\\)\[([^\[\]]{1,5000})(?<!\\)\]")
_AND = re.compile(r"\bAND\b")
_BREAK = re.compile(r"\bBREAK\b")


class LoraTag(NamedTuple):
    """A LoRA in a prompt; its strengths are unchecked."""

    name: str
    strength_model: str | float
    strength_clip: str | float


class Lifted(NamedTuple):
    """A prompt without the tags of networks."""

    text: str
    loras: tuple[LoraTag, ...]
    warnings: tuple[str, ...]


def lift_networks(prompt: str, model_first: bool = False) -> Lifted:
    """Lift ``<lora:name:a:b>`` and its kin out of a prompt; the rest stays, but for blanks around the tags.

    a is the strength on the text encoder, b the one on the model, by default a; ``te=`` and
    ``unet=`` name them. model_first: a is the one on the model, as SwarmUI and ComfyUI have it. LyCORIS files (``<lyco:…>``) are LoRAs to ComfyUI; hypernetworks are named in a warning.
    """
    loras: list[LoraTag] = []
    warnings: dict[str, None] = {}

    def lift(match: re.Match[str]) -> str:
        kind, name, rest = match[1].lower(), match[2].strip(), match[3]
        if kind == "hypernet":
            warnings[f'the image was made with the hypernetwork "{name[:60]}", which the HiRes pass does not use'] = (
                None
            )
            return ""
        parts = [part.strip() for part in rest.split(":")[1:]]
        named = {key.strip().lower(): value.strip() for key, _, value in (p.partition("=") for p in parts if "=" in p)}
        positional = [part for part in parts if "=" not in part]
        first = positional[0] if positional else 1.0
        second = positional[1] if len(positional) > 1 else None
        if model_first:
            model = named.pop("unet", first)
            clip = named.pop("te", model if second is None else second)
        else:
            clip = named.pop("te", first)
            model = named.pop("unet", clip if second is None else second)
        if named:
            extras = ", ".join(sorted(named))[:60]
            warnings[f'the LoRA "{name[:60]}" was used with {extras}: this is not kept'] = None
        loras.append(LoraTag(name, model, clip))
        return ""

    def mark(match: re.Match[str]) -> str:
        return lift(match) or "\0"

    text = _NETWORK.sub(mark, prompt[:MAX_PROMPT].replace("\0", "")) + prompt[MAX_PROMPT:]
    text = _LIFTED.sub("", text)
    return Lifted(text.strip(), tuple(loras), tuple(warnings))


def name_embeddings(prompt: str, names: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Write A1111's textual inversions, bare words, as ComfyUI's ``embedding:word``; returns those found too."""
    used = []
    lowered = prompt.lower()
    for name in list(dict.fromkeys(names))[:MAX_EMBEDDINGS]:
        if not name or len(name) > 200 or re.search(r"[\s:(),]", name) or name.lower() not in lowered:
            continue  # not there, or no name that ComfyUI can read out of a prompt
        word = re.compile(rf"(?<![\w:.-]){re.escape(name)}(?![\w-])", re.IGNORECASE)

        def write(match: re.Match[str], name: str = name) -> str:
            # ComfyUI sees one at the beginning of a word only, and takes all up to the next blank for its name.
            text, start, end = match.string, match.start(), match.end()
            before, after = text[max(start - 1, 0) : start], text[end : end + 2]
            ends = not after or after[0].isspace() or after[0] in "):" or (after[0] == "," and not after[1:].strip())
            return (
                ("" if not before or before.isspace() or before == "(" else " ")
                + f"embedding:{name}"
                + ("" if ends else " ")
            )

        prompt, count = word.subn(write, prompt)
        if count:
            used.append(name)
    return prompt, tuple(used)


def a1111_differences(prompts: Mapping[str, str]) -> tuple[str, ...]:
    """Warn of syntax that A1111 interprets and ComfyUI does not. prompts: by name, such as ``positive``."""
    found: dict[str, list[str]] = {}
    for side, prompt in prompts.items():
        text = prompt[:MAX_PROMPT]
        inside = [match[1] for match in _BRACKETS.finditer(text)]
        scheduled = [part for part in inside if ":" in part or "|" in part]
        for what, there in (
            ("prompt editing ([a:b:n], [a|b])", scheduled),
            ("brackets that lower a weight ([a])", len(inside) > len(scheduled)),
            ("AND, which composes prompts", _AND.search(text)),
            ("BREAK, which begins a new chunk", _BREAK.search(text)),
        ):
            if there:
                found.setdefault(what, []).append(side)
    return tuple(
        f"the {' and '.join(sides)} prompt has {what}, which ComfyUI reads as plain words"
        for what, sides in found.items()
    )
