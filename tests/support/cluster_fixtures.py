"""A real PostgreSQL for the session, an empty database and a folder as store for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster_database import Cluster, new_cluster
from postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres("fsync = off")
    yield server
    server.remove()


@pytest.fixture
def cluster(postgres: Postgres, tmp_path) -> Iterator[Cluster]:
    made = new_cluster(postgres, tmp_path)
    yield made
    made.database.close()
