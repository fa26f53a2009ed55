"""The bot itself: discord.py's client, what runs beside it, and what is resumed when it starts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any

import aiohttp
import discord
from discord import app_commands

from ..cluster.store import Store
from ..errors import ServerError
from ..sources.fetch import FetchPolicy
from . import cards
from .admin import Admin, add_settings
from .buttons import CardButton
from .commands import Commands
from .config import BotConfig, BotError
from .database import OUTAGE, BotDatabase
from .delivery import Delivery
from .follow import Follower
from .intake import Intake
from .people import People
from .posting import Posting, TryLater
from .refusals import refusal_of
from .service import Service
from .values import Request

log = logging.getLogger(__name__)

INVALID_WINDOW = 600.0
"""Seconds in which Discord takes 10,000 answers of 401, 403 and 429 for an attack."""
INVALID_LIMIT = 5000
"""Of them, from which on this bot asks for nothing but results."""
TIDY = 300.0
DRAIN_LOOK = 2.0


class InvalidRequests:
    """Counts the answers for which Discord bans. Safe for use by one event loop."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=INVALID_LIMIT)

    def add(self) -> None:
        """Count one."""
        self._times.append(time.monotonic())

    @property
    def too_many(self) -> bool:
        """True where it is time to be quiet."""
        full = len(self._times) == INVALID_LIMIT
        return full and time.monotonic() - self._times[0] < INVALID_WINDOW

    def trace(self) -> aiohttp.TraceConfig:
        """Return what counts the answers of a session."""

        async def ended(session: Any, context: Any, parameters: aiohttp.TraceRequestEndParams) -> None:
            if parameters.response.status in (401, 403, 429):
                self.add()

        config = aiohttp.TraceConfig()
        config.on_request_end.append(ended)
        return config


class Bot(discord.AutoShardedClient):
    """The bot. store: of the cluster. token: of the application, with which expired links are renewed too.

    policy: how links are fetched; None: as usual. shards: ids of those that this process has, and how many there are;
    None: all that Discord recommends.
    """

    def __init__(
        self,
        config: BotConfig,
        database: BotDatabase,
        store: Store,
        token: str,
        policy: FetchPolicy | None = None,
        shards: tuple[list[int], int] | None = None,
    ) -> None:
        self.invalid = InvalidRequests()
        # No privileged intents: commands and buttons come as interactions.
        super().__init__(
            intents=discord.Intents(guilds=True),
            allowed_mentions=discord.AllowedMentions.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            http_trace=self.invalid.trace(),
            **({"shard_ids": shards[0], "shard_count": shards[1]} if shards else {}),  # type: ignore[arg-type]
        )
        self.config, self.database = config, database
        self.posting = Posting(self)
        self.intake = Intake(database, store, config, token, policy)
        due = asyncio.Event()
        self.follower = Follower(database, store, self.posting, due, lambda: self.invalid.too_many)
        self.delivery = Delivery(database, store, self.posting, self.intake, config, self.follower.settle, due)
        self.service = Service(
            config, database, People(database), store, self.intake, self.posting, self.delivery, self.follower
        )
        self.tree = app_commands.CommandTree(self)
        self.tree.error(self._command_failed)
        self._tasks: list[asyncio.Task[Any]] = []
        self._draining = False
        self.ready_at: float | None = None

    async def setup_hook(self) -> None:
        """Register commands and buttons, resume what is open, begin to work."""
        info = await self.application_info()
        owners = {info.owner.id, *self.config.owners}
        if info.team is not None:
            owners |= {member.id for member in info.team.members}
        Commands(self.service).add_to(self.tree)
        add_settings(self.tree, self.service)
        self.tree.add_command(Admin(self.service, owners))
        self.add_dynamic_items(CardButton)
        await self._sync()
        if await self.service.people.mode() == "draining":
            await self.service.people.set_mode("open")  # it was drained to be started anew
        for work in (self.delivery.run(), self.follower.run(), self._tidy()):
            self._begin(work)
        self._begin(self._resume())

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _sync(self) -> None:
        """Tell Discord the commands, where they are others than it knows."""
        guild = discord.Object(self.config.test_guild) if self.config.test_guild else None
        if guild is not None:
            self.tree.copy_global_to(guild=guild)
        payload = [command.to_dict(self.tree) for command in self.tree.get_commands(guild=guild)]
        menus = [discord.AppCommandType.user, discord.AppCommandType.message]
        payload += [
            menu.to_dict(self.tree) for kind in menus for menu in self.tree.get_commands(guild=guild, type=kind)
        ]
        digest = hashlib.sha256(json.dumps(payload, sort_keys=True, default=str).encode()).hexdigest()
        scope = f"commands:{self.application_id}:{self.config.test_guild or 0}"
        people = self.service.people
        if (await people.kept(scope)).get("digest") != digest:
            await self.tree.sync(guild=guild)
            await people.keep(scope, {"digest": digest})

    async def on_ready(self) -> None:
        """Note that the bot works."""
        if self.ready_at is None:
            self.ready_at = time.monotonic()
            log.info("ready", extra={"data": {"guilds": len(self.guilds), "shards": self.shard_count}})

    async def _command_failed(self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError) -> None:
        """Tell the user what went wrong with a command."""
        if isinstance(error, app_commands.CheckFailure):
            return
        cause = error.original if isinstance(error, app_commands.CommandInvokeError) else error
        await self.service.refuse(interaction, None, cause)

    # --- what was begun before ---

    def mine(self, request: Request) -> bool:
        """Return True for requests that this process's shards get: one process shows how a request goes."""
        if self.shard_ids is None or not self.shard_count:
            return True
        shard = ((request.guild_id or 0) >> 22) % self.shard_count
        return shard in self.shard_ids

    async def _resume(self) -> None:
        """Take what was received and follow what was taken before the bot ended."""
        await self.wait_until_ready()
        while True:
            try:
                open_requests = await self.database.requests("received", "waiting")
                break
            except OUTAGE:
                await asyncio.sleep(2)
        for request in open_requests:
            if not self.mine(request):
                continue
            if request.state == "waiting" and request.message_id is not None:
                self.follower.follow(request)
            elif time.time() - request.created.timestamp() > 1.0 or request.state == "waiting":
                await self._take_up(request)
        self.delivery.due.set()

    async def _take_up(self, request: Request) -> None:
        """Go on with a request whose bot ended before its card was there."""
        try:
            taken = await self.intake.take(request)
        except OUTAGE:
            return
        except Exception as error:
            refusal = refusal_of(error)
            try:
                await self.database.update(request.id, state="refused", data={"refused": refusal.text[:500]})
                alone = cards.refused(refusal, request.id)
                await self.posting.deliver(request, lambda to: alone)
            except (TryLater, ServerError, *OUTAGE) as later:
                log.warning("not told", extra={"data": {"request": request.id, "error": str(later)[:200]}})
            return
        await self.service.show_waiting(None, taken)

    # --- beside it ---

    async def _tidy(self) -> None:
        while True:
            try:
                await self.database.forget_tokens()
            except OUTAGE:
                pass
            await asyncio.sleep(TIDY)

    def drain(self) -> None:
        """End once all that is there has been delivered."""
        if not self._draining:
            self._draining = True
            self._begin(self._drain())

    async def _drain(self) -> None:
        while True:
            try:
                open_requests = await self.database.requests("received", "waiting")
                if not self.service.taking and not [r for r in open_requests if self.mine(r)]:
                    break
            except OUTAGE:
                pass
            await asyncio.sleep(DRAIN_LOOK)
        log.warning("drained")
        await self.close()

    async def close(self) -> None:
        """End. What is in the queue is run and delivered by the next start."""
        others = [task for task in self._tasks if task is not asyncio.current_task()]  # draining closes the bot itself
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.intake.close()
        await super().close()
        await self.database.close()


async def run_bot(bot: Bot, token: str) -> None:
    """Run a bot until it is closed. Raises BotError where Discord does not take it."""
    await bot.database.open()
    try:
        await bot.start(token)
    except discord.LoginFailure:
        raise BotError(
            "Discord does not take the token in DISTILLERY_DISCORD_TOKEN. Copy it again: discord.com/developers, your "
            "application, Bot, Reset Token."
        ) from None
    except discord.PrivilegedIntentsRequired:
        raise BotError("Discord asks for privileged intents, which this bot does not use.") from None
    except (aiohttp.ClientError, discord.DiscordServerError, OSError) as error:
        raise BotError(f"Discord cannot be reached: {type(error).__name__}. Check this machine's network.") from None
    finally:
        if not bot.is_closed():
            await bot.close()
