"""From a file, the standard input or a link to a clean image."""

from __future__ import annotations

from pathlib import Path


def label(source: str | Path) -> str:
    """The source for messages and results: without the query of a URL, which carries signatures."""
    return str(source).split("?")[0]
