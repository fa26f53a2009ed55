"""Texts for Discord: untrusted ones made harmless, and numbers as people read them."""

from __future__ import annotations

import re
import time

from ...nodes.texts import shorten

_MARKDOWN = re.compile(r"([\\*_~`|>#\[\]()<@:-])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def plain(text: str, most: int = 200) -> str:
    """Return an untrusted text in one line, without markdown, mentions, links, headings or invisible characters."""
    line = " ".join(_CONTROLS.sub("", shorten(text, most)).split())
    # A link is no link, a mention no mention where a backslash stands before its first sign.
    return _MARKDOWN.sub(r"\\\1", line).replace("http", "http\u200b")


def block(text: str, most: int = 1500) -> str:
    """Return an untrusted text as a block of code: nothing in it is markdown, a mention or a link."""
    cut = _CONTROLS.sub("", shorten(text, most)).replace("```", "`\u200b`\u200b`")
    return f"```\n{cut or ' '}\n```"


def seconds(value: float) -> str:
    """Write a duration: ``8 s``, ``2 min 5 s``, ``1 h 10 min``."""
    whole = max(0, round(value))
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(in_seconds: float, style: str = "R") -> str:
    """Write a time that Discord shows in the reader's own language and counts down. in_seconds: from now."""
    return f"<t:{round(time.time() + in_seconds)}:{style}>"


def size(number: int) -> str:
    """Write a number of bytes: ``9.4 MB``."""
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{max(1, round(number / 1e3))} kB"


def bar(share: float, width: int = 12) -> str:
    """Draw how far something is. share: 0 … 1."""
    done = round(width * min(1.0, max(0.0, share)))
    return "▰" * done + "▱" * (width - done)
