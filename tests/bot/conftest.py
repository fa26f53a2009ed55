"""A cluster and the stand-in for Discord, new for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("discord", reason="the extra [bot] is not installed")
pytest.importorskip("procrastinate", reason="the extra [cluster] is not installed")

from cluster_fixtures import cluster, postgres
from discord_stand_in import DiscordStandIn

__all__ = ["cluster", "postgres"]


@pytest.fixture
def discord_() -> Iterator[DiscordStandIn]:
    with DiscordStandIn() as made:
        yield made
