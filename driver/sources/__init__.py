"""Load untrusted images from files, standard input and links, and sanitize them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def label(source: Any) -> str:
    """Return the source for messages and records: of a URL without the query, which carries signatures."""
    if not isinstance(source, str | Path):
        name = getattr(source, "name", None) or getattr(source, "filename", None)
        return Path(name).name if isinstance(name, str) else "image"
    text = str(source)
    return text.split("?")[0] if "://" in text else text
