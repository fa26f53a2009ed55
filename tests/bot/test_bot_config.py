"""The bot's configuration."""

from __future__ import annotations

import pytest

pytest.importorskip("discord", reason="the extra [bot] is not installed")

from distillery.driver.bot.config import BotConfig, BotError, parse_config, read_config
from distillery.driver.cli.bot import parse_shards
from distillery.driver.errors import ServerError


def test_nothing_is_needed() -> None:
    assert read_config(None) == BotConfig() and parse_config({}) == BotConfig()


def test_tiers_by_role(tmp_path) -> None:
    file = tmp_path / "bot.toml"
    file.write_text(
        'owners = [5]\nfree = "free"\nguild_queued = 50\nsweep_powers = [0.2, 0.4]\n[tiers.gold]\nroles = [11, 12]\n'
        "weight = 4\nrunning = 4\n[tiers.free]\nqueued = 1\ndaily = 5\ncooldown = 60\n"
    )
    config = read_config(file)
    assert config.owners == (5,) and config.sweep_powers == (0.2, 0.4)
    assert config.tier_of([12, 99]).name == "gold" and config.tier_of([99]).name == "member"
    assert config.tier("free").cooldown == 60 and config.tier("gold").weight == 4.0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"owner": [5]}, "Did you mean owners"), ({"owners": 5}, r"list"), ({"owners": ["5"]}, "whole number"),
        ({"guild_queued": 0}, "from 1 to"), ({"guild_queued": True}, "whole number"), ({"free": "free"}, r"\[tiers.free\]"),
        ({"tiers": {"Gold!": {}}}, "small letters"), ({"tiers": {"a": {"weight": "4"}}}, "a number from"), ({"tiers": []}, "tables"),
        ({"tiers": {"a": {"colour": 1}}}, "unknown key colour"), ({"allow_hosts": [5]}, "text"), ({"sweep_powers": [2]}, "from 0.01 to 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(data, said) -> None:
    with pytest.raises(BotError, match=said):
        parse_config(data)


def test_files_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(BotError, match="cannot be read"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("owners = [")
    with pytest.raises(BotError, match="no TOML"):
        read_config(tmp_path / "bad.toml")


def test_shards() -> None:
    assert parse_shards(None) is None and parse_shards("0-3/8") == ([0, 1, 2, 3], 8) and parse_shards("2/8") == ([2], 8)
    for wrong in ("8/8", "3-1/8", "a/8", "1", "", "1-2-3/8"):
        with pytest.raises(ServerError, match="--shards"):
            parse_shards(wrong)
