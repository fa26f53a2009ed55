"""BNK Cutoff: regions whose words must not colour the rest of the prompt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..values import to_number

FILLER = "34YuToz6voGaZ5Y8"
"""Placeholder in Distillery's unused region and target fields."""
NOT_APPLIED = "the image was made with Cutoff regions, which the HiRes pass does not apply"


def used_regions(triples: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return the (region, target, weight) triples without filler, as mappings."""
    return [
        {"region": region, "target": target, "weight": number if (number := to_number(weight)) is not None else weight}
        for region, target, weight in triples
        if isinstance(region, str) and region.strip() not in ("", FILLER)
    ]
