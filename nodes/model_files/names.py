"""Find a model file by the name that an image gives it.

Images name files as they lay on the machine that made them: other folders, either separator, another
extension, another case. ComfyUI's loaders only take the exact name of its own list.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from ..values import MAX_NAME

EXTENSIONS = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".pkl", ".bin", ".gguf")
"""Extensions of model files. Anything else behind a dot is part of the name: ``model_v1.5``."""

_INPAINTING = re.compile(r"[-_. ]*in[-_ ]?paint(?:ing|ed)?(?![a-z])", re.IGNORECASE)


def exact_name(wanted: str, available: Sequence[str]) -> str | None:
    """The one of ``available`` that is ``wanted`` to the letter, whichever way the separators lean; or None."""
    if wanted in available:
        return wanted
    leaning = wanted.replace("\\", "/")
    return next((name for name in sorted(available) if name.replace("\\", "/") == leaning), None)


def match_name(wanted: str, available: Sequence[str]) -> str | None:
    """The one of ``available`` that is meant by ``wanted``, or None.

    In this order: the very name; the same file name without folder and extension, upper or lower case.
    Among several of those, the one that shares the most: folders from the file's own upwards, then the file
    name with its extension, then the case; then the first in sorted order.
    """
    if wanted in available:
        return wanted
    stem = _stem(wanted)
    candidates = [name for name in available if stem and _stem(name) == stem]
    if not candidates:
        return None
    # sorted before min, which takes the first of equals: no dependence on the order of the list
    return min(sorted(candidates), key=lambda name: _difference(wanted, name))


def nearest(wanted: str, available: Sequence[str], n: int = 3) -> list[str]:
    """At most n of ``available`` that resemble ``wanted``, the most similar first, for an error message."""
    stem = _stem(wanted)
    if not stem or n < 1:
        return []
    by_stem: dict[str, list[str]] = {}
    for name in sorted(available):
        by_stem.setdefault(_stem(name), []).append(name)
    # difflib is quadratic in the length of a name, which untrusted input chooses.
    close = difflib.get_close_matches(stem[:200], [s for s in by_stem if s], n=n, cutoff=0.5)
    # A version or variant of the same model often has much behind its name.
    inside = [s for s in by_stem if len(s) > 3 and len(stem) > 3 and (s in stem or stem in s) and s not in close]
    return [name for s in [*close, *inside] for name in by_stem[s]][:n]


def likeness(wanted: str, name: str) -> float:
    """Similarity of two file names, 0 to 1; folders and extensions do not count."""
    return difflib.SequenceMatcher(None, _stem(wanted)[:200], _stem(name)[:200]).ratio()


def without_inpainting(name: str) -> str | None:
    """The name that the base of an inpainting checkpoint should have: ``x`` for ``x-inpainting``.

    Folder and extension stay (``match_name`` looks past them). None where the name is not that of an
    inpainting model, and where nothing is left without that word.
    """
    if len(name) > MAX_NAME:
        return None
    file = re.split(r"[/\\]", name)[-1]
    stem, extension = _split_extension(file)
    base, found = _INPAINTING.subn("", stem)
    base = base.strip("-_. ")
    if not found or not base:
        return None
    return name[: len(name) - len(file)] + base + extension


def _parts(name: str) -> list[str]:
    """Folders and file name, for comparison."""
    return [part for part in re.split(r"[/\\]+", name.strip().casefold()) if part not in ("", ".")]


def _split_extension(file: str) -> tuple[str, str]:
    for extension in EXTENSIONS:
        if file.lower().endswith(extension) and len(file) > len(extension):
            return file[: -len(extension)], file[-len(extension) :]
    return file, ""


def _stem(name: str) -> str:
    parts = _parts(name)
    return _split_extension(parts[-1])[0].strip() if parts else ""


def _difference(wanted: str, name: str) -> tuple[int, bool, bool]:
    """Smaller is nearer: fewer shared folders, another extension, another case."""
    ours, theirs = _parts(wanted), _parts(name)
    shared = 0
    while shared < min(len(ours), len(theirs)) - 1 and ours[-2 - shared] == theirs[-2 - shared]:
        shared += 1
    same_case = re.split(r"[/\\]", wanted.strip())[-1] == re.split(r"[/\\]", name)[-1]
    return -shared, ours[-1] != theirs[-1], not same_case
