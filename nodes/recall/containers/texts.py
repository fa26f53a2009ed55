"""The texts of an image file and their JSON, parsed within bounds: they are untrusted input."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_JSON_CHARACTERS = 16 * 2**20
MAX_JSON_DEPTH = 64
MAX_JSON_VALUES = 500_000
"""Limit of values: a text of numbers alone takes a hundred times as long as one of the same size with a picture in it."""
MAX_INTEGER_DIGITS = 40

_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""What may become half of a surrogate pair."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class TextChunks(Mapping[str, str]):
    """The texts of an image by keyword (read-only), with their JSON parsed at most once.

    ``problems`` collects the faults of the texts that a format asked for.
    """

    def __init__(self, texts: Mapping[str, str], size: tuple[int, int] | None = None) -> None:
        self.size = size
        """Width and height of the image, if there is one."""
        self._texts = {
            clean_text(k): clean_text(v) for k, v in texts.items() if isinstance(k, str) and isinstance(v, str)
        }
        self._parsed: dict[str, Any] = {}
        self.problems: list[str] = []

    def __getitem__(self, key: str) -> str:
        return self._texts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def json(self, key: str) -> Any:
        """Return the JSON value of a text; ``None`` if there is no such text or no usable JSON in it."""
        if key not in self._texts:
            return None
        if key not in self._parsed:
            try:
                self._parsed[key] = load_json(self._texts[key].strip("\ufeff\0"))
            except ValueError as error:
                self._parsed[key] = None
                if len(self._texts) > 1 and self._texts[key].strip("\ufeff\0 \r\n\t")[:1] not in ("{", "[", '"'):
                    return None  # plain words beside others: another program's texts
                self.problems.append(f"this file has a {key} chunk which is not valid JSON ({error})")
        return self._parsed[key]

    def json_object(self, key: str) -> dict[str, Any] | None:
        """Return the JSON object of a text; ``None`` for anything else."""
        value = self.json(key)
        return value if isinstance(value, dict) else None

    def looks_like_json(self, key: str) -> bool:
        """Return True if a text begins like a JSON object: for keywords that several formats share."""
        return is_json_object(self._texts.get(key, ""))


def is_json_object(text: str) -> bool:
    """Return True if a text begins like a JSON object; a prompt such as ``{red|blue} car`` does not."""
    return _OBJECT.match(text) is not None


def load_json(text: str) -> Any:
    """Parse JSON within bounds. Accepts NaN and Infinity, which ComfyUI writes.

    Halves of surrogate pairs become U+FFFD, so that every string can be written as UTF-8 again.
    Raises ValueError with a reason in words.
    """
    if len(text) > MAX_JSON_CHARACTERS:
        raise ValueError(f"{len(text)} characters; at most {MAX_JSON_CHARACTERS} are read")
    if len(text) > 2 * MAX_JSON_VALUES and (values := _values_at_most(text)) > MAX_JSON_VALUES:
        raise ValueError(f"up to {values} values; at most {MAX_JSON_VALUES} are read")
    try:
        return _checked(json.loads(text, parse_int=_integer), _HALF.search(text) is not None)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None


def decode_json(text: str, start: int) -> tuple[Any, int]:
    """Parse the JSON value at a place in a text; returns its end too. Raises ValueError like :func:`load_json`."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        return _checked(value, _HALF.search(text, start, end) is not None), end
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels") from None


def clean_text(text: str) -> str:
    """Make a text encodable as UTF-8: surrogate pairs become their character, halves of pairs U+FFFD."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _values_at_most(text: str) -> int:
    """Return a number of values that JSON does not exceed. Commas in strings count too."""
    return text.count(",") + text.count("[") + text.count("{") + 1


def _checked(value: Any, halves: bool) -> Any:
    """Return parsed JSON, cleaned if there may be halves of surrogate pairs in it. Raises ValueError if nested too deeply."""
    if halves:
        return _clean(value, MAX_JSON_DEPTH)
    todo = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_JSON_DEPTH):
        if not todo:
            return value
        inner: list[Any] = []
        for item in todo:
            items = item.values() if isinstance(item, dict) else item
            inner += [part for part in items if isinstance(part, dict | list)]
        todo = inner
    if todo:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels")
    return value


def _integer(digits: str) -> int | float:
    # int() of very many digits is slow, and refused by newer Pythons.
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else float(digits)


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict | list) and depth == 0:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels")
    if isinstance(value, dict):
        return {clean_text(key): _clean(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, depth - 1) for item in value]
    return value


_OBJECT = re.compile(r'[\ufeff\s\0]{0,100}\{\s{0,100}["}]')
_DECODER = json.JSONDecoder(parse_int=_integer)
