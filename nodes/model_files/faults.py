"""Say in words why a model file cannot be loaded, before a loader says it in its own."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from ..errors import DistilleryError
from ..image_formats import HEAD, WEB_PAGE, image_format, other_format
from ..texts import reason_of
from .safetensors_header import HeaderError, read_header

_SAFETENSORS = (".safetensors", ".sft")
_TORCH = (".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl")
_LFS = b"version https://git-lfs.github.com/spec"
_ZIP, _PICKLE, _TAR = b"PK\x03\x04", b"\x80", b"ustar"
_AGAIN = "Download it again"
_AS_SAFETENSORS = "Get the model as a .safetensors file, which holds no code."
_FORBIDDEN = re.compile(r"GLOBAL ([\w.]{1,80})|Unsupported class ([\w.]{1,80})")


class ModelFileError(DistilleryError):
    """A model file that is damaged, or not what its name says."""


def fault_of(path: Path) -> str | None:
    """What is wrong with a model file, in words that go on from its name, and what to do; None where nothing is seen.

    Its first bytes and its table of contents are read, no tensor. Never raises.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        return _fault(path, head, path.stat().st_size)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}. Check its permissions."


def _fault(path: Path, head: bytes, size: int) -> str | None:
    suffix = path.suffix.lower()
    if suffix not in (*_SAFETENSORS, *_TORCH):
        return None
    if not head:
        return f"is empty. {_AGAIN}."
    if head.startswith(_LFS):
        return 'is a pointer of Git LFS and not the model: run "git lfs pull" in its repository, or download the file itself.'
    if not head.strip(b"\0"):
        return f"begins with nothing but zeros: its download was interrupted. {_AGAIN}."
    if suffix in _SAFETENSORS:
        return _fault_of_safetensors(path, head, size)
    return _fault_of_torch(path, head)


def _fault_of_safetensors(path: Path, head: bytes, size: int) -> str | None:
    try:
        header = read_header(path)
        end = header.start + max((int(tensor["data_offsets"][1]) for tensor in header.tensors.values()), default=0)
    except HeaderError as error:
        if head.startswith((_ZIP, _PICKLE + b"\2")):
            return f"is a file of PyTorch under the name of another: rename it to {path.stem}.ckpt."
        return _other_kind(head) or f"is damaged or cut off ({reason_of(error)}). {_AGAIN}."
    except (KeyError, IndexError, TypeError, ValueError):
        return f"is damaged (its header names no places of tensors). {_AGAIN}."
    if size < end:
        return f"is cut off: {size / 1e6:,.1f} of {end / 1e6:,.1f} MB are there. {_AGAIN}."
    return None


def _fault_of_torch(path: Path, head: bytes) -> str | None:
    if head.startswith(_ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                pickled = any(name.endswith("data.pkl") for name in archive.namelist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            return f"is cut off or damaged (its table of contents is missing). {_AGAIN}."
        return None if pickled else "is an archive without a model in it: unpack it."
    if head.startswith(_PICKLE) or _TAR in head:
        return None
    try:
        read_header(path)
    except HeaderError:
        return _other_kind(head) or f"is not a file of PyTorch. {_AGAIN}."
    return f"is a safetensors file under the name of another: rename it to {path.stem}.safetensors."


def _other_kind(head: bytes) -> str | None:
    other = "an image" if image_format(head) else other_format(head)
    if other == WEB_PAGE:
        return f"is a web page and not a model: its site may want a login or a click. {_AGAIN}, in a browser."
    return f"is {other} and not a model. {_AGAIN}." if other else None


def words_of(error: BaseException, path: Path) -> str:
    """What a loader's error says of a file, in words that go on from its name, and what to do."""
    text = str(error)
    kind = type(error).__name__
    if kind == "UnpicklingError":
        code = _FORBIDDEN.search(text)
        if code:
            return f"wants to run code when it is loaded ({code.group(1) or code.group(2)}), which is not done. {_AS_SAFETENSORS}"
        return f"is damaged, or holds something else than a model. {_AGAIN}."
    if "weights_only" in text or "weights only" in text.lower():
        return f"cannot be read as a file of PyTorch. {_AS_SAFETENSORS}"
    if kind == "UnsupportedModelError":
        return "is no upscale model of an architecture that is known. Choose another one."
    if "Could not detect model type" in text:
        return "holds no model that this ComfyUI knows: it may be of another kind, or need a newer ComfyUI. Choose another one."
    reason = reason_of(error).replace(str(path), path.name)
    return f"cannot be loaded ({reason}). {_AGAIN}, or choose another one."
