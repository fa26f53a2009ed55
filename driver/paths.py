"""Paths of state: one folder outside the checkout, moved by ``DISTILLERY_HOME``.

Standard library only: the launcher reads this before anything is installed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Loaded by path from the launcher, where there is no package yet.
if __package__:
    from ..nodes.errors import DistilleryError
else:
    DistilleryError = Exception  # type: ignore[misc,assignment]


class HomeError(DistilleryError):
    """It cannot be told which folder is the user's."""


def checkout() -> Path:
    """Root of this checkout (or of the installed package)."""
    return Path(__file__).resolve().parent.parent


def home() -> Path:
    """The folder of environments, ComfyUI, models, servers and logs."""
    given = os.environ.get("DISTILLERY_HOME")
    if given:
        return _named("DISTILLERY_HOME", given)
    try:
        return _data_home() / "distillery"
    except RuntimeError as error:  # of Path.home: no HOME, and the system does not know this user
        raise HomeError(
            "This user has no home folder (HOME is not set, and the system knows none): set DISTILLERY_HOME to a "
            "folder that can be written, for example DISTILLERY_HOME=/var/tmp/distillery."
        ) from error


def _data_home() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    given = os.environ.get("XDG_DATA_HOME", "")
    # The specification has a relative one ignored: it would be another folder wherever a command is run.
    return Path(given) if os.path.isabs(given) else Path.home() / ".local" / "share"


def _named(variable: str, given: str) -> Path:
    """Return the folder that an environment variable names."""
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise HomeError(f"{variable}={given} names the home folder of a user who is not known: {error}.") from error


def models_dir() -> Path:
    """Models in ComfyUI's layout; ``DISTILLERY_MODELS`` names a folder that is there already."""
    given = os.environ.get("DISTILLERY_MODELS")
    return _named("DISTILLERY_MODELS", given) if given else home() / "models"


def servers_dir() -> Path:
    """One folder for each managed server: its base directory, state and log."""
    return home() / "servers"


def log_file() -> Path:
    """The driver's own log."""
    return home() / "logs" / "driver.log"


def user_path(text: str | Path) -> Path:
    """Return a path as a user types it: ``~`` and ``~user`` are home folders, ``~name.png`` is a file of that name."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user, or one without a home
        return Path(text)
