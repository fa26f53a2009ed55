"""What commands, menus, buttons and forms have in common: a request is taken, or its user is told why not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import aiohttp
import discord

from ...nodes.command import CommandError
from ...nodes.errors import DistilleryError
from ..cluster.store import Store
from ..cluster.submission import Accepted
from . import cards
from .config import BotConfig, Tier
from .database import OUTAGE, BotDatabase
from .delivery import Delivery
from .follow import Follower
from .intake import Intake, Taken
from .people import GuildSettings, People
from .posting import KEPT, TOKEN, Posting, TryLater
from .refusals import Refusal, no_image, not_understood, refusal_of
from .values import TOKEN_LIFE, Request, SourceRef

log = logging.getLogger(__name__)

ACKNOWLEDGED = 0.8
"""Seconds after which an answer is announced where it is not there yet."""
MODE_FRESH = 3.0
"""Seconds for which it is known whether requests are taken."""


class Service:
    """Takes requests from interactions. All that it needs is made by :mod:`.client`."""

    def __init__(
        self,
        config: BotConfig,
        database: BotDatabase,
        people: People,
        store: Store,
        intake: Intake,
        posting: Posting,
        delivery: Delivery,
        follower: Follower,
    ) -> None:
        self.config, self.database, self.people, self.store = config, database, people, store
        self.intake, self.posting, self.delivery, self.follower = intake, posting, delivery, follower
        self._mode: tuple[float, str] = (-1e9, "open")
        self.taking = 0
        """Requests that are being taken."""

    async def upscale(
        self,
        interaction: discord.Interaction[Any],
        source: SourceRef | None,
        command: str,
        kind: str = "one",
        tier: str | None = None,
        data: Mapping[str, Any] | None = None,
        fault: CommandError | None = None,
    ) -> None:
        """Take a request and answer it with its card, or for the user's eyes alone with what is wrong.

        source: None where there is no image. command: checked; with ``fault`` as it was typed. tier: of the free command.
        """
        began = time.monotonic()
        request = self.request_of(interaction, source or SourceRef(), command, kind, tier, data)
        self.taking += 1
        try:
            await self.gate(interaction)
            if source is not None:
                hidden = await self._hidden(interaction, source)
                request = replace(request, data={**request.data, "spoiler": hidden})
            if not await self.database.receive(request):
                return  # Discord has sent it again: it is being answered
            if fault is not None:
                raise not_understood(fault)
            if source is None:
                raise no_image()
            taken = await self._take(interaction, request, began)
        except Exception as error:
            await self.refuse(interaction, request, error)
            return
        finally:
            self.taking -= 1
        await self.show_waiting(interaction, taken)

    async def _take(self, interaction: discord.Interaction[Any], request: Request, began: float) -> Taken:
        """Take a request; announce the answer where that takes longer than people like to wait."""
        work = asyncio.create_task(self.intake.take(request))
        old = (datetime.now(timezone.utc) - interaction.created_at).total_seconds()
        spent = max(time.monotonic() - began, min(old, ACKNOWLEDGED))
        done, _ = await asyncio.wait({work}, timeout=max(0.0, ACKNOWLEDGED - spent))
        if not done and not interaction.response.is_done():
            try:
                await interaction.response.defer(thinking=True)
            except (discord.HTTPException, aiohttp.ClientError, asyncio.TimeoutError) as error:
                log.info("not acknowledged", extra={"data": {"interaction": interaction.id, "error": str(error)[:200]}})
        return await work

    async def show_waiting(self, interaction: discord.Interaction[Any] | None, taken: Taken) -> None:
        """Show the card of a request that was taken. interaction: None after a restart."""
        request, wait = taken.request, wait_of(taken.accepted)
        message: discord.Message | None = None
        how = TOKEN
        try:
            if interaction is not None:
                try:
                    message = await self.posting.answer(interaction, cards.waiting(request, wait))
                except (discord.HTTPException, aiohttp.ClientError, asyncio.TimeoutError) as error:
                    log.warning("not answered", extra={"data": {"request": request.id, "error": str(error)[:200]}})
            if message is None:  # the answer came too late, or its sender has died
                alone = replace(request, token=None if interaction is not None else request.token, message_id=None)
                how, message = await self.posting.deliver(alone, lambda to: cards.waiting(request, wait))
                if how == KEPT or message is None:
                    return  # its result looks for its reader again
            columns: dict[str, Any] = {"message_id": message.id}
            if interaction is None:
                columns["channel_id"] = message.channel.id
                if how != TOKEN:
                    columns["token"] = None
            await self.database.update(request.id, **columns)
            self.follower.follow(replace(request, **columns), wait)
            self.delivery.due.set()
        except (TryLater, *OUTAGE) as error:
            log.warning("no card", extra={"data": {"request": request.id, "error": str(error)[:200]}})

    async def refuse(
        self, interaction: discord.Interaction[Any], request: Request | None, error: BaseException
    ) -> None:
        """Tell a user why a request is not taken."""
        refusal = refusal_of(error)
        if not isinstance(error, (DistilleryError, Refusal, *OUTAGE)):
            log.error("unexpected error", exc_info=error)
        kept = request is not None and not isinstance(error, OUTAGE)
        if request is not None and kept:
            try:
                await self.database.update(request.id, state="refused", data={"refused": refusal.text[:500]})
            except OUTAGE:
                kept = False  # buttons would find nothing
        await self.posting.whisper(
            interaction, cards.refused(refusal, request.id if request is not None and kept else None)
        )

    async def again(
        self,
        interaction: discord.Interaction[Any],
        earlier: Request,
        command: str,
        kind: str = "one",
        fault: CommandError | None = None,
    ) -> None:
        """Take a request for the picture of an earlier one."""
        source = (
            SourceRef(parent=earlier.id, spoiler=earlier.source.spoiler) if "image" in earlier.data else earlier.source
        )
        name = earlier.data.get("name")
        given = source if source.parent or source.url else None
        await self.upscale(interaction, given, command, kind, data={"name": name} if name else {}, fault=fault)

    async def gate(self, interaction: discord.Interaction[Any]) -> None:
        """Raise Refusal for those who are banned, and where no requests are taken."""
        ban = await self.people.ban_of(interaction.user.id, interaction.guild_id)
        if ban is not None:
            whom = "You are" if ban.kind == "user" else "This server is"
            until = f" until <t:{round(ban.until.timestamp())}:f>" if ban.until else ""
            why = f" ({ban.reason})" if ban.reason else ""
            raise Refusal(f"{whom} excluded from this bot{until}{why}.")
        if time.monotonic() - self._mode[0] > MODE_FRESH:
            self._mode = (time.monotonic(), await self.people.mode())
        if self._mode[1] == "paused":
            raise Refusal("The bot takes no requests at the moment; what is in the queue goes on. Try again later.")
        if self._mode[1] == "draining":
            raise Refusal("The bot is being restarted and takes no requests for a moment. Try again in some minutes.")

    async def set_mode(self, mode: str) -> None:
        """Set whether requests are taken."""
        await self.people.set_mode(mode)
        self._mode = (-1e9, mode)

    async def settings(self, interaction: discord.Interaction[Any]) -> GuildSettings:
        """Return the settings of the guild in which something happens."""
        return await self.people.settings(interaction.guild_id)

    async def _hidden(self, interaction: discord.Interaction[Any], source: SourceRef) -> bool:
        """Return True where pictures are shown behind a click. Raises Refusal where they are not shown at all."""
        settings = await self.settings(interaction)
        restricted: Callable[[], bool] = getattr(interaction.channel, "is_nsfw", lambda: False)
        adult = interaction.guild_id is None or restricted()
        if settings.pictures == "adult" and not adult:
            raise Refusal("In this server pictures are made in age-restricted channels alone. Use the command in one.")
        return source.spoiler or (settings.pictures == "spoiler" and not adult)

    def tier_of(self, interaction: discord.Interaction[Any]) -> Tier:
        """Return the tier of the user of an interaction, by the roles in that guild."""
        return self.config.tier_of([role.id for role in getattr(interaction.user, "roles", ())])

    def request_of(
        self,
        interaction: discord.Interaction[Any],
        source: SourceRef,
        command: str,
        kind: str,
        tier: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Request:
        """Return the request that an interaction makes."""
        return Request(
            id=str(interaction.id),
            kind=kind,
            user_id=interaction.user.id,
            application_id=interaction.application_id,
            size_limit=interaction.filesize_limit,
            source=source,
            command=command,
            tier=tier or self.tier_of(interaction).name,
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id,
            in_guild=is_present(interaction),
            token=interaction.token,
            token_until=interaction.created_at + TOKEN_LIFE,
            data=dict(data or {}),
        )


def is_present(interaction: discord.Interaction[Any]) -> bool:
    """Return True where the bot itself can write in the channel: it is in the guild, or it is its own private channel."""
    if interaction.guild_id is not None:
        return interaction.is_guild_integration()
    return interaction.context.dm_channel


def wait_of(accepted: Accepted) -> cards.Wait:
    """Return what an accepted job's card says of the wait."""
    return cards.Wait(accepted.place, accepted.seconds, accepted.slots)
