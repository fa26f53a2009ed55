"""Load untrusted images from files, standard input and links, and sanitize them."""

from __future__ import annotations

from pathlib import Path


def label(source: str | Path) -> str:
    """Return the source without the query of a URL, which carries signatures."""
    return str(source).split("?")[0]
