"""A ComfyUI of the user's own: its folder, arguments and interpreter, and how this pack gets into it."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

from .. import paths
from ..errors import ServerError

PACK_NAME = "distillery-upscale"
"""Project name in pyproject.toml, and the pack's folder name in a managed server."""


def install_hint(custom_nodes: Path | None = None) -> str:
    """Return the sentence that says how to put this pack into a ComfyUI."""
    where = custom_nodes or Path("ComfyUI") / "custom_nodes"
    pack, link = paths.checkout(), where / PACK_NAME
    return (
        "Put this folder into its custom_nodes and restart it, for example with a link: "
        f'ln -s "{pack}" "{link}" (Windows: mklink /J "{link}" "{pack}").'
    )


def own_instance(directory: Path) -> str:
    """The name under which a ComfyUI of the user's own is managed; one for each folder."""
    return f"own-{hashlib.sha256(str(directory).encode()).hexdigest()[:10]}"


def own_comfyui(directory: Path) -> Path:
    """The folder with main.py of the user's ComfyUI. Raises ServerError where it is none."""
    directory = directory.expanduser().resolve()
    if not (directory / "main.py").is_file() and (directory / "ComfyUI" / "main.py").is_file():
        directory = directory / "ComfyUI"  # the folder of a portable build
    if not (directory / "main.py").is_file() or not (directory / "comfy").is_dir():
        raise ServerError(
            f"{directory} is not a ComfyUI folder, which has a main.py and a folder comfy. Give the one that has them."
        )
    return directory


def own_arguments(directory: Path) -> list[str]:
    custom_nodes = directory / "custom_nodes"
    folders = sorted(custom_nodes.iterdir()) if custom_nodes.is_dir() else []
    pack = next((f for f in folders if _is_pack(f)), None)
    if pack is None:
        raise ServerError(f"The ComfyUI in {directory} does not have this pack. {install_hint(custom_nodes)}")
    return [
        "--listen", "127.0.0.1", "--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:",
        "--disable-all-custom-nodes", "--whitelist-custom-nodes", pack.name,
    ]  # fmt: skip


def _is_pack(folder: Path) -> bool:
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(rf'^name\s*=\s*"{PACK_NAME}"', text, re.MULTILINE) is not None


def own_interpreter(directory: Path) -> Path:
    """The Python that an installation brings along, else this one."""
    names = ("Scripts/python.exe", "bin/python")
    candidates = [directory / venv / name for venv in ("venv", ".venv") for name in names]
    candidates.append(directory.parent / "python_embeded" / "python.exe")  # spelt so in the portable build
    return next((c for c in candidates if c.exists()), Path(sys.executable))


def link_pack(link: Path, target: Path) -> None:
    """A link to the pack: a symbolic one, on Windows a junction, which needs no privilege."""
    if os.path.lexists(link):
        if link.resolve() == target.resolve():
            return
        link.unlink() if link.is_symlink() else link.rmdir()
    if os.name == "nt":
        import _winapi

        _winapi.CreateJunction(str(target), str(link))  # type: ignore[attr-defined]
    else:
        link.symlink_to(target, target_is_directory=True)
