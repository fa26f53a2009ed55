"""Buttons: each carries the id of its request, so that it works after any restart, for as long as its message stands."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import discord
from discord import ui

from ...nodes.command import parse_command
from ...nodes.values import MAX_SEED
from . import cards
from .modals import CommandForm, PictureForm, PromptForm
from .pictures import RESERVE
from .posting import TryLater
from .refusals import AGAIN, COMMAND, PICTURE, POWER_ZERO, PROMPT, Refusal
from .service import Service
from .texts import moment, size
from .values import Request, SourceRef, power_of, with_values

log = logging.getLogger(__name__)

Handler = Callable[[Service, "discord.Interaction[Any]", Request, int], Awaitable[None]]


class CardButton(ui.DynamicItem[ui.Button[Any]], template=cards.CUSTOM_ID):
    """Any button of any card."""

    def __init__(self, item: ui.Button[Any], action: str, request_id: str, argument: int) -> None:
        super().__init__(item)
        self._action, self._request, self._argument = action, request_id, argument

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str]
    ) -> CardButton:
        """Make the item for a press."""
        assert isinstance(item, ui.Button)
        return cls(item, match["action"], match["request"], int(match["argument"] or 0))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Do what the button says."""
        service: Service = interaction.client.service
        await press(service, interaction, self._action, self._request, self._argument)


async def press(
    service: Service, interaction: discord.Interaction[Any], action: str, request_id: str, argument: int
) -> None:
    """Do what a button says, or tell why not."""
    try:
        request = await service.database.request(request_id)
        handler = _HANDLERS.get(action)
        if request is None or handler is None:
            raise Refusal("This button is of an older message, and what it was for is no longer known.")
        await _check(service, interaction, request, action)
        await handler(service, interaction, request, argument)
    except Exception as error:
        await service.refuse(interaction, None, error)


async def _check(service: Service, interaction: discord.Interaction[Any], request: Request, action: str) -> None:
    """Raise Refusal for those whose button it is not."""
    if interaction.user.id == request.user_id:
        return
    if action == cards.DELETE and interaction.permissions.manage_messages:
        return
    if action in _OF_ALL and (await service.settings(interaction)).buttons == "all":
        return
    raise Refusal(f"These buttons are <@{request.user_id}>'s. Use **Apps → Upscale** on the image to make your own.")


# --- again, with something else ---


def _again(**values: Callable[[Request], Any]) -> Handler:
    async def handler(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
        command = with_values(request.final, **{name: value(request) for name, value in values.items()})
        await service.again(interaction, request, command)

    return handler


async def _as_it_was(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
    await service.again(interaction, request, request.command, request.kind)


async def _sweep(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
    await service.again(interaction, request, with_values(request.final, power=None), "sweep")


# --- forms ---


async def _prompt_form(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
    await interaction.response.send_modal(PromptForm(service, request))


async def _command_form(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
    await interaction.response.send_modal(CommandForm(service, request))


async def _picture_form(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
    await interaction.response.send_modal(PictureForm(service, request.command))


# --- what is there ---


async def _cancel(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
    if not await service.database.cancel(request.id):
        raise Refusal("There is nothing to cancel: it has ended.")
    if interaction.message is not None and interaction.message.id == request.message_id:
        await interaction.response.defer()  # the card is edited once the job is off its worker
    else:
        await service.posting.whisper(interaction, cards.note("It is being cancelled."))


async def _texts(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
    await service.posting.whisper(interaction, cards.texts(request))


async def _delete(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
    await service.database.update(request.id, state="deleted")
    await service.database.cancel(request.id)
    await service.follower.settle(request.id)
    await interaction.response.defer()
    try:
        await interaction.delete_original_response()
    except discord.HTTPException:  # an answer whose token the app no longer has
        here = interaction.message.id if interaction.message is not None else request.message_id
        try:
            await service.posting.delete(
                replace(request, token=None, message_id=here, channel_id=interaction.channel_id)
            )
        except TryLater as error:
            raise Refusal("Discord does not answer at the moment. Try again in a minute.") from error


async def _original(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
    name = request.data.get("object")
    if not name:
        raise Refusal("The result is not there yet.")
    await interaction.response.defer(ephemeral=True, thinking=True)
    seconds = service.config.link_hours * 3600
    png = await asyncio.to_thread(service.store.get_by_hash, str(name))
    if len(png) <= interaction.filesize_limit - RESERVE:
        file = f"{request.stem}.png"
        view = cards.file_note(f"The PNG as it was made, {size(len(png))}.", file)
        await service.posting.answer(interaction, view, [(file, png)])
        return
    link = await asyncio.to_thread(service.store.link, str(name), seconds)
    if link is None:
        raise Refusal(
            f"The PNG has {size(len(png))}, and {size(interaction.filesize_limit)} can be sent here. This bot's store gives no "
            "links; a server with more boosts takes larger files."
        )
    text = f"[The PNG as it was made]({link}), {size(len(png))}. The link is good until {moment(seconds, 'f')}."
    await service.posting.answer(interaction, cards.note(text))


async def _cell(service: Service, interaction: discord.Interaction[Any], request: Request, number: int) -> None:
    job = await service.delivery.cell(request, number)
    data = {**request.data, "final": str(job["command"]), "object": job["object"]}
    own = service.request_of(interaction, SourceRef(parent=request.id), str(job["command"]), "one", data=data)
    await interaction.response.defer(thinking=True)
    card, files = await service.delivery.show_cell(own, job)
    if await service.database.receive(own):
        message = await service.posting.answer(interaction, card, files)
        await service.database.update(own.id, state="delivered", message_id=message.id if message else None)


async def _show(service: Service, interaction: discord.Interaction[Any], request: Request, _: int) -> None:
    await interaction.response.defer(thinking=True)
    card, files = await service.delivery.show_kept(replace(request, size_limit=interaction.filesize_limit))
    message = await service.posting.answer(interaction, card, files)
    if message is not None:
        await service.database.update(
            request.id,
            state="delivered",
            delivered_by="asked",
            message_id=message.id,
            channel_id=interaction.channel_id,
        )


def _less(request: Request) -> float:
    return max(0.05, round(power_of(request.final) - cards.STEP, 2))


def _more(request: Request) -> float:
    return min(1.0, round(power_of(request.final) + cards.STEP, 2))


def _another_seed(request: Request) -> int:
    before = parse_command(request.final).seed
    while (seed := secrets.randbelow(min(MAX_SEED, 2**32))) == before:
        pass
    return seed


_HANDLERS: dict[str, Handler] = {
    cards.LESS: _again(power=_less),
    cards.MORE: _again(power=_more),
    cards.UNSHARP: _again(sharpen=lambda request: 0.0),
    cards.SEED: _again(seed=_another_seed),
    POWER_ZERO: _again(power=lambda request: 0.0),
    AGAIN: _as_it_was,
    cards.SWEEP: _sweep,
    PROMPT: _prompt_form,
    COMMAND: _command_form,
    PICTURE: _picture_form,
    cards.CANCEL: _cancel,
    cards.TEXTS: _texts,
    cards.DELETE: _delete,
    cards.ORIGINAL: _original,
    cards.CELL: _cell,
    cards.SHOW: _show,
}
_OF_ALL = frozenset([cards.LESS, cards.MORE, cards.UNSHARP, cards.SEED, cards.SWEEP, cards.ORIGINAL, cards.CELL])
"""What a guild's managers can open to all. Prompts, cancelling and deleting are the owner's."""
