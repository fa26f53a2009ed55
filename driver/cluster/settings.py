"""What a cluster says of itself, so that its database's URL is all that a client needs."""

from __future__ import annotations

import os

from .addresses import LOCAL, STORE_VARIABLE, cluster_dir
from .database import Database
from .errors import ClusterError
from .store import Store, folder_url


def open_store(database: Database, url: str, given: str | None) -> Store:
    """Open the store: the one that is given, that the environment names, or that the cluster itself does.

    url: the address of the database; beside an embedded one the store is a folder. Raises ClusterError.
    """
    address = given or os.environ.get(STORE_VARIABLE) or setting(database, "store")
    if not address and url == LOCAL:
        address = folder_url(cluster_dir() / "store")
    if not address:
        raise ClusterError(
            "No store is known for pictures and results. The first worker names it: distillery worker --store "
            f"s3://bucket/prefix (or file:///folder, where all machines share one); or set {STORE_VARIABLE}."
        )
    return Store(address)


def remember_store(database: Database, store: Store, given: bool) -> None:
    """Note the store for clients, unless one is noted; with ``given`` in its place."""
    database.rows(
        "INSERT INTO distillery_settings (name, value) VALUES ('store', %s) ON CONFLICT (name) DO UPDATE SET value = "
        "CASE WHEN %s THEN EXCLUDED.value ELSE distillery_settings.value END RETURNING name",
        store.url,
        given,
    )


def setting(database: Database, name: str) -> str | None:
    """Return a setting, None where there is none."""
    value = database.value("SELECT value FROM distillery_settings WHERE name = %s", name)
    return None if value is None else str(value)
