"""Model files as they lie on people's disks: web pages, pointers, halves, other formats, code."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import torch
from safetensors.torch import save

TENSORS = {"a.weight": torch.arange(1000.0)}
WHOLE = save(TENSORS)


def torch_file(content: object, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


class Code:
    """Makes a folder when it is unpickled by somebody who trusts it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        import os

        return os.mkdir, (str(self.mark),)


HTML = b"<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2132625894\n"

DAMAGED: dict[str, tuple[str, bytes, str]] = {
    "empty": (".safetensors", b"", "is empty"),
    "empty pickle": (".pth", b"", "is empty"),
    "web page": (".safetensors", HTML, "web page"),
    "web page as pth": (".pth", HTML, "web page"),
    "LFS pointer": (".safetensors", POINTER, "git lfs pull"),
    "LFS pointer as ckpt": (".ckpt", POINTER, "git lfs pull"),
    "cut off in its tensors": (".safetensors", WHOLE[:-1000], "is cut off"),
    "cut off in its header": (".safetensors", WHOLE[:30], "damaged or cut off"),
    "zeros": (".safetensors", bytes(5000), "zeros"),
    "zip cut off": (".pth", torch_file(TENSORS)[:-500], "cut off or damaged"),
    "words": (".ckpt", b"Entry not found", "not a file of PyTorch"),
    "picture": (".safetensors", b"\x89PNG\r\n\x1a\n" + bytes(50), "an image"),
    "pickle as safetensors": (".safetensors", torch_file(TENSORS), "of PyTorch under the name of another"),
    "safetensors as pth": (".pth", WHOLE, "rename it to"),
    "header without places": (".safetensors", struct.pack("<Q", 27) + b'{"a":{"shape":[1]}}        ', "damaged"),
}
"""Ending, content, and words of what is said of it."""


def pickled_code(mark: Path) -> bytes:
    return torch_file({"a": Code(mark)})


def plain_pickle(mark: Path) -> bytes:
    return pickle.dumps({"a": Code(mark)}, protocol=2)
