"""The header of a safetensors file: names, types and shapes, without reading a tensor.

The format: 8 bytes little-endian length, that many bytes of JSON, then the tensors
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..texts import shorten

MAX_LENGTH = 100_000_000
"""Bytes of JSON that the format allows."""


class HeaderError(ValueError):
    """Not a safetensors file, or a damaged one."""


@dataclass(frozen=True)
class Header:
    tensors: Mapping[str, Mapping[str, Any]]
    """Tensor name to ``{"dtype": str, "shape": [int, …], "data_offsets": [begin, end]}``, in bytes from ``start``."""
    metadata: Mapping[str, str]
    start: int
    """Offset of the first tensor in the file."""


def read_header(path: Path) -> Header:
    """Read the header; raises HeaderError for anything else than a safetensors file, OSError as ``open`` does."""
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise HeaderError("too short for a safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        # Before reading: the first bytes of another format make an arbitrary length.
        if not 2 <= length <= min(MAX_LENGTH, path.stat().st_size - 8):
            raise HeaderError("not a safetensors file, or cut off")
        text = file.read(length)
    try:
        data = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise HeaderError("the header is not JSON") from error
    if not isinstance(data, dict):
        raise HeaderError("the header is not a JSON object")
    metadata = data.pop("__metadata__", {})
    for name, tensor in data.items():
        if not isinstance(tensor, dict) or not _is_shape(tensor.get("shape")):
            raise HeaderError(f"the header's entry {shorten(name, 80)!r} is not a tensor")
    return Header(data, metadata if isinstance(metadata, dict) else {}, 8 + length)


def write_header(tensors: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, str]) -> bytes:
    """The bytes before the tensors, padded with spaces so that the tensors begin at a multiple of 8."""
    text = json.dumps({"__metadata__": dict(metadata), **tensors}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
