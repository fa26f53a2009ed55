"""The secret that managed servers ask for: one for each home, readable by its user alone."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from .. import paths

_FORM = re.compile(r"[A-Za-z0-9_-]{32,128}")


def server_token() -> str:
    """Return the token of this home, made where there is none. Raises OSError."""
    private_folder(paths.servers_dir())
    path = paths.servers_dir() / "token"
    while True:
        with contextlib.suppress(FileNotFoundError):
            found = path.read_text(encoding="ascii", errors="replace").strip()
            if _FORM.fullmatch(found):
                return found
            path.unlink()  # cut off by a full disk, or emptied by hand
        write_private(path, secrets.token_urlsafe(32), replace=False)


def write_private(path: Path, text: str, replace: bool = True) -> None:
    """Write a file whole, readable by its owner alone. replace: False leaves one that is there. Raises OSError."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name with no content
        if replace:
            part.replace(path)
            return
        try:
            os.link(part, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter, and close one that is there and the user's own. Raises OSError.

    For folders of this project alone: DISTILLERY_HOME may name one that others share.
    """
    for parent in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        parent.mkdir(exist_ok=True, mode=0o700)  # ``parents=True`` would give them the usual mode
    if os.name != "nt":
        with contextlib.suppress(OSError):  # another owner's, or a file system without modes
            if folder.stat().st_uid == os.getuid() and folder.stat().st_mode & 0o077:
                folder.chmod(0o700)
