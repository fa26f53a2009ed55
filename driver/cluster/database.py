"""Connections to a cluster's PostgreSQL, with what goes wrong said in words."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from ..log import without_secrets
from .addresses import LOCAL, check_database_url, shown
from .embedded import embedded_url
from .errors import ClusterError

log = logging.getLogger(__name__)
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # an outage is told once, by whoever is concerned

CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "distillery",
    # A peer that a broken network keeps from answering is noticed after 20 s, not after hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20000,
}
POOL_TIMEOUT = 10.0
"""Seconds that a query waits for a connection."""
OUTAGE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
"""What a query raises where the database does not answer; it may, later."""

Row = dict[str, Any]


def resolve(url: str) -> str:
    """Return the connection string for an address, starting the embedded PostgreSQL where it is meant."""
    if url == LOCAL:
        return embedded_url()
    check_database_url(url)
    return url


def connect(conninfo: str) -> psycopg.Connection[Row]:
    """Open one connection, in autocommit mode. Raises ClusterError."""
    try:
        return psycopg.connect(conninfo, autocommit=True, row_factory=dict_row, **CONNECT)
    except psycopg.OperationalError as error:
        raise connect_error(conninfo, error) from None
    except (psycopg.Error, ValueError) as error:
        raise ClusterError(f"{shown(conninfo)} cannot be used: {first_line(error)}") from None


def connect_error(conninfo: str, error: psycopg.OperationalError) -> ClusterError:
    """Say why a connection did not come about, and what to do."""
    said, where = first_line(error), shown(conninfo)
    lower = said.lower()
    if "password" in lower or "no pg_hba.conf entry" in lower or ("role" in lower and "does not exist" in lower):
        advice = "Check user and password: the URL names the user, PGPASSWORD or ~/.pgpass has the password."
    elif "does not exist" in lower:
        advice = 'Make the database first, for example with: createdb -O distillery distillery (see docs/cluster.md, "Setting up").'
    elif "ssl" in lower or "certificate" in lower:
        advice = "Check the TLS settings of the URL (sslmode, sslrootcert)."
    else:
        advice = "Check the host and port of the URL, and that PostgreSQL runs there and takes connections from here."
    return ClusterError(f"The database {where} cannot be reached: {said} {advice}")


def statement_error(conninfo: str, error: psycopg.Error) -> ClusterError:
    """Say why the database refused a statement."""
    if isinstance(error, psycopg.OperationalError):
        return connect_error(conninfo, error)
    advice = ""
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        advice = " Its user lacks a right: see docs/cluster/roles.sql."
    return ClusterError(f"The database {shown(conninfo)} refused: {first_line(error)}{advice}")


def first_line(error: BaseException) -> str:
    """Return an error of PostgreSQL's in one line without secrets."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines and lines[-1].startswith(("FATAL", "connection", "timeout")) else " ".join(lines[:2])
    return without_secrets(text)[:300].rstrip(".") + "."


class Database:
    """A small pool of connections. Safe for use by several threads.

    conninfo: of :func:`resolve`. size: connections at most; none is held while nothing is asked.
    """

    def __init__(self, conninfo: str, size: int = 4) -> None:
        self.conninfo = conninfo
        connect(conninfo).close()  # the pool would only say that it has no connection
        self._pool: ConnectionPool[psycopg.Connection[Row]] = ConnectionPool(
            conninfo,
            kwargs={"row_factory": dict_row, "autocommit": True, **CONNECT},
            min_size=0,
            max_size=size,
            timeout=POOL_TIMEOUT,
            reconnect_timeout=3,  # then whoever asks anew has it begin anew
            max_idle=60,
            check=ConnectionPool.check_connection,
            open=True,
        )

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Row]]:
        """Lend a connection in autocommit mode. Raises what :data:`OUTAGE` names where there is none."""
        with self._pool.connection() as connection:
            yield connection

    def rows(self, query: str, *arguments: Any) -> list[Row]:
        """Run one statement and return its rows, none where it is one without."""
        with self.connection() as connection:
            cursor = connection.execute(query, arguments)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def row(self, query: str, *arguments: Any) -> Row | None:
        """Run one statement and return its first row."""
        with self.connection() as connection:
            return connection.execute(query, arguments).fetchone()  # type: ignore[arg-type]

    def value(self, query: str, *arguments: Any) -> Any:
        """Run one statement and return the first column of its first row."""
        row = self.row(query, *arguments)
        return None if row is None else next(iter(row.values()))

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()
