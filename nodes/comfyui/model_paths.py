"""The model files that ComfyUI lists, and what tells one from another of the same name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import folder_paths

from ..files import Stamp, file_stamp

FileIdentity = tuple[str, str, Stamp | None]
"""Name in ComfyUI's list, path, size and time: no two files of one name share it."""


def model_path(kind: str, name: str) -> Path | None:
    """Path of a file by its name in ComfyUI's list of that kind (``checkpoints``, ``loras``); None where it is gone."""
    path = folder_paths.get_full_path(kind, name)
    return None if path is None else Path(path)


def identities(kind: str, names: Iterable[str] | None = None) -> list[FileIdentity]:
    """What the fingerprint of a node that loads files must hold; names: None for all files of the kind.

    ComfyUI keeps a node's output for as long as inputs and fingerprint are the same, and a name stays the same where
    its file is replaced.
    """
    found = []
    for name in folder_paths.get_filename_list(kind) if names is None else names:
        path = model_path(kind, name)
        found.append((name, str(path), None if path is None else file_stamp(path)))
    return found
