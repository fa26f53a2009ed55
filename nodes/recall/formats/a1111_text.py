"""The text of A1111 and its kin, split into prompts and settings.

The prompt; the negative one, from a line that begins ``Negative prompt:``; the settings: ``Steps: 20, Sampler: Euler
a, …``, on one line but for line breaks in quotes. SD.Next once parted them by upright strokes. The prompts can hold
newlines and those very words.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..containers.texts import decode_json

MAX_SETTINGS = 100_000
"""Length limit of the settings."""
MAX_CANDIDATES = 5
"""Number of lines that look like settings among which the first is looked for."""
MIN_SETTINGS = 3
"""Number of settings that make a line one of settings, the same as in A1111."""

# As A1111's own pattern, with bounds: a key of any length would be looked for without end.
_SETTING = re.compile(r"(\w[\w \-/]{1,99}):\s*")
_QUOTED = re.compile(r'"(?:\\.|[^\\"])+"(?=,|$|[ \t]*\n)', re.DOTALL)
_STROKES = re.compile(r"\s\|\s(?=\w[\w \-/]{1,99}:)")
_NEGATIVE = "Negative prompt:"
_BEFORE = re.compile(r"\s*(?:Version|Pipeline|Parser|App|Backend|Operations):.{0,1000},\s*")
"""A line of settings before the one that begins with the steps, as SD.Next wrote it."""


class ParsedText(NamedTuple):
    """Prompts and settings of a text."""

    positive: str
    negative: str
    settings: dict[str, Any]
    """Settings in the order of the text: texts, or parsed JSON."""


def parse_text(text: str) -> ParsedText | None:
    """Split a text into prompts and settings; ``None`` if it is not A1111's."""
    lines = text.replace("\r\n", "\n").split("\n")
    last = _first_line(lines)
    first = last - 1 if last and _BEFORE.fullmatch(lines[last - 1]) else last
    prompt = lines[:first]
    negative = next((i for i, line in enumerate(prompt) if line.lstrip().startswith(_NEGATIVE)), None)
    if last is None and negative is None:
        return None
    settings: dict[str, Any] = {}
    if last is not None and first is not None:
        if first < last:
            settings.update(_settings(lines[first].strip()))
        found, rest = _read_settings("\n".join(lines[last:]).strip())
        settings.update(found)
        if rest:
            settings["text after the settings"] = rest
    if negative is None:
        return ParsedText("\n".join(prompt).strip(), "", settings)
    prompt[negative] = prompt[negative].lstrip().removeprefix(_NEGATIVE)
    return ParsedText("\n".join(prompt[:negative]).strip(), "\n".join(prompt[negative:]).strip(), settings)


def _first_line(lines: list[str]) -> int | None:
    """Return the line that the settings begin with: the last that looks so, unless a quote of an earlier one holds it."""
    found = itertools.islice((i for i in reversed(range(len(lines))) if _is_settings(lines[i])), MAX_CANDIDATES)
    last = next(found, None)
    for earlier in found:
        text = "\n".join(lines[earlier:])
        if last is not None and text.count("\n", 0, _end_of_line(text)) >= last - earlier:
            last = earlier
    return last


def _is_settings(line: str) -> bool:
    line = _with_commas(line.strip())
    return line.startswith("Steps:") and len(list(itertools.islice(_settings(line), MIN_SETTINGS))) == MIN_SETTINGS


def _with_commas(line: str) -> str:
    """Return a line of settings that are parted by upright strokes as one with commas."""
    if " | " not in line[:MAX_SETTINGS]:
        return line
    return _STROKES.sub(", ", line[:MAX_SETTINGS])


def _read_settings(text: str) -> tuple[dict[str, Any], str]:
    """Return the settings at the beginning of a text, and what is behind their line."""
    end = _end_of_line(text)
    return dict(_settings(_with_commas(text[:end]))), text[end:].strip()


def _end_of_line(text: str) -> int:
    """Return where the settings end: at a line break that stands in no quoted value."""
    text = text[:MAX_SETTINGS]
    at = 0
    while match := _SETTING.search(text, at):
        newline = text.find("\n", at)
        if 0 <= newline < match.start():
            return newline
        quoted = _QUOTED.match(text, match.end())
        # A quoted value may have line breaks, but not one before which the quote could as well have ended.
        at = quoted.end() if quoted else match.end()
    newline = text.find("\n", at)
    return len(text) if newline < 0 else newline


def _settings(line: str) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a line. A value is plain up to the next comma, quoted as a JSON string, or JSON."""
    line = line[:MAX_SETTINGS]
    attempts = 20  # at JSON that turns out to be none, each of which may run to the end of the line
    at = 0
    while match := _SETTING.search(line, at):
        key, start = match[1].strip(), match.end()
        value: Any = None
        quoted = _QUOTED.match(line, start)
        if attempts and (quoted or line[start : start + 1] in ("{", "[")):
            try:
                value, at = decode_json(line, start)
            except ValueError:
                attempts -= 1
        if value is None and quoted:
            value, at = quoted[0][1:-1], quoted.end()
        elif value is None:
            comma = line.find(",", start)
            at = len(line) if comma < 0 else comma
            value = line[start:at].strip()
        yield key, value
