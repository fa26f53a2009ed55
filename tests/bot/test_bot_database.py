"""The bot's tables on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone

import pytest
from cluster_workers import waiting_job

from distillery.driver.bot.config import BotConfig, Tier
from distillery.driver.bot.database import BotDatabase, Cooldown
from distillery.driver.bot.people import GuildSettings, People
from distillery.driver.bot.schema import BOT
from distillery.driver.bot.values import Request, SourceRef, job_id
from distillery.driver.cluster.errors import LimitReached
from distillery.driver.cluster.schema import ensure_schema


def request(number: int, **more) -> Request:
    values = {
        "id": str(number), "kind": "one", "user_id": 7, "application_id": 1, "size_limit": 10**7, "source": SourceRef("u"),
        "command": "", "tier": "member", "token": "secret", "token_until": datetime.now(timezone.utc) + timedelta(minutes=14),
    }  # fmt: skip
    return Request(**{**values, **more})


def run(cluster, work, config=None):
    ensure_schema(cluster.url, BOT)
    ensure_schema(cluster.url, BOT)  # it is there, and left as it is

    async def main():
        database = BotDatabase(cluster.url, config or BotConfig(), size=4)
        await database.open()
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(main())


def test_a_request_and_its_job_are_one_transaction(cluster) -> None:
    async def work(database):
        asked = request(5, guild_id=3)
        assert await database.receive(asked) and not await database.receive(asked)
        job = waiting_job(10, "discord:7", id=job_id("5"), tier="member")
        accepted = await database.submit(asked, [(job, "--power 0.2")], {"name": "a.png"})
        assert accepted.place == 1 and not accepted.again
        again = await database.submit(asked, [(job, "--power 0.2")], {"name": "a.png"})  # after a restart
        assert again.again
        found = await database.request("5")
        assert found.state == "waiting" and found.data["name"] == "a.png" and found.source.url == "u"
        (row,) = await database.jobs("5")
        assert (row["job_id"], row["state"], row["command"]) == (job_id("5"), "queued", "--power 0.2")
        await database.update("5", data={"final": "--power 0.3"})
        assert (await database.request("5")).data == {"name": "a.png", "final": "--power 0.3"}
        assert await database.take_delivery(60) is None
        assert await database.cancel("5") == 1
        delivery = await database.take_delivery(60)
        assert delivery["target"] == "5" and await database.take_delivery(60) is None
        await database.put_off_delivery(delivery["id"], 0, "later")
        delivery = await database.take_delivery(60)
        assert delivery["attempts"] == 2
        await database.end_delivery(delivery["id"])
        await database.update("5", state="delivered", delivered_by="token")
        assert (await database.request("5")).state == "delivered"
        await database.update("5", state="deleted")
        await database.update("5", state="delivered")  # its result was on its way
        return (await database.request("5")).state

    assert run(cluster, work) == "deleted" and cluster.balances()


def test_what_is_refused_leaves_nothing(cluster) -> None:
    config = BotConfig(tiers=(Tier("member", queued=1, cooldown=30.0), Tier("gold", queued=9)), guild_queued=2)

    async def work(database):
        async def ask(number, **more):
            asked = request(number, **more)
            await database.receive(asked)
            job = waiting_job(10, asked.user, id=job_id(asked.id), tier=asked.tier)
            return await database.submit(asked, [(job, "")], {})

        await ask(1, user_id=1)
        with pytest.raises(Cooldown) as error:
            await ask(2, user_id=1)
        assert 25 < error.value.seconds <= 30
        await database.update("2", state="refused")
        await ask(3, user_id=2, tier="gold", guild_id=9)
        await ask(4, user_id=3, tier="gold", guild_id=9)
        with pytest.raises(LimitReached, match="This server has 2"):
            await ask(5, user_id=4, tier="gold", guild_id=9)
        assert (await database.request("5")).state == "received"  # the transaction is undone
        await ask(6, user_id=4, tier="gold", guild_id=10)

    run(cluster, work, config)
    assert cluster.states() == {"queued": 4}


def test_own_pictures_are_found_by_file_pixels_or_attachment(cluster) -> None:
    async def work(database):
        await database.remember("5", "file", "pixels", 77, {"positive": "x"})
        await database.remember("5", "file", "pixels", 78, {"positive": "x"})
        for given in (("file", "", None), ("other", "pixels", None), ("other", "others", 78)):
            assert (await database.recall(*given)) == {"positive": "x"}
        assert await database.recall("other", "others", 77) is None

    run(cluster, work)


def test_settings_bans_and_tokens(cluster) -> None:
    async def work(database):
        people = People(database)
        assert await people.settings(3) == GuildSettings() and await people.mode() == "open"
        await people.change_settings(3, GuildSettings("all", "spoiler"))
        assert await people.settings(3) == GuildSettings("all", "spoiler")
        await people.set_mode("paused")
        assert await people.mode() == "paused"
        await people.ban("user", 7, 1, "spam", 1.0)
        assert (await people.ban_of(7, None)).reason == "spam" and await people.ban_of(8, 7) is None
        await people.ban("user", 7, 1, "", -1.0)  # over
        assert await people.ban_of(7, None) is None
        assert await people.unban("user", 7) and not await people.unban("user", 7)
        await database.receive(request(5, token_until=datetime.now(timezone.utc) - timedelta(minutes=5)))
        await database.receive(request(6))
        await database.forget_tokens()
        assert (await database.request("5")).token is None and (await database.request("6")).token == "secret"
        assert (await people.usage(7))["accepted"] == 0 and (await people.stats())["queued"] == 0

    run(cluster, work)
