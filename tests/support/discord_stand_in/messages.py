"""How messages come about, change and go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from . import payloads
from .check_components import walk
from .check_messages import check, check_not_empty, is_v2
from .files import safe_name
from .refusals import TOO_LARGE, Form, Path, Refusal
from .world import LOADING, V2, Attachment, Channel, Message, User, now

if TYPE_CHECKING:
    from .core import Core

JSON = dict[str, Any]
Uploads = dict[int, tuple[str, bytes]]
"""Name and bytes by the number in ``files[number]``."""


class Messages:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._nonces: dict[tuple[int, int, str], tuple[float, Message]] = {}

    def create(
        self, channel: Channel, author: User, payload: JSON, uploads: Uploads, limit: int, *, flags: int = 0,
        kind: int = 0, call: Any = None, seen_by: User | None = None, at: Path = (),
    ) -> Message:  # fmt: skip
        """Make a message of what was sent. limit: bytes of one file. Raises Refusal."""
        key = (channel.id, author.id, str(payload.get("nonce")))
        if payload.get("enforce_nonce") and payload.get("nonce") is not None:
            made_at, earlier = self._nonces.get(key, (0.0, None))
            if earlier and not earlier.deleted and time.monotonic() - made_at < self._core.nonce_life:
                return earlier
        message = Message(
            self._core.world.ids.make(), channel, author, flags=flags, type=kind, call=call, seen_by=seen_by
        )
        self._fill(message, payload, uploads, limit, at, new=True)
        message.nonce = None if payload.get("nonce") is None else str(payload["nonce"])
        reference = payload.get("message_reference")
        if reference:
            self._refer(message, reference)
        if message.nonce is not None:
            self._nonces[key] = (time.monotonic(), message)
        self.add(message)
        return message

    def add(self, message: Message) -> None:
        """Put a message into its channel."""
        message.note()
        message.channel.messages[message.id] = message
        message.channel.archived = False
        self._announce("MESSAGE_CREATE", message)

    def loading(
        self, channel: Channel, author: User, flags: int, call: Any, seen_by: User | None, kind: int
    ) -> Message:
        """Make the message that says that the bot thinks."""
        message = Message(
            self._core.world.ids.make(), channel, author, flags=flags | LOADING, type=kind, call=call, seen_by=seen_by
        )
        self.add(message)
        return message

    def edit(self, message: Message, payload: JSON, uploads: Uploads, limit: int, at: Path = ()) -> None:
        """Change a message. What is not named stays. Raises Refusal, and then nothing is changed."""
        was_loading = message.loading
        self._fill(message, payload, uploads, limit, at, new=was_loading)
        message.flags &= ~LOADING
        if not was_loading:
            message.edited = now()
        message.edits += 1
        message.note()
        self._announce("MESSAGE_UPDATE", message)

    def delete(self, message: Message) -> None:
        """Take a message away, and its files with it."""
        message.deleted = True
        message.channel.messages.pop(message.id, None)
        for attachment in message.attachments:
            attachment.deleted = True
        self._announce("MESSAGE_DELETE", message)

    def _announce(self, event: str, message: Message) -> None:
        guild = message.channel.guild
        self._core.notify()
        if message.ephemeral or (guild and not guild.joined) or message.channel.private:
            return
        place: JSON = {"guild_id": str(guild.id)} if guild else {}
        if event == "MESSAGE_DELETE":
            data: JSON = {"id": str(message.id), "channel_id": str(message.channel.id)}
        else:
            data = payloads.message(message, self._core.files)
            if guild and message.author.id in guild.members:
                data["member"] = payloads.member(guild.members[message.author.id], with_user=False)
        self._core.event(event, data | place, guild)

    def _refer(self, message: Message, reference: JSON) -> None:
        there = message.channel.messages.get(int(reference.get("message_id") or 0))
        if there is None and reference.get("fail_if_not_exists", True):
            form = Form()
            form.wrong(("message_reference",), "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
            form.done()
        elif there:
            message.reference, message.type = there.id, 19

    def _fill(self, message: Message, payload: JSON, uploads: Uploads, limit: int, at: Path, new: bool) -> None:
        """Check everything first, then change the message."""
        if any(len(data) > limit for _, data in uploads.values()):
            raise Refusal(*TOO_LARGE)
        v2 = bool(message.flags & V2) or is_v2(payload.get("flags"))
        kept, added = self._attachments(message, payload, uploads, at)
        names = {each.filename for each in kept} | {name for name, _, _ in added}
        names |= {safe_name(name) for name in names}
        check(payload, v2, names, at)
        content = message.content if "content" not in payload else payload["content"] or ""
        embeds = message.embeds if "embeds" not in payload else payload["embeds"] or []
        components = message.components if "components" not in payload else payload["components"] or []
        if v2 and (content or embeds):
            check({"content": content, "embeds": embeds}, v2, names, at)
        check_not_empty(content, embeds, components, [*kept, *added])
        files = self._core.files
        fresh = [files.store(data, name, message.channel, message.ephemeral, text) for name, data, text in added]
        for each in message.attachments:
            each.deleted = each not in kept
        message.attachments = kept + fresh
        message.content, message.embeds = content, [{"type": "rich", **embed} for embed in embeds]
        message.components = self._completed(components, message.attachments)
        message.mentions = payload.get("allowed_mentions") or {}
        message.flags |= V2 if v2 else 0

    def _attachments(
        self, message: Message, payload: JSON, uploads: Uploads, at: Path
    ) -> tuple[list[Attachment], list[tuple[str, bytes, str | None]]]:
        """The files that stay, and those that come: name, bytes, description."""
        listed = payload.get("attachments")
        kept = list(message.attachments) if listed is None else []
        described: dict[int, JSON] = {}
        form = Form()
        for index, entry in enumerate(listed or []):
            id = int(entry.get("id", -1))
            existing = next((each for each in message.attachments if each.id == id), None)
            if existing:
                kept.append(existing)
            elif id in uploads:
                described[id] = entry
            else:
                form.wrong(
                    (*at, "attachments", index, "id"), "ATTACHMENT_NOT_FOUND", f"Attachment data not found: {id}"
                )
        form.done()
        added = [
            (described.get(number, {}).get("filename") or name, data, described.get(number, {}).get("description"))
            for number, (name, data) in sorted(uploads.items())
        ]
        return kept, added

    def _completed(self, components: list[JSON], attachments: list[Attachment]) -> list[JSON]:
        """Components with the ids that Discord gives, and with media in the place of names."""
        by_name = {each.filename: each for each in attachments}

        def complete(node: Any) -> Any:
            if isinstance(node, list):
                return [complete(each) for each in node]
            if not isinstance(node, dict):
                return node
            if set(node) == {"url"}:
                return self._media(node["url"], by_name)
            if node.get("type") == 13 and "file" in node:
                media = self._media(node["file"]["url"], by_name)
                attachment = self._core.world.attachments.get(int(media.get("attachment_id") or 0))
                more = {"name": attachment.filename, "size": attachment.size} if attachment else {}
                return {**node, "file": media, **more}
            return {name: complete(value) for name, value in node.items()}

        done: list[JSON] = complete(components)
        used = {each["id"] for each in walk(done) if each.get("id")}
        numbers = (number for number in range(1, 1 << 20) if number not in used)
        for each in walk(done):
            if not each.get("id"):
                each["id"] = next(numbers)
        return done

    def _media(self, url: str, by_name: dict[str, Attachment]) -> JSON:
        media: JSON = {
            "url": url, "proxy_url": url, "width": None, "height": None, "content_type": None, "loading_state": 2,
            "placeholder": None, "placeholder_version": None, "flags": 0,
        }  # fmt: skip
        if url.startswith("attachment://"):
            attachment = by_name[safe_name(url[13:])]
            payload = self._core.files.payload(attachment)
            media |= {
                name: payload[name]
                for name in ("url", "proxy_url", "content_type", "width", "height")
                if name in payload
            }
            media["attachment_id"] = str(attachment.id)
        return media
