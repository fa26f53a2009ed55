"""The schema of a cluster: made and brought up to date by plain SQL, told apart where it is another version's."""

from __future__ import annotations

import logging
from importlib import resources
from typing import Any

import psycopg
from procrastinate.schema import SchemaManager

from .addresses import shown
from .database import connect, first_line
from .errors import ClusterError

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the schema that this code is written for."""
OLDEST = {1: 1}
"""Version to the oldest code that works with it. A migration that an older worker does not survive raises it, and
is one to be made with no worker running."""
_LOCK = 4_751_926_033
"""Key of the advisory lock under which the schema is changed."""


def ensure_schema(conninfo: str) -> None:
    """Make or update the schema, or see that it is one that this version can work with. Raises ClusterError."""
    with connect(conninfo) as connection:
        found = _versions(connection)
        if found is None or found[0] < VERSION:
            _migrate(conninfo, connection)
            found = _versions(connection)
    assert found is not None
    check_versions(found[0], found[1], conninfo)


def check_versions(version: int, oldest: int, conninfo: str) -> None:
    """Raise ClusterError where the schema is one that this code does not work with."""
    if version > VERSION and oldest > VERSION:
        raise ClusterError(
            f"The schema of {shown(conninfo)} is version {version}, which a newer distillery made; this one knows version "
            f"{VERSION}. Update distillery on this machine."
        )


def _versions(connection: psycopg.Connection[Any]) -> tuple[int, int] | None:
    """Return the version of the schema and the oldest code that works with it; None where there is none."""
    found = connection.execute("SELECT to_regclass('distillery_schema') AS there").fetchone()
    if found is None or found["there"] is None:
        return None
    row = connection.execute("SELECT version, oldest FROM distillery_schema ORDER BY version DESC LIMIT 1").fetchone()
    return None if row is None else (int(row["version"]), int(row["oldest"]))


def _migrate(conninfo: str, connection: psycopg.Connection[Any]) -> None:
    try:
        # Before the transaction, whose beginning forgets what this session knew of tables that were not there.
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        with connection.transaction():
            there = (_versions(connection) or (0, 0))[0]  # another may have made it meanwhile
            if there == 0:
                _install(connection)
            for version in range(there + 1, VERSION + 1):
                for text in migration(version):
                    connection.execute(text)  # type: ignore[call-overload]
                connection.execute(
                    "INSERT INTO distillery_schema (version, oldest) VALUES (%s, %s)", (version, OLDEST[version])
                )
                log.info("schema", extra={"data": {"version": version}})
    except psycopg.errors.InsufficientPrivilege as error:
        raise ClusterError(
            f"The schema of {shown(conninfo)} is not there or an older one, and this user may not make it: "
            f"{first_line(error)} Run `distillery worker --migrate` once as the owner of the database."
        ) from None


def _install(connection: psycopg.Connection[Any]) -> None:
    found = connection.execute("SELECT to_regclass('procrastinate_jobs') AS there").fetchone()
    if found is None or found["there"] is None:
        connection.execute(SchemaManager.get_schema())
    connection.execute(
        "CREATE TABLE distillery_schema (version integer PRIMARY KEY, oldest integer NOT NULL, "
        "applied timestamptz NOT NULL DEFAULT now())"
    )
    # Rows that are claimed and deleted all day.
    connection.execute(
        "ALTER TABLE procrastinate_jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500)"
    )


def migration(version: int) -> list[str]:
    """Return the statements of a migration, in their order."""
    folder = resources.files(__package__) / "sql"
    names = sorted(f.name for f in folder.iterdir() if f.name.startswith(f"{version:04}_") and f.name.endswith(".sql"))
    return [(folder / name).read_text(encoding="utf-8") for name in names]
