"""What the managers of a guild and the owners of the bot can do: /settings and /admin."""

from __future__ import annotations

import logging
from typing import Any, Literal

import discord
from discord import app_commands

from . import cards
from .database import OUTAGE
from .people import BUTTONS, PICTURES, GuildSettings
from .refusals import Refusal, refusal_of, sentence
from .service import Service
from .texts import plain

log = logging.getLogger(__name__)

_BUTTONS = {"owner": "of whoever asked for the picture", "all": "everybody's"}
_PICTURES = {
    "shown": "shown",
    "spoiler": "behind a click, outside of age-restricted channels",
    "adult": "made in age-restricted channels alone",
}


def add_settings(tree: app_commands.CommandTree[Any], service: Service) -> None:
    """Add /settings, for those who may manage a guild."""

    @tree.command(name="settings", description="How this server uses the bot")
    @app_commands.guild_only()
    @app_commands.allowed_installs(guilds=True, users=False)
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.describe(
        buttons="whose the buttons beneath a result are",
        pictures="whether results are hidden outside of adult channels",
    )
    async def settings(
        interaction: discord.Interaction[Any],
        buttons: Literal["owner", "all"] | None = None,
        pictures: Literal["shown", "spoiler", "adult"] | None = None,
    ) -> None:
        try:
            # Discord asks for the right too, but a guild can open a command to others.
            if not interaction.permissions.manage_guild or interaction.guild_id is None:
                raise Refusal("This is for those who may manage the server.")
            now = await service.people.settings(interaction.guild_id)
            if buttons is not None or pictures is not None:
                now = GuildSettings(buttons or now.buttons, pictures or now.pictures)
                await service.people.change_settings(interaction.guild_id, now)
        except (Refusal, *OUTAGE) as error:
            await service.posting.whisper(interaction, cards.refused(refusal_of(error), None))
            return
        text = f"### This server\nButtons beneath a result are {_BUTTONS[now.buttons]}.\nPictures are {_PICTURES[now.pictures]}."
        await service.posting.whisper(interaction, cards.note(text))

    assert set(_BUTTONS) == set(BUTTONS) and set(_PICTURES) == set(PICTURES)


class Admin(app_commands.Group):
    """/admin, for the owners of the bot. owners: their ids."""

    def __init__(self, service: Service, owners: set[int]) -> None:
        super().__init__(
            name="admin",
            description="For the owners of the bot",
            default_permissions=discord.Permissions(administrator=True),
        )
        self._service, self._owners = service, owners

    async def interaction_check(self, interaction: discord.Interaction[Any]) -> bool:
        """Let owners pass alone."""
        if interaction.user.id in self._owners:
            return True
        refusal = Refusal("This is for the owners of the bot.")
        await self._service.posting.whisper(interaction, cards.refused(refusal, None))
        return False

    async def _answer(self, interaction: discord.Interaction[Any], text: str) -> None:
        log.warning("admin", extra={"data": {"user": interaction.user.id, "did": text}})
        await self._service.posting.whisper(interaction, cards.note(text))

    @app_commands.command(description="Take no requests, or take them again; what is in the queue goes on")
    async def pause(self, interaction: discord.Interaction[Any], on: bool = True) -> None:
        """Pause, or open."""
        await self._service.set_mode("paused" if on else "open")
        await self._answer(
            interaction, "No requests are taken now. Open again: /admin pause on:False" if on else "Requests are taken."
        )

    @app_commands.command(description="Take no requests, and end once all that is there has been delivered")
    async def drain(self, interaction: discord.Interaction[Any]) -> None:
        """Drain."""
        await self._service.set_mode("draining")
        interaction.client.drain()
        await self._answer(
            interaction, "No requests are taken; the bot ends once all that is there has been delivered."
        )

    @app_commands.command(description="Exclude a user or a server, or lift that")
    @app_commands.describe(
        user="the user",
        guild="or id of a server",
        reason="shown to them",
        days="for so long; for ever without",
        lift="lift it",
    )
    async def ban(
        self,
        interaction: discord.Interaction[Any],
        user: discord.User | None = None,
        guild: str | None = None,
        reason: app_commands.Range[str, 0, 200] = "",
        days: app_commands.Range[float, 0.01, 3650.0] | None = None,
        lift: bool = False,
    ) -> None:
        """Ban, or lift a ban."""
        if (user is None) == (guild is None):
            raise Refusal("Give a user or the id of a server, one of them.")
        if guild is not None and not (guild.isdecimal() and len(guild) <= 20):
            raise Refusal(
                f"{plain(guild, 40)} is not the id of a server: a number. Developer mode shows it: Copy Server ID."
            )
        kind, banned = ("user", user.id) if user is not None else ("guild", int(guild or 0))
        people = self._service.people
        if lift:
            found = await people.unban(kind, banned)
            await self._answer(
                interaction, f"The {kind} {banned} is " + ("no longer excluded." if found else "not excluded.")
            )
            return
        await people.ban(kind, banned, interaction.user.id, reason, days)
        await self._answer(interaction, f"The {kind} {banned} is excluded" + (f" for {days:g} days." if days else "."))

    @app_commands.command(description="What the bot and its workers do")
    async def stats(self, interaction: discord.Interaction[Any]) -> None:
        """Tell."""
        s = await self._service.people.stats()
        text = (
            f"### The bot\nMode: {sentence(await self._service.people.mode())}\n"
            f"Queue: **{s['queued']}** waiting, **{s['running']}** running, on {s['workers']} workers with {s['slots']} slots\n"
            f"Last 24 h: {s['requests']} requests of {s['users']} users; {s['done']} jobs done, {s['failed']} failed\n"
            f"Not delivered yet: {s['undelivered']}; kept for /queue: {s['kept']}"
        )
        await self._service.posting.whisper(interaction, cards.note(text))
