"""Texts of others, cut to fit into a message."""

from __future__ import annotations

MAX_REASON = 200
"""Characters of a library's error that a message quotes."""


def shorten(text: str, limit: int) -> str:
    """The text on one line, of at most ``limit`` characters; one that is cut ends in three dots."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def reason_of(error: BaseException) -> str:
    """The words of an exception, or its type where it has none."""
    return shorten(str(error), MAX_REASON) or type(error).__name__
