"""An interaction as the test that began it sees it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import payloads
from .world import APPLICATION, DM, EXTERNAL_APPS, USUAL, Attachment, Channel, Guild, Message, User

if TYPE_CHECKING:
    from .core import Core

JSON = dict[str, Any]

COMMAND, COMPONENT, AUTOCOMPLETE, SUBMIT = 2, 3, 4, 5
MESSAGE, DEFER, DEFER_UPDATE, UPDATE, CHOICES, MODAL = 4, 5, 6, 7, 8, 9
"""Types of responses."""


@dataclass(eq=False)
class Call:
    core: Core = field(repr=False)
    id: int
    kind: int
    user: User
    channel: Channel
    data: JSON
    installed: str
    """``guild`` or ``user``: how the app came here."""
    source: Message | None = None
    """The message whose component was used."""
    command_name: str | None = None
    before: Call | None = None
    """The call that opened the modal."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(120), repr=False)
    began: float = field(default_factory=time.monotonic)
    expired: bool = False
    response: tuple[int, JSON] | None = None
    """(type, data) as the bot sent it."""
    latency: float | None = None
    """Seconds to the response."""
    original: Message | None = None
    """What ``@original`` means, loading or not."""
    followups: list[Message] = field(default_factory=list)

    @property
    def message(self) -> Message | None:
        """The message that the response made or changed; None while it says that the bot thinks."""
        return None if self.original is None or self.original.loading else self.original

    @property
    def ephemeral(self) -> bool:
        """True if the response was for the user alone."""
        if self.original is not None and self.original is not self.source:
            return self.original.ephemeral
        return bool(self.response and int(self.response[1].get("flags") or 0) & 64)

    @property
    def modal(self) -> JSON | None:
        """The modal that the response opened."""
        return self.response[1] if self.response and self.response[0] == MODAL else None

    @property
    def deferred(self) -> bool:
        return bool(self.response and self.response[0] in (DEFER, DEFER_UPDATE))

    @property
    def dead(self) -> bool:
        """True if the token is not valid any more."""
        return self.expired or time.monotonic() - self.began > self.core.interaction_life

    def answered(self, timeout: float = 3) -> Call:
        """Wait for the response. Raises AssertionError without one."""
        self.core.wait(lambda: self.response is not None, timeout, f"an answer to {self}")
        return self

    def finished(self, timeout: float = 3) -> Message:
        """Wait for the message of the response: of a deferred one until it was edited or followed up."""
        self.core.wait(lambda: self.message is not None, timeout, f"the message that answers {self}")
        assert self.message
        return self.message

    @property
    def owners(self) -> JSON:
        guild = self.channel.guild
        if self.installed == "user":
            return {"1": str(self.user.id)} | ({"0": str(guild.id)} if guild and guild.joined else {})
        return {"0": str(guild.id) if guild else "0"}

    @property
    def must_be_ephemeral(self) -> bool:
        """True where the user may not have apps of its own post for all to see."""
        guild = self.channel.guild
        member = guild.members.get(self.user.id) if guild else None
        return bool(member and "0" not in self.owners and not member.permissions & EXTERNAL_APPS)

    @property
    def size_limit(self) -> int:
        return self.core.world.limit_in(self.channel)

    def metadata(self) -> JSON:
        """What a message says of the interaction that made it."""
        data: JSON = {
            "id": str(self.id), "type": self.kind, "user": payloads.user(self.user),
            "authorizing_integration_owners": self.owners,
        }  # fmt: skip
        if self.kind == COMMAND:
            data |= {"name": self.command_name, "command_type": self.data["type"]}
            if self.data.get("target_id"):
                data["target_message_id"] = self.data["target_id"]
        if self.kind == COMPONENT and self.source:
            data["interacted_message_id"] = str(self.source.id)
        if self.before:
            data["triggering_interaction_metadata"] = self.before.metadata()
        return data

    def payload(self) -> JSON:
        """The interaction as the gateway sends it."""
        guild, files = self.channel.guild, self.core.files
        member = guild.members[self.user.id] if guild else None
        app_permissions = self.channel.allow if guild and guild.joined else USUAL
        permissions = member.permissions if member else USUAL
        data: JSON = {
            "id": str(self.id), "application_id": str(APPLICATION), "type": self.kind, "token": self.token, "version": 1,
            "data": self.data, "channel_id": str(self.channel.id), "locale": self.user.locale,
            "channel": payloads.channel_in_interaction(self.channel, permissions),
            "app_permissions": str(app_permissions), "entitlements": [], "entitlement_sku_ids": [],
            "authorizing_integration_owners": self.owners, "attachment_size_limit": self.size_limit,
            "context": self.context,
        }  # fmt: skip
        if guild and member:
            data |= {
                "guild_id": str(guild.id), "guild_locale": guild.locale, "member": payloads.member(member),
                "guild": {"id": str(guild.id), "locale": guild.locale, "features": []},
            }  # fmt: skip
        else:
            data["user"] = payloads.user(self.user)
        if self.source:
            data["message"] = payloads.message(self.source, files)
        return data

    @property
    def context(self) -> int:
        if self.channel.kind != DM:
            return 0
        return 2 if self.channel.private else 1


@dataclass
class Resolved:
    """Objects that the values of an interaction name."""

    core: Core
    guild: Guild | None
    data: JSON = field(default_factory=dict)

    def add(self, value: Any) -> str:
        """Add an object; returns its id."""
        id = str(value.id)
        if isinstance(value, Attachment):
            self._put("attachments", id, self.core.files.payload(value))
        elif isinstance(value, User):
            self._put("users", id, payloads.user(value))
            if self.guild and value.id in self.guild.members:
                self._put("members", id, payloads.member(self.guild.members[value.id], with_user=False))
        elif isinstance(value, Message):
            self._put("messages", id, payloads.message(value, self.core.files))
        elif isinstance(value, Channel):
            self._put("channels", id, payloads.channel_in_interaction(value, USUAL))
        else:
            raise AssertionError(f"{value!r} is none of Discord's objects")
        return id

    def _put(self, kind: str, id: str, data: JSON) -> None:
        self.data.setdefault(kind, {})[id] = data
