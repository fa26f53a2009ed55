"""Clients of the stand-in for Discord: shards, tokens, heartbeats, processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import discord
import pytest
import requests
import small_bot
from discord_stand_in import DiscordStandIn
from small_bot import SmallBot


def test_shards_have_their_own_guilds():
    class Sharded(SmallBot, discord.AutoShardedClient):
        pass

    with DiscordStandIn() as d, d.patch():
        guilds = [d.guild(f"guild {number}", shard=(number, 2)) for number in (0, 1)]
        user = d.user("ann")
        with d.running(Sharded(shard_count=2)) as running:
            assert {each.id: each.shard_id for each in running.client.guilds} == {guilds[0].id: 0, guilds[1].id: 1}
            for guild in guilds:
                d.join(user, guild)
                assert d.slash(user, d.channel(guild, "c"), "slow").finished().content == "done"


def test_a_wrong_token_and_a_privileged_intent_are_refused():
    with DiscordStandIn() as d, d.patch():
        bot = SmallBot()
        bot._connection._intents = discord.Intents.all()
        with pytest.raises(discord.PrivilegedIntentsRequired), d.running(bot):
            pass
        client = d.running(SmallBot(), token="another")
        with pytest.raises(discord.LoginFailure), client:
            pass


PROCESS = """
import sys
from discord_stand_in import patched
from small_bot import SmallBot
with patched(int(sys.argv[1])):
    SmallBot().run(sys.argv[2], log_handler=None)
"""


def test_a_client_in_a_process_of_its_own():
    support = str(Path(small_bot.__file__).parent)
    paths = os.pathsep.join([support, os.environ.get("PYTHONPATH", "")])
    with DiscordStandIn() as d:
        user, guild = d.user("ann"), d.guild("g")
        d.join(user, guild)
        command = [sys.executable, "-c", PROCESS, str(d.port), d.token]
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}) as process:
            try:
                d.wait(lambda: d.identified, 20, "a process that is connected")
                assert d.slash(user, d.channel(guild, "c"), "slow").finished(5).content == "done"
            finally:
                process.kill()


def test_missed_heartbeats_have_the_client_come_back():
    with DiscordStandIn() as d, d.patch():
        d.heartbeat_interval, d.heartbeat_acks = 0.1, False
        with d.running(SmallBot(heartbeat_timeout=0.5)):
            d.wait(lambda: d.resumed, 5)


def test_an_error_of_the_stand_in_fails_the_test():
    with pytest.raises(AssertionError, match="failed"), DiscordStandIn() as d:
        headers = {"Authorization": f"Bot {d.token}"}
        assert requests.get(f"{d.api}/channels/none", headers=headers, timeout=5).status_code == 400
