"""Addresses of databases and stores: read, checked, and shown without what is secret in them."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from ..paths import home
from .errors import ClusterError

LOCAL = "local"
"""In place of a URL: the embedded PostgreSQL of this machine."""
ENVIRONMENT = "env"
"""In place of a URL: the one in :data:`DATABASE_VARIABLE`."""
DATABASE_VARIABLE = "DISTILLERY_DATABASE"
STORE_VARIABLE = "DISTILLERY_STORE"


def cluster_dir() -> Path:
    """Folder of the embedded PostgreSQL and of its store."""
    return home() / "cluster"


def database_url(given: str | None) -> str:
    """Return the database's address: as given on the command line, else from the environment, else the embedded one.

    Raises ClusterError for a password on the command line, which every user of the machine could read there.
    """
    if given is None:
        return os.environ.get(DATABASE_VARIABLE, "") or LOCAL
    if given == LOCAL:
        return LOCAL
    if given == ENVIRONMENT:
        if not (url := os.environ.get(DATABASE_VARIABLE, "")):
            raise ClusterError(f"{DATABASE_VARIABLE} is not set: it has the URL of the cluster's PostgreSQL.")
        return url
    check_database_url(given)
    if urlsplit(given).password:
        raise ClusterError(
            "The URL of the database has a password in it, and a command line can be read by every user of this "
            f"machine. Put the URL into the variable {DATABASE_VARIABLE}, or the password into PGPASSWORD or ~/.pgpass."
        )
    return given


def check_database_url(url: str) -> None:
    """Raise ClusterError where the text is no URL of PostgreSQL."""
    try:
        parts = urlsplit(url)
        scheme = parts.scheme
        _ = parts.port
    except ValueError:
        scheme = ""
    if scheme not in ("postgresql", "postgres"):
        raise ClusterError(
            f"{shown(url)} is not the URL of a PostgreSQL: postgresql://user@host/database, or the word local for the "
            "one of this machine."
        )


def shown(url: str) -> str:
    """Return a URL without login, password and parameters, for messages."""
    if url == LOCAL:
        return "the embedded PostgreSQL"
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}" if parts.scheme else url[:80]
    except ValueError:
        return url.split("@")[-1].split("?")[0][:80]
