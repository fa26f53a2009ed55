"""Where state lives: one folder outside the checkout, moved by ``DISTILLERY_HOME``.

Standard library only: the launcher reads this before anything is installed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def checkout() -> Path:
    """Root of this checkout (or of the installed package)."""
    return Path(__file__).resolve().parent.parent


def home() -> Path:
    """The folder of environments, ComfyUI, models, servers and logs."""
    given = os.environ.get("DISTILLERY_HOME")
    if given:
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "distillery"


def models_dir() -> Path:
    """Models in ComfyUI's layout; ``DISTILLERY_MODELS`` names a folder that is there already."""
    given = os.environ.get("DISTILLERY_MODELS")
    return Path(given).expanduser().absolute() if given else home() / "models"


def servers_dir() -> Path:
    """One folder for each managed server: its base directory, state and log."""
    return home() / "servers"


def log_file() -> Path:
    """The driver's own log."""
    return home() / "logs" / "driver.log"
