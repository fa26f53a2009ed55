"""Recall from an image how it was made.

:mod:`nodes.recall.containers.image` opens the file and returns its texts by keyword. The formats of :data:`FORMATS`
are asked in turn; each is one module with ``read(chunks) -> Generation | None``, ``None`` if the texts are not of that
format. A new format is a new module and a line below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..generation import Generation
from .containers.image import Contents, Source, read_contents
from .containers.texts import TextChunks
from .errors import RecallError
from .formats import (
    a1111,
    comfyui,
    distillery,
    distillery_legacy,
    flat_json,
    fooocus,
    invokeai,
    novelai,
    swarmui,
    upscale_record,
)
from .merge import merge
from .sizes import check_size


class Format(Protocol):
    """Interface of a module that reads one format."""

    ORIGIN: str
    """Name of the format: the ``origin`` of its generations."""

    def read(self, chunks: TextChunks) -> Generation | None:
        """Return the generation, or ``None`` if the texts are not of this format.

        An ``origin`` of ``none`` means that they are, but hold nothing to upscale with. Never raises on untrusted
        input: its faults go into ``warnings`` or ``chunks.problems``.
        """


FORMATS: tuple[Format, ...] = (
    upscale_record,  # first: an image of this pack also holds the graph of the upscale, which is not how it was made
    distillery,
    distillery_legacy,
    comfyui,
    swarmui,
    fooocus,
    invokeai,
    novelai,
    flat_json,  # behind those that have JSON of their own
    a1111,  # last: other programs write texts as A1111 does, and say so
)
"""All formats, in the order in which they are asked; the first that finds generation data is taken."""
GRAPHS: tuple[Format, ...] = (comfyui,)
"""Formats that may have a text of :data:`BESIDE_A_GRAPH` in the same file."""
BESIDE_A_GRAPH: tuple[Format, ...] = (swarmui, fooocus, a1111)
"""Formats that image savers write beside a ComfyUI graph: they fill its gaps."""


def recall(source: Source) -> Generation:
    """Read from an image how it was made.

    source: a path, the bytes of a file, or a binary file.
    Without generation data the result has the origin ``none``, and its warnings say why.
    Raises RecallError if the file is missing or not an image.
    """
    attempts: list[Generation] = []

    def usable(contents: Contents) -> bool:
        attempts.append(recall_text(contents.texts, contents.size))
        return not attempts[-1].empty

    contents = read_contents(source, usable)
    generation = attempts[-1] if not attempts[-1].empty else attempts[0]
    return check_size(generation, *contents.size).warn(*contents.warnings)


def recall_text(chunks: Mapping[str, str], size: tuple[int, int] | None = None) -> Generation:
    """Read from the texts of an image, by keyword, how it was made. Raises nothing.

    size: width and height of the image, if there is one.

    A ComfyUI graph is merged with a text in the same file, see :mod:`.merge`; other formats stand alone.
    """
    texts = TextChunks(chunks, size)
    warnings: list[str] = []
    found: Generation | None = None
    for form in FORMATS:
        if found is not None and form not in BESIDE_A_GRAPH:
            continue
        try:
            generation = form.read(texts)
        except RecursionError:
            warnings.append(f"the {form.ORIGIN} data are nested too deeply to be read")
            continue
        if generation is None:
            continue
        if generation.empty:
            warnings += generation.warnings
            continue
        found = generation if found is None else merge(found, generation)
        if form not in GRAPHS:
            return found.warn(*texts.problems, *warnings)
    if found is not None:
        return found.warn(*texts.problems, *warnings)
    if texts and not warnings and not texts.problems:
        names = ", ".join(f'"{key[:30]}"' for key in list(texts)[:8])
        warnings.append(f"no generation data that can be read here is in the texts of this file ({names})")
    return Generation().warn(*texts.problems, *warnings)


__all__ = ["FORMATS", "Format", "Generation", "RecallError", "recall", "recall_text"]
