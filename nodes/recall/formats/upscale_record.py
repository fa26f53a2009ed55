"""This pack's own record: a text chunk ``distillery`` with ``{"version": 1, "generation": {…}}``.

The driver uploads clean copies of images. Their record is marked as a relay (:func:`..record.record_for_copy`) and read as
the recall of the original file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...generation import Generation, from_dict
from ...record import RECORD_KEY, RECORD_VERSION, RELAY
from ..containers.texts import TextChunks

ORIGIN = "distillery-upscale"
PLACE = "this pack's record"

_FORMAT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
_MAX_WARNINGS, _MAX_WARNING = 100, 2000
"""Limits of a relayed record: no recall makes more or longer warnings, so a forged one is cut."""


def read(chunks: TextChunks) -> Generation | None:
    """Read the generation that the upscale ran with. The graph in the same file is not needed."""
    data = chunks.json_object(RECORD_KEY)
    if data is None:
        return None
    recorded = data.get("generation")
    if not isinstance(recorded, Mapping):
        chunks.problems.append(f"this file has a {RECORD_KEY} chunk without a generation in it")
        return None
    if data.get(RELAY) is True:
        return _relayed(recorded)
    warnings = recorded.get("warnings")
    # Those were about the run that made this image; from_dict adds what is wrong with the record itself.
    generation = from_dict({**recorded, "warnings": []})
    version = data.get("version")
    if version != RECORD_VERSION:
        generation = generation.warn(f"the record is of version {version!s:.20}; this pack reads {RECORD_VERSION}")
    carried: dict[str, Any] = {"record_version": version, "first_origin": generation.origin}
    if isinstance(warnings, list) and warnings:
        carried["warnings_of_that_upscale"] = [w for w in warnings if isinstance(w, str)]
    return replace(generation, origin=ORIGIN, fields=_places(generation), carried=carried)


def _relayed(recorded: Mapping[str, Any]) -> Generation:
    """Read the generation as recalled from the original file, including warnings and provenance."""
    warnings = recorded.get("warnings")
    kept = [w for w in warnings if isinstance(w, str)][:_MAX_WARNINGS] if isinstance(warnings, list) else []
    generation = from_dict({**recorded, "warnings": [w[:_MAX_WARNING] for w in kept]})
    if not _FORMAT_NAME.fullmatch(generation.origin):
        generation = replace(generation, origin=ORIGIN)
    return replace(generation, carried={RELAY: True})


def _places(generation: Generation) -> dict[str, str]:
    """Return the provenance in the first image, prefixed with the record once, however often it was upscaled."""
    places = {}
    for name, where in generation.fields.items():
        where = where.removeprefix(PLACE).removeprefix(": ")
        places[name] = f"{PLACE}: {where}" if where else PLACE
    return places
