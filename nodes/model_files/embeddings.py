"""Textual inversions that a prompt names. ComfyUI silently drops missing ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from ..texts import shorten
from .names import nearest

# As ComfyUI's tokenizer takes a prompt apart: at white space and at brackets of a weight, unless escaped.
_EMBEDDING = re.compile(r"(?:^|(?<=[\s()]))embedding:((?:\\[()]|[^\s()<\[])+)(\))?")
_EXTENSIONS = ("", ".safetensors", ".pt", ".bin")
MAX_NAMES = 50
"""Embeddings that are looked for; no prompt has so many, but the prompt is untrusted input."""


def embeddings_in(prompt: str) -> list[str]:
    """The names behind ``embedding:``, each once, in order."""
    names = []
    for match in _EMBEDDING.finditer(prompt):
        name = match[1]
        if match[2]:  # (embedding:name:1.2)
            name = re.sub(r":[+-]?[\d.]*$", "", name)
        name = re.sub(r"\\([()])", r"\1", name).strip(",")
        if name:
            names.append(name)
    return list(dict.fromkeys(names))


def missing_embeddings(prompts: Iterable[str | None], installed: Sequence[str]) -> list[str]:
    """One warning for each textual inversion in the prompts that ComfyUI will not find.

    installed: names in ComfyUI's list of the folder ``embeddings``.
    """
    names = list(dict.fromkeys(name for prompt in prompts for name in embeddings_in(prompt or "")))[:MAX_NAMES]
    files = {_plain(name) for name in installed}
    warnings = []
    for name in names:
        # ComfyUI looks into every folder below the one of the embeddings.
        wanted = [_plain(name) + extension for extension in _EXTENSIONS]
        if any(file == w or file.endswith(f"/{w}") for file in files for w in wanted):
            continue
        near = nearest(name, installed, n=1)
        hint = f" (installed with a similar name: {near[0]})" if near else ""
        warnings.append(f"the embedding {shorten(name, 100)} of the prompt is not installed and has no effect{hint}")
    return warnings


def _plain(name: str) -> str:
    return os.path.normcase(name).replace(os.sep, "/")
