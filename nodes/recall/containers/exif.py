"""Read the texts of EXIF data (JPEG, WebP, AVIF) under the keywords that PNG files have for them.

Programs differ: A1111 and its kin write one text into UserComment, ComfyUI ``prompt:{…}`` and ``workflow:{…}`` into
the tags of the camera's maker and model. So the content of a text decides on its keyword, not its tag.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from PIL import Image

from ...record import RECORD_KEY
from .texts import clean_text, is_json_object, load_json

MAX_BYTES = 16 * 2**20
"""Size limit of one text."""

IMAGE_DESCRIPTION, SOFTWARE, EXIF_IFD = 0x010E, 0x0131, 0x8769
USER_COMMENT, MAKER_NOTE = 0x9286, 0x927C
COMFYUI_TAGS = range(0x0110, 0x0102, -1)
"""Tags of ComfyUI: the prompt in 0x0110, all else in the tags below it."""

_KEYWORD = re.compile(rf"(prompt|workflow|parameters|{RECORD_KEY})\s*:\s*(?=[{{\"])", re.IGNORECASE)
_MARKERS = ("Steps:", "{")
"""Marks of generation data: every program's has at least one."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
_CODES = (
    # The eight bytes that Exif has before a comment, and what writers use in spite of them, likeliest first.
    (b"UNICODE\0", ("utf-16-be", "utf-16-le", "utf-8")),
    (b"ASCII\0\0\0", ("utf-8", "utf-16-be", "utf-16-le", "latin-1")),
    (b"JIS\0\0\0\0\0", ("iso2022_jp", "utf-8", "shift_jis", "utf-16-be", "utf-16-le")),
    (b"\0\0\0\0\0\0\0\0", ("utf-8", "utf-16-be", "utf-16-le", "latin-1")),
)
_BARE = ("utf-8", "utf-16-be", "utf-16-le", "latin-1")


def exif_texts(exif: Image.Exif) -> dict[str, str]:
    """Return the generation data among EXIF tags by keyword, without what a camera writes."""
    texts: dict[str, str] = {}
    # A writer that follows the standard puts the comment into the IFD of that name, others into the main one.
    for tags in (exif.get_ifd(EXIF_IFD), exif):
        add_texts(texts, [decode_comment(_bytes(tags.get(USER_COMMENT)))])
    add_texts(texts, [_string(exif.get(tag)) for tag in COMFYUI_TAGS])
    add_texts(texts, [_string(exif.get(IMAGE_DESCRIPTION))])
    note = _string(exif.get_ifd(EXIF_IFD).get(MAKER_NOTE)) or _string(exif.get(MAKER_NOTE))
    if texts and note in ("fooocus", "a1111"):
        texts.setdefault("fooocus_scheme", note)
    if texts and (software := _string(exif.get(SOFTWARE))):
        texts.setdefault("Software", software)
    return texts


def raw_profiles(texts: Mapping[str, str]) -> list[bytes]:
    """Return the EXIF data that converters write into a PNG file's texts as hexadecimal digits."""
    found = []
    for key in ("Raw profile type exif", "Raw profile type APP1"):
        # A line break, the kind, the number of bytes, then lines of digits.
        lines = texts.get(key, "")[: 2 * MAX_BYTES].split("\n", 3)
        if len(lines) == 4:
            try:
                found.append(bytes.fromhex("".join(lines[3].split())))
            except ValueError:
                continue
    return found


def add_texts(texts: dict[str, str], found: Iterable[str]) -> None:
    """Add texts under the keywords of their content; existing ones stay."""
    for text in found:
        for key, value in keyed(text).items():
            texts.setdefault(key, value)


def keyed(text: str) -> dict[str, str]:
    """Return a text by its PNG keyword: ``parameters``, ``prompt``, ``workflow`` and others.

    Empty for a text without generation data.
    """
    text = text.strip("\ufeff\0 \r\n\t")
    if not text:
        return {}
    if match := _KEYWORD.match(text):
        return {match[1].lower(): _unquoted(text[match.end() :])}
    if is_json_object(text):
        return _keyed_json(text)
    if "Steps:" in text or "Negative prompt:" in text:
        return {"parameters": text}
    return {}


def _keyed_json(text: str) -> dict[str, str]:
    """Choose the keyword by the content of a JSON text; keep broken JSON as ``parameters``, for a message about it."""
    try:
        data = load_json(text)
    except ValueError:
        return {"parameters": text}
    if any(isinstance(node, dict) and "class_type" in node for node in data.values()):
        return {"prompt": text}
    if isinstance(data.get("nodes"), list) and isinstance(data.get("links"), list):
        return {"workflow": text}
    if isinstance(data.get("prompt"), dict) or isinstance(data.get("workflow"), dict) or "Comment" in data:
        # All texts of a PNG file in one object, as some programs convert them.
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in data.items()}
    if "v4_prompt" in data or ("uc" in data and "scale" in data and "c" not in data):
        return {"Comment": text, "Software": "NovelAI"}
    return {"parameters": text}


def _unquoted(text: str) -> str:
    """Return the text in a JSON string; any other text unchanged."""
    if text.startswith('"'):
        try:
            value = load_json(text)
        except ValueError:
            return text
        return value if isinstance(value, str) else text
    return text


def decode_comment(data: bytes) -> str:
    """Decode a UserComment.

    Both its eight bytes of encoding and its byte order are often wrong. Of the possible decodings, take one with a
    mark of generation data, else the one with the fewest control characters.
    """
    prefix, codes = next(((head, codes) for head, codes in _CODES if data.startswith(head)), (b"", _BARE))
    data = data[len(prefix) :]
    best, best_rank = "", (-1, -1.0)
    for code in codes:
        text = _decode(data, code)
        if text is None:
            continue
        # The first of equals stays; characters, as UTF-16 read as UTF-8 has every second one a NUL.
        rank = (int(any(marker in text for marker in _MARKERS)), -len(_CONTROL.findall(text)) / max(len(text), 1))
        if rank > best_rank:
            best, best_rank = text, rank
    return best


def decode_plain(data: bytes) -> str:
    """Decode a JPEG comment or a PNG chunk: as UTF-8 if valid, else as Latin-1, the standards' encoding."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:  # characters beyond U+FFFF as two surrogates, as some languages write them
        return clean_text(data.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _decode(data: bytes, code: str) -> str | None:
    if code.startswith("utf-16"):
        for mark, order in ((b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le")):
            if data.startswith(mark):
                data, code = data[2:], order
        # Some writers end the text with a single NUL, and cut it in the middle of a character.
        return clean_text(data[: len(data) // 2 * 2].decode(code, "replace"))
    try:
        return clean_text(data.decode(code))
    except UnicodeDecodeError:
        return None


def _bytes(value: Any) -> bytes:
    """Return a tag's bytes; Pillow reads the type ASCII as Latin-1 text."""
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    return value[:MAX_BYTES] if isinstance(value, bytes) else b""


def _string(value: Any) -> str:
    return decode_plain(_bytes(value)).strip("\0 \r\n\t")
