"""A cluster and the stand-in for Discord, new for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("discord", reason="the extra [bot] is not installed")
pytest.importorskip("procrastinate", reason="the extra [cluster] is not installed")

from cluster_database import Cluster, new_cluster
from postgres import Postgres


@pytest.fixture(scope="session")
def bot_postgres() -> Iterator[Postgres]:
    server = Postgres("fsync = off")
    yield server
    server.remove()


@pytest.fixture
def cluster(bot_postgres: Postgres, tmp_path) -> Iterator[Cluster]:
    made = new_cluster(bot_postgres, tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def discord_() -> Iterator[object]:
    from discord_stand_in import DiscordStandIn

    with DiscordStandIn() as made:
        yield made
