"""The schema of a cluster: made and brought up to date by plain SQL, told apart where it is another version's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg
from procrastinate.schema import SchemaManager

from .addresses import shown
from .database import connect, first_line
from .errors import ClusterError

log = logging.getLogger(__name__)

_LOCK = 4_751_926_033
"""Key of the advisory lock under which a schema is changed."""


@dataclass(frozen=True)
class Schema:
    """Tables and functions that a package makes, by the plain SQL in its folder ``sql``: ``0001_….sql``, …"""

    package: str
    table: str
    """Table that has its version."""
    version: int
    """That this code is written for."""
    oldest: Mapping[int, int]
    """Version to the oldest code that works with it. A migration that an older worker does not survive raises it, and
    is one to be made with no worker running."""
    with_procrastinate: bool = False
    """True to make Procrastinate's tables before the first version."""


CLUSTER = Schema(__package__ or "", "distillery_schema", 1, {1: 1}, with_procrastinate=True)


def ensure_schema(conninfo: str, schema: Schema = CLUSTER) -> None:
    """Make or update a schema, or see that it is one that this version can work with. Raises ClusterError."""
    with connect(conninfo) as connection:
        found = _versions(connection, schema)
        if found is None or found[0] < schema.version:
            _migrate(conninfo, connection, schema)
            found = _versions(connection, schema)
    assert found is not None
    check_versions(found[0], found[1], conninfo, schema)


def check_versions(version: int, oldest: int, conninfo: str, schema: Schema = CLUSTER) -> None:
    """Raise ClusterError where the schema is one that this code does not work with."""
    if version > schema.version and oldest > schema.version:
        raise ClusterError(
            f"The schema of {shown(conninfo)} is version {version}, which a newer distillery made; this one knows version "
            f"{schema.version}. Update distillery on this machine."
        )


def _versions(connection: psycopg.Connection[Any], schema: Schema) -> tuple[int, int] | None:
    """Return the version of the schema and the oldest code that works with it; None where there is none."""
    found = connection.execute("SELECT to_regclass(%s) AS there", (schema.table,)).fetchone()
    if found is None or found["there"] is None:
        return None
    row = connection.execute(
        f"SELECT version, oldest FROM {schema.table} ORDER BY version DESC LIMIT 1"  # type: ignore[arg-type]
    ).fetchone()
    return None if row is None else (int(row["version"]), int(row["oldest"]))


def _migrate(conninfo: str, connection: psycopg.Connection[Any], schema: Schema) -> None:
    try:
        # Before the transaction, whose beginning forgets what this session knew of tables that were not there.
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        with connection.transaction():
            there = (_versions(connection, schema) or (0, 0))[0]  # another may have made it meanwhile
            if there == 0:
                _install(connection, schema)
            for version in range(there + 1, schema.version + 1):
                for text in migration(version, schema):
                    connection.execute(text)  # type: ignore[call-overload]
                connection.execute(
                    f"INSERT INTO {schema.table} (version, oldest) VALUES (%s, %s)",  # type: ignore[arg-type]
                    (version, schema.oldest[version]),
                )
                log.info("schema", extra={"data": {"table": schema.table, "version": version}})
    except psycopg.errors.InsufficientPrivilege as error:
        raise ClusterError(
            f"The schema of {shown(conninfo)} is not there or an older one, and this user may not make it: "
            f"{first_line(error)} Run `distillery worker --migrate` once as the owner of the database."
        ) from None


def _install(connection: psycopg.Connection[Any], schema: Schema) -> None:
    if schema.with_procrastinate:
        found = connection.execute("SELECT to_regclass('procrastinate_jobs') AS there").fetchone()
        if found is None or found["there"] is None:
            connection.execute(SchemaManager.get_schema())
        # Rows that are claimed and deleted all day.
        connection.execute(
            "ALTER TABLE procrastinate_jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500)"
        )
    connection.execute(
        f"CREATE TABLE {schema.table} (version integer PRIMARY KEY, oldest integer NOT NULL, "  # type: ignore[arg-type]
        "applied timestamptz NOT NULL DEFAULT now())"
    )


def migration(version: int, schema: Schema = CLUSTER) -> list[str]:
    """Return the statements of a migration, in their order."""
    folder = resources.files(schema.package) / "sql"
    names = sorted(f.name for f in folder.iterdir() if f.name.startswith(f"{version:04}_") and f.name.endswith(".sql"))
    return [(folder / name).read_text(encoding="utf-8") for name in names]
