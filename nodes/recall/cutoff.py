"""BNK Cutoff, which keeps the words of a region from colouring the rest of the prompt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..values import to_number

FILLER = "34YuToz6voGaZ5Y8"
"""Stands in Distillery's region and target fields that are not used."""
NOT_APPLIED = "the image was made with Cutoff regions, which the HiRes pass does not apply"


def used_regions(triples: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The (region, target, weight) triples without filler."""
    return [
        {"region": region, "target": target, "weight": number if (number := to_number(weight)) is not None else weight}
        for region, target, weight in triples
        if isinstance(region, str) and region.strip() not in ("", FILLER)
    ]
