"""Messages of Discord's: cards are edited where that is possible, else sent anew in the next best place."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import discord
from discord import ui

from .values import Request

log = logging.getLogger(__name__)

Files = Sequence[tuple[str, bytes]]
"""Names and contents."""
Card = Callable[["int | None"], ui.LayoutView]
"""Makes a card; with the id of a user it mentions that one, as new messages do."""

TOKEN, EDIT, MESSAGE, DM, KEPT = "token", "edit", "message", "dm", "kept"
"""How a card got to its reader: its answer was edited, the message was, a new one in the channel, one in private; not at all."""
_NOBODY = discord.AllowedMentions.none()
_DEAD_TOKEN = (10015, 50027)  # unknown webhook; invalid webhook token
_TOO_LARGE = 40005
_GONE = (401, 403, 404)


class Unreachable(Exception):
    """A card cannot be shown this way, now or later."""


class TooLarge(Exception):
    """Discord takes no file of that size there."""


class TryLater(Exception):
    """Discord cannot be reached, or is out of order."""


class Posting:
    """Sends and edits cards. client: a running one."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client
        self._results: dict[int, int] = {}

    def results_in(self, channel_id: int | None) -> int:
        """Return how many results are on their way into a channel: progress waits for them."""
        return self._results.get(channel_id or 0, 0)

    async def edit(
        self, request: Request, card: ui.LayoutView, files: Files = ()
    ) -> tuple[str, discord.Message | None]:
        """Edit the card of a request; returns how, and the message. Raises Unreachable, TooLarge, TryLater."""
        error: Unreachable | None = None
        for how, way in ((TOKEN, self._by_token), (EDIT, self._by_message)):
            try:
                return how, await _calling(lambda way=way: way(request, card, files))  # type: ignore[misc]
            except Unreachable as unreachable:
                error = unreachable
        assert error is not None
        raise error

    async def deliver(self, request: Request, card: Card, files: Files = ()) -> tuple[str, discord.Message | None]:
        """Show a card that must be seen, in the best place there is; returns how, and the message.

        Edits come first, as they do no harm when they are made twice. Raises TooLarge, TryLater.
        """
        async with self._result(request.channel_id):
            try:
                return await self.edit(request, card(None), files)
            except Unreachable as unreachable:
                reason = str(unreachable)
            for how, way in ((MESSAGE, self._new_message), (DM, self._private)):
                try:
                    message = await _calling(lambda way=way: way(request, card(request.user_id), files))  # type: ignore[misc]
                    log.info("delivered", extra={"data": {"request": request.id, "how": how, "why": reason}})
                    return how, message
                except Unreachable as unreachable:
                    reason = f"{reason}; {unreachable}"
            log.warning("kept", extra={"data": {"request": request.id, "why": reason}})
            return KEPT, None

    async def answer(
        self, interaction: discord.Interaction[Any], card: ui.LayoutView, files: Files = ()
    ) -> discord.Message | None:
        """Answer an interaction, or edit the answer that it has. Errors of Discord's are raised as they are."""
        if interaction.response.is_done():
            return await interaction.edit_original_response(
                view=card, attachments=_files(files), allowed_mentions=_NOBODY
            )
        response = await interaction.response.send_message(view=card, files=_files(files), allowed_mentions=_NOBODY)
        return response.resource if isinstance(response.resource, discord.Message) else None

    async def whisper(self, interaction: discord.Interaction[Any], card: ui.LayoutView) -> None:
        """Answer for the user's eyes alone, also where a public answer was announced: that is taken back."""
        try:
            if not interaction.response.is_done():
                await interaction.response.send_message(view=card, ephemeral=True, allowed_mentions=_NOBODY)
                return
            if interaction.response.type is discord.InteractionResponseType.deferred_channel_message:
                await interaction.delete_original_response()
            await interaction.followup.send(view=card, ephemeral=True, allowed_mentions=_NOBODY)
        except (discord.HTTPException, aiohttp.ClientError, asyncio.TimeoutError) as error:
            log.info("not answered", extra={"data": {"interaction": interaction.id, "error": str(error)[:200]}})

    async def delete(self, request: Request) -> None:
        """Delete the card of a request, where it is there. Raises TryLater."""
        if request.message_id is None:
            return
        for way in (self._delete_by_token, self._delete_message):
            try:
                await _calling(lambda way=way: way(request))  # type: ignore[misc]
                return
            except (Unreachable, TooLarge):
                continue

    # --- ways ---

    async def _by_token(self, request: Request, card: ui.LayoutView, files: Files) -> discord.Message:
        if not request.token_lives():
            raise Unreachable("the token is dead")
        assert request.token is not None
        webhook = discord.Webhook.partial(request.application_id, request.token, client=self._client)
        # Where the bot ended before it noted which message its answer is, Discord knows it by this name.
        return await webhook.edit_message(
            request.message_id or "@original",  # type: ignore[arg-type]
            view=card, attachments=_files(files), allowed_mentions=_NOBODY,
        )  # fmt: skip

    async def _by_message(self, request: Request, card: ui.LayoutView, files: Files) -> discord.Message:
        if request.message_id is None or request.channel_id is None or not request.in_guild:
            raise Unreachable("there is no message that the bot may edit")
        message = self._client.get_partial_messageable(request.channel_id).get_partial_message(request.message_id)
        return await message.edit(view=card, attachments=_files(files), allowed_mentions=_NOBODY)

    async def _new_message(self, request: Request, card: ui.LayoutView, files: Files) -> discord.Message:
        if request.channel_id is None or not request.in_guild:
            raise Unreachable("there is no channel that the bot may write in")
        channel = self._client.get_partial_messageable(request.channel_id)
        return await channel.send(
            view=card, files=_files(files), nonce=request.id,
            allowed_mentions=discord.AllowedMentions(users=[discord.Object(request.user_id)]),
        )  # fmt: skip

    async def _private(self, request: Request, card: ui.LayoutView, files: Files) -> discord.Message:
        channel = await self._client.create_dm(discord.Object(request.user_id))
        return await channel.send(view=card, files=_files(files), nonce=request.id, allowed_mentions=_NOBODY)

    async def _delete_by_token(self, request: Request) -> None:
        if not request.token_lives():
            raise Unreachable("the token is dead")
        assert request.token is not None and request.message_id is not None
        webhook = discord.Webhook.partial(request.application_id, request.token, client=self._client)
        await webhook.delete_message(request.message_id)

    async def _delete_message(self, request: Request) -> None:
        if request.channel_id is None or request.message_id is None:
            raise Unreachable("there is no message")
        await self._client.get_partial_messageable(request.channel_id).get_partial_message(request.message_id).delete()

    @asynccontextmanager
    async def _result(self, channel_id: int | None) -> Any:
        channel = channel_id or 0
        self._results[channel] = self._results.get(channel, 0) + 1
        try:
            yield
        finally:
            self._results[channel] -= 1
            if not self._results[channel]:
                del self._results[channel]


async def _calling(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call Discord and say in one of three ways what went wrong."""
    try:
        return await call()
    except discord.HTTPException as error:
        if error.code == _TOO_LARGE or error.status == 413:
            raise TooLarge(str(error)[:200]) from error
        if error.status in _GONE or error.code in _DEAD_TOKEN:
            raise Unreachable(f"{error.status} {error.code}") from error
        if error.status < 500 and error.status != 429:
            log.error("refused", extra={"data": {"status": error.status, "error": str(error)[:1000]}})
            raise Unreachable(f"{error.status} {error.code}") from error
        raise TryLater(f"{error.status} {error.code}") from error
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError, RuntimeError) as error:
        raise TryLater(type(error).__name__) from error


def _files(files: Files) -> list[discord.File]:
    return [discord.File(io.BytesIO(data), name) for name, data in files]
