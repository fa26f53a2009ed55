"""The texts of an image file and their JSON, parsed within bounds: they are untrusted input."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_JSON_CHARACTERS = 16 * 2**20
MAX_JSON_DEPTH = 64
MAX_INTEGER_DIGITS = 40

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
    try:
        return _clean(json.loads(text, parse_int=_integer), MAX_JSON_DEPTH)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None


def decode_json(text: str, start: int) -> tuple[Any, int]:
    """Parse the JSON value at a place in a text; returns its end too. Raises ValueError like :func:`load_json`."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        return _clean(value, MAX_JSON_DEPTH), end
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels") from None


def clean_text(text: str) -> str:
    """Make a text encodable as UTF-8: halves of surrogate pairs become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


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
