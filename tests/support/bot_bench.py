"""The bot beside the stand-in for Discord: in a thread of this process, or in a process of its own that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import threading
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster_workers import until

from distillery.driver.bot.client import Bot, run_bot
from distillery.driver.bot.config import BotConfig, parse_config
from distillery.driver.bot.database import BotDatabase
from distillery.driver.bot.schema import BOT
from distillery.driver.cluster.schema import ensure_schema
from distillery.driver.cluster.worker import WorkerOptions, prepare_cluster
from distillery.driver.sources.fetch import FetchPolicy

if TYPE_CHECKING:
    from cluster_database import Cluster
    from discord_stand_in import DiscordStandIn

ROOT = Path(__file__).resolve().parents[2]


class BotThread:
    """A bot in a thread of this process. The stand-in is patched in."""

    def __init__(
        self, discord_: DiscordStandIn, cluster: Cluster, config: BotConfig | None = None, shards: Any = None
    ) -> None:
        self.discord, self.cluster, self.config, self.shards = discord_, cluster, config or BotConfig(), shards
        self.error: BaseException | None = None
        self._made = threading.Event()
        self._patched = ExitStack()
        self._patched.enter_context(discord_.patch())
        self._thread = threading.Thread(target=self._run, name="bot", daemon=True)
        self._thread.start()
        assert self._made.wait(30), "the bot was not made"
        until(lambda: self.error is not None or self.bot.ready_at is not None, 30)
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.error = error
            traceback.print_exc()
        finally:
            self._made.set()

    async def _work(self) -> None:
        conninfo, store = await asyncio.to_thread(
            prepare_cluster, WorkerOptions(self.cluster.url, self.cluster.store.url)
        )
        await asyncio.to_thread(ensure_schema, conninfo, BOT)
        database = BotDatabase(conninfo, self.config, size=4)
        self.bot = Bot(self.config, database, store, self.discord.token, self.discord.policy, self.shards)
        self.loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(run_bot(self.bot, self.discord.token))
        self._made.set()
        await self._task

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return self._thread.is_alive()

    def stop(self, timeout: float = 30) -> None:
        """End it as SIGTERM does."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(timeout)
        self._patched.close()
        assert not self._thread.is_alive()


def _trusted() -> Path:
    """File of the certificates of the stand-in's hosts."""
    from discord_stand_in.stand_in import _certificates

    certificates = _certificates()
    file = certificates.folder / "all.pem"
    file.write_text("".join(certificates.file(host).read_text() for host in certificates.servers))
    return file


class BotProcess:
    """A bot in a process of its own, which can be killed."""

    def __init__(self, discord_: DiscordStandIn, cluster: Cluster, **config: Any) -> None:
        told = {"api": discord_.api, "port": discord_.policy.port, "ca": str(_trusted()), "config": config}
        environment = {
            **os.environ, "DISTILLERY_DATABASE": cluster.url, "DISTILLERY_STORE": cluster.store.url,
            "DISTILLERY_CHECKOUT": str(ROOT), "DISTILLERY_DISCORD_TOKEN": discord_.token, "BOT_BENCH": json.dumps(told),
        }  # fmt: skip
        before = discord_.identified + discord_.resumed
        self.process = subprocess.Popen([sys.executable, __file__], env=environment)
        until(lambda: self.process.poll() is not None or discord_.identified + discord_.resumed > before, 60)
        assert self.process.poll() is None

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def end(self, timeout: float = 30) -> int:
        """End it by SIGTERM."""
        self.process.terminate()
        return self.process.wait(timeout)


def main() -> None:
    from signal import SIGTERM

    import discord

    told = json.loads(os.environ["BOT_BENCH"])
    token = os.environ["DISTILLERY_DISCORD_TOKEN"]
    discord.http.Route.BASE = told["api"]
    context = ssl.create_default_context(cafile=told["ca"])
    policy = FetchPolicy(lambda host: ["127.0.0.1"], lambda address: True, told["port"], context)
    config = parse_config(told["config"])

    async def work() -> None:
        conninfo, store = prepare_cluster(WorkerOptions(os.environ["DISTILLERY_DATABASE"]))
        ensure_schema(conninfo, BOT)
        bot = Bot(config, BotDatabase(conninfo, config), store, token, policy)
        task = asyncio.create_task(run_bot(bot, token))
        asyncio.get_running_loop().add_signal_handler(SIGTERM, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    asyncio.run(work())


if __name__ == "__main__":
    main()
