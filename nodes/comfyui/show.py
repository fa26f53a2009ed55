"""A generation as the nodes show it in the editor."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ..model_files.aliases import FILE_NAME, read_aliases
from ..model_files.names import match_name
from ..model_files.plan import Files, Search
from ..parameters import MINI_NAME
from ..summary import BUILT_IN, BY_HASH, INSTALLED, MISSING, SUMMARY_KEY, Summary


def show(summary: Summary) -> dict[str, list[str]]:
    """A summary as part of a node's ``ui``: web/js/distillery.js draws it on the node."""
    return {SUMMARY_KEY: [summary.as_json()]}


def find_model(folder: str, name: str, digest: str | None) -> str:
    """The note on a model that an image names: see :data:`..summary.Find`. No file is read for its hash."""
    if folder == "checkpoints" and match_name(name, [MINI_NAME]):
        return BUILT_IN
    section = "checkpoints" if folder == "diffusion_models" else folder
    files = Files(folder_paths.get_filename_list(folder))
    found = Search(read_aliases(aliases_file())).find(name, None, files, section)
    if found is None:
        return BY_HASH if digest else MISSING
    return f"{INSTALLED} as {found.name}" if found.how else INSTALLED


def aliases_file() -> Path:
    """The user's aliases, beside ComfyUI's own settings of its default user."""
    return Path(folder_paths.get_user_directory()) / "default" / FILE_NAME
