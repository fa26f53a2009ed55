"""Generation data in XMP, which Draw Things writes: the comment of the user holds its JSON.

XMP is XML of anyone's making. It is not parsed: only the elements of known names are looked for.
"""

from __future__ import annotations

import html
import re

MAX_CHARACTERS = 2**20
"""Number of characters that are looked at."""
MAX_ELEMENTS = 20
_NAMES = ("exif:UserComment", "dc:description")
_TAG = re.compile(r"<[^<>]{0,1000}>")


def xmp_texts(xmp: str) -> list[str]:
    """Return the texts of the elements that may hold generation data."""
    xmp = xmp[:MAX_CHARACTERS]
    found = []
    for name in _NAMES:
        at = 0
        for _ in range(MAX_ELEMENTS):
            start = xmp.find(f"<{name}", at)
            end = xmp.find(f"</{name}", start)
            if start < 0 or end < 0:
                break
            opened = xmp.find(">", start, end)
            if opened >= 0:
                found.append(html.unescape(_TAG.sub("", xmp[opened + 1 : end])).strip())
            at = end + 1
        attribute = xmp.find(f'{name}="')
        if attribute >= 0:
            start = attribute + len(name) + 2
            end = xmp.find('"', start)
            found.append(html.unescape(xmp[start:end] if end >= 0 else ""))
    return [text for text in found if text]
