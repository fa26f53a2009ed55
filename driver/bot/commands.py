"""The commands of everybody: /upscale, the menus on messages, and what tells of queue and use."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import discord
from discord import app_commands, ui

from ...nodes.command import CommandError
from ...nodes.generation import Generation, to_dict
from ...nodes.parameters import PARAMETERS
from ...nodes.report import NO_DATA, as_rows, carried_rows
from . import cards, parameters
from .database import OUTAGE
from .modals import PictureForm
from .refusals import Refusal, no_image, refusal_of
from .service import Service
from .sources import source_of_attachment, source_of_url, sources_of_message
from .texts import block, moment, plain, seconds
from .values import Request, SourceRef

log = logging.getLogger(__name__)

LONG = 80
"""Characters from which on a value has a block of its own."""
LISTED = 8
"""Requests that /queue shows."""


class Commands:
    """Adds the commands to a tree. service: does the work."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, tree: app_commands.CommandTree[Any]) -> None:
        """Add all commands."""
        everywhere = {
            "allowed_installs": app_commands.AppInstallationType(guild=True, user=True),
            "allowed_contexts": app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=True),
        }
        tree.add_command(
            self._upscale_command(
                "upscale", "Enlarge an image 2x, with its own prompts, LoRAs and models", None, everywhere
            )
        )
        free = self._service.config.free
        if free is not None:
            text = "Enlarge an image 2x, when nobody else needs the machines"
            tree.add_command(self._upscale_command("upscale-free", text, free, everywhere))
        plain_commands: tuple[tuple[str, str, Callable[..., Awaitable[None]]], ...] = (
            ("checkmetadata", "What an image says of how it was made", self.checkmetadata),
            ("queue", "Your upscales: place, time, cancel", self.queue),
            ("usage", "What you have used today, and your limits", self.usage),
            ("user-stats", "What you have had altogether", self.user_stats),
            ("command-infos", "The parameters of /upscale", self.command_infos),
        )
        for name, text, callback in plain_commands:
            tree.add_command(app_commands.Command(name=name, description=text, callback=callback, **everywhere))  # type: ignore[arg-type]
        for name, menu in (("Upscale", self.upscale_message), ("How was this made?", self.explain_message)):
            tree.add_command(app_commands.ContextMenu(name=name, callback=menu, **everywhere))  # type: ignore[arg-type]

    def _upscale_command(
        self, name: str, text: str, tier: str | None, everywhere: dict[str, Any]
    ) -> app_commands.Command[Any, ..., None]:
        async def callback(interaction: discord.Interaction[Any], **options: Any) -> None:
            await self.upscale(interaction, options, tier)

        callback.__signature__ = parameters.signature()  # type: ignore[attr-defined]
        app_commands.describe(**parameters.descriptions())(callback)
        command: app_commands.Command[Any, ..., None] = app_commands.Command(
            name=name, description=text, callback=callback, **everywhere
        )
        command.autocomplete("power")(self._complete_power)
        command.autocomplete("model")(self._complete_model)
        return command

    # --- upscale ---

    async def upscale(self, interaction: discord.Interaction[Any], options: dict[str, Any], tier: str | None) -> None:
        """/upscale."""
        fault: CommandError | None = None
        command, automatic = str(options.get("params") or ""), False
        try:
            command, automatic = parameters.command_of(options)
        except CommandError as error:
            fault = error
        image: discord.Attachment | None = options.get("image")
        url: str | None = options.get("url")
        if image is None and url is None and fault is None:
            await interaction.response.send_modal(
                PictureForm(self._service, command + (" --power auto" if automatic else ""))
            )
            return
        source = source_of_attachment(image) if image is not None else source_of_url(url) if url is not None else None
        if image is not None and url is not None:
            fault = CommandError("an image and a link are given; give one of them.")
        await self._service.upscale(interaction, source, command, "auto" if automatic else "one", tier, fault=fault)

    async def upscale_message(self, interaction: discord.Interaction[Any], message: discord.Message) -> None:
        """The menu Upscale on a message."""
        found = sources_of_message(message)
        await self._service.upscale(interaction, found[0] if found else None, "")

    async def _complete_power(
        self, interaction: discord.Interaction[Any], typed: str
    ) -> list[app_commands.Choice[str]]:
        known: tuple[str, ...] = parameters.SUGGESTED
        try:
            if 0 <= float(typed) <= 1 and typed not in known:
                known = (typed.strip(), *known)
        except ValueError:
            pass
        return parameters.suggestions(typed, known)

    async def _complete_model(
        self, interaction: discord.Interaction[Any], typed: str
    ) -> list[app_commands.Choice[str]]:
        try:
            return parameters.suggestions(typed, await self._service.database.models())
        except OUTAGE:
            return []

    # --- how was this made? ---

    async def checkmetadata(
        self,
        interaction: discord.Interaction[Any],
        image: discord.Attachment | None = None,
        url: str | None = None,
    ) -> None:
        """/checkmetadata."""
        source = source_of_attachment(image) if image is not None else source_of_url(url) if url else None
        await self._explain(interaction, source)

    async def explain_message(self, interaction: discord.Interaction[Any], message: discord.Message) -> None:
        """The menu on a message."""
        found = sources_of_message(message)
        await self._explain(interaction, found[0] if found else None)

    async def _explain(self, interaction: discord.Interaction[Any], source: SourceRef | None) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        try:
            if source is None:
                raise Refusal(no_image().text)
            request = self._service.request_of(interaction, source, "", "one")
            generation = await self._service.intake.recall(request)
        except Exception as error:
            refusal = refusal_of(error)
            await self._service.posting.answer(interaction, cards.refused(refusal, None))
            return
        view, data = explanation(generation, source.name), json.dumps(to_dict(generation), indent=1, ensure_ascii=False)
        await self._service.posting.answer(interaction, view, [("metadata.json", data.encode("utf-8", "replace"))])

    # --- queue and use ---

    async def queue(self, interaction: discord.Interaction[Any]) -> None:
        """/queue."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        try:
            database = self._service.database
            rows = await database.rows(
                "SELECT id FROM distillery_bot_requests WHERE user_id = %s AND state IN ('waiting', 'kept') ORDER BY created "
                "LIMIT %s",
                interaction.user.id, LISTED,
            )  # fmt: skip
            items: list[ui.Item[Any]] = []
            for row in rows:
                request = await database.request(row["id"])
                if request is not None:
                    items.append(await self._queue_line(request))
            if not items:
                items.append(ui.TextDisplay("Nothing of yours is waiting or running."))
            view = cards.listing("### Your upscales", items)
        except OUTAGE as error:
            await self._service.posting.answer(interaction, cards.refused(refusal_of(error), None))
            return
        await self._service.posting.answer(interaction, view)

    async def _queue_line(self, request: Request) -> ui.Item[Any]:
        name = f"**{plain(request.name, 60)}** <t:{round(request.created.timestamp())}:R>"
        if request.state == "kept":
            return cards.line(f"{name}\nIt is done, and could not be sent to you.", "Show it", cards.SHOW, request.id)
        jobs = await self._service.database.jobs(request.id)
        running = next((job for job in jobs if job["state"] == "running"), None)
        waiting = next((job for job in jobs if job["state"] == "queued"), None)
        if running is not None:
            text = f"{name}\nRunning: {plain(running['stage'] or 'starting', 60)}"
        else:
            place = await self._service.database.place(waiting["job_id"]) if waiting is not None else None
            text = f"{name}\n{cards.wait_text(cards.read_wait(place))}"
        return cards.line(text, "Cancel", cards.CANCEL, request.id)

    async def usage(self, interaction: discord.Interaction[Any]) -> None:
        """/usage."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        tier = self._service.tier_of(interaction)
        used = await self._used(interaction)
        if used is None:
            return

        def line(what: str, number: int, most: int | None) -> str:
            return f"{what}: **{number}**" + (f" of {most}" if most is not None else "")

        lines = [
            f"### Your use · tier {tier.name}",
            line("Running", used["running"], tier.running),
            line("Waiting", used["queued"], tier.queued),
            line("Today", used["today"], tier.daily) + (" (the day ends at midnight UTC)" if tier.daily else ""),
        ]
        if tier.cooldown:
            lines.append(f"Between two requests: {seconds(tier.cooldown)}")
        await self._service.posting.answer(interaction, cards.note("\n".join(lines)))

    async def user_stats(self, interaction: discord.Interaction[Any]) -> None:
        """/user-stats."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        used = await self._used(interaction)
        if used is None:
            return
        lines = [
            "### What you have had",
            f"Upscales: **{used['done']}** done, {used['failed']} failed, {used['cancelled']} cancelled",
            f"Time of machines: **{seconds(used['seconds'])}**",
        ]
        if used["waited"] is not None:
            lines.append(f"Wait until the start, on average: {seconds(used['waited'])}")
        if used["since"] is not None:
            lines.append(f"Since {moment(used['since'].timestamp() - time.time(), 'D')}")
        await self._service.posting.answer(interaction, cards.note("\n".join(lines)))

    async def _used(self, interaction: discord.Interaction[Any]) -> Any:
        try:
            return await self._service.people.usage(interaction.user.id)
        except OUTAGE as error:
            await self._service.posting.answer(interaction, cards.refused(refusal_of(error), None))
            return None

    async def command_infos(self, interaction: discord.Interaction[Any]) -> None:
        """/command-infos."""
        lines = ["### /upscale", "An image, and what should differ from how it was made:"]
        for parameter in PARAMETERS:
            accepts = parameters.accepts(parameter)
            lines.append(f"**--{parameter.name}** {parameter.meaning}: {accepts}. Default: {parameter.default}")
        lines.append("Each is an option of the command, or all of them one text: `params: --power 0.2 --neg night`.")
        await self._service.posting.whisper(interaction, cards.note("\n".join(lines)))


def explanation(generation: Generation, name: str) -> ui.LayoutView:
    """The card that says how an image was made."""
    items: list[ui.Item[Any]] = [ui.TextDisplay(f"### {plain(name, 80)}")]
    if generation.empty:
        items.append(ui.TextDisplay(NO_DATA))
    rows = [
        (title, value)
        for title, value, _ in as_rows(generation)
        if value and not (generation.empty and title == "origin")
    ]
    for title, value in rows:
        if len(value) > LONG:
            items.append(ui.TextDisplay(f"**{title}**\n{block(value, 900)}"))
    short = [f"**{title}** {plain(value, LONG)}" for title, value in rows if len(value) <= LONG]
    if short:
        items.append(ui.TextDisplay(shorten_lines(short, 1400)))
    carried = sum(1 for _ in carried_rows(generation))
    if carried:
        items.append(ui.TextDisplay(f"-# The image carries {carried} more values: they are in the file."))
    if generation.warnings:
        items.append(ui.TextDisplay("\n".join(f"-# ⚠ {plain(warning, 150)}" for warning in generation.warnings[:4])))
    items.append(ui.File("attachment://metadata.json"))
    return cards.listing("", items[:12])


def shorten_lines(lines: list[str], most: int) -> str:
    """Join lines, as many as there is room for."""
    kept: list[str] = []
    for line in lines:
        if sum(map(len, kept)) + len(kept) + len(line) > most:
            kept.append("-# The rest is in the file.")
            break
        kept.append(line)
    return "\n".join(kept)
