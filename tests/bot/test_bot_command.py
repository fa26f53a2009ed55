"""``distillery bot`` from the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("discord", reason="the extra [bot] is not installed")


def bot(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DISTILLERY_DISCORD_TOKEN"}
    return subprocess.run(
        [sys.executable, "-m", "distillery.driver", "bot", *arguments],
        env={**environment, **variables}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_without_a_token_it_says_where_one_is_had() -> None:
    done = bot()
    assert (
        done.returncode == 1 and "DISTILLERY_DISCORD_TOKEN" in done.stderr and "discord.com/developers" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_configuration_is_checked(tmp_path) -> None:
    file = tmp_path / "bot.toml"
    file.write_text("guild_queued = 5\n")
    assert bot("--config", str(file), "--check").returncode == 0
    file.write_text("guild_queud = 5\n")
    done = bot("--config", str(file), "--check")
    assert done.returncode == 1 and "Did you mean guild_queued?" in done.stderr
    assert "--shards" in bot("--shards", "9/8", "--check").stderr


def test_help_says_what_is_needed() -> None:
    done = bot("--help")
    assert done.returncode == 0 and "DISTILLERY_DISCORD_TOKEN" in done.stdout and "--cluster" in done.stdout
