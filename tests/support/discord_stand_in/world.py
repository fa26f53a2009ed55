"""What there is in the stand-in's Discord: users, guilds, channels, messages, files."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

MIB = 1 << 20
EPOCH = 1_420_070_400_000
"""Milliseconds from 1970 to the first snowflake."""
APPLICATION = 1_100_000_000_000_000_001

VIEW, SEND, EMBED, ATTACH, HISTORY = 1 << 10, 1 << 11, 1 << 14, 1 << 15, 1 << 16
MANAGE_MESSAGES, SEND_IN_THREADS, ADMINISTRATOR, EXTERNAL_APPS = 1 << 13, 1 << 38, 1 << 3, 1 << 50
MANAGE_CHANNELS, MANAGE_GUILD, COMMANDS, MANAGE_THREADS = 1 << 4, 1 << 5, 1 << 31, 1 << 34
USUAL = VIEW | SEND | EMBED | ATTACH | HISTORY | SEND_IN_THREADS | EXTERNAL_APPS | COMMANDS | 1 << 6
"""Permissions of the bot and of members unless a test says otherwise."""
EVERYTHING = (1 << 53) - 1

LOADING, EPHEMERAL, V2 = 1 << 7, 1 << 6, 1 << 15
"""Flags of messages."""
TEXT, DM, THREAD = 0, 1, 11
"""Types of channels."""


def permissions_value(given: Any, usual: int = USUAL) -> int:
    """Read permissions: a number, discord.py's Permissions, or None for the usual ones."""
    value = usual if given is None else int(getattr(given, "value", given))
    return EVERYTHING if value & ADMINISTRATOR else value


def now() -> str:
    """The time as Discord writes it."""
    return datetime.now(timezone.utc).isoformat()


class Snowflakes:
    """Makes ids. Each has a millisecond of its own, so that they are in order."""

    def __init__(self) -> None:
        self._last = 0

    def make(self, age: float = 0, shard: tuple[int, int] | None = None) -> int:
        """Make an id that is so many seconds old. shard: (which, of how many) a guild with it belongs to."""
        self._last = max(self._last + 1, int(time.time() * 1000))
        if shard:
            while self._shifted(self._last) % shard[1] != shard[0]:
                self._last += 1
        # The low bits keep ids apart that are made older than they are.
        return (self._shifted(self._last) - int(age * 1000)) << 22 | (self._last & 0xFFF if age else 0)

    @staticmethod
    def _shifted(milliseconds: int) -> int:
        return milliseconds - EPOCH


@dataclass(eq=False)
class User:
    id: int
    name: str
    locale: str = "en-GB"
    bot: bool = False
    roles: tuple[str, ...] = ()
    """Names of the roles that it gets in guilds it joins."""
    dms_closed: bool = False


@dataclass(eq=False)
class Member:
    user: User
    roles: list[int]
    permissions: int
    joined: str = field(default_factory=now)


@dataclass(eq=False)
class Guild:
    id: int
    name: str
    boosts: int = 0
    size_limit: int = 10 * MIB
    """Bytes of one attachment."""
    joined: bool = True
    """False: the bot is not in it; users bring it along."""
    locale: str = "en-US"
    owner: int = 1
    roles: dict[str, int] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)

    @property
    def tier(self) -> int:
        return sum(self.boosts >= needed for needed in (2, 7, 14))


@dataclass(eq=False)
class Channel:
    id: int
    name: str
    kind: int
    guild: Guild | None
    allow: int
    """Permissions of the bot."""
    parent: Channel | None = None
    recipients: list[User] = field(default_factory=list)
    deleted: bool = False
    archived: bool = False
    private: bool = False
    """A conversation of users in which the bot is not."""
    messages: dict[int, Message] = field(default_factory=dict)


@dataclass(eq=False)
class Attachment:
    id: int
    folder: str
    """``attachments/<channel>`` or ``ephemeral-attachments/<application>``."""
    filename: str
    data: bytes = field(repr=False)
    size: int
    content_type: str
    width: int | None = None
    height: int | None = None
    description: str | None = None
    title: str | None = None
    ephemeral: bool = False
    url: str = ""
    """The link with the signature of when it was made. New links are in each payload."""
    deleted: bool = False

    @property
    def path(self) -> str:
        return f"/{self.folder}/{self.id}/{self.filename}"


@dataclass(eq=False)
class Message:
    """A message as it is now; ``history`` has what it was."""

    id: int
    channel: Channel
    author: User
    content: str = ""
    embeds: list[dict[str, Any]] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    flags: int = 0
    type: int = 0
    created: str = field(default_factory=now)
    edited: str | None = None
    nonce: str | None = None
    reference: int | None = None
    call: Any = None
    """The interaction that it answers, if any."""
    seen_by: User | None = None
    """Who alone sees it, if it is ephemeral."""
    deleted: bool = False
    edits: int = 0
    history: list[tuple[float, str, list[dict[str, Any]], list[str]]] = field(default_factory=list)
    """(Unix time, content, components, names of the attachments) after each change."""
    mentions: dict[str, Any] = field(default_factory=dict)
    """``allowed_mentions`` of what the bot sent last."""

    @property
    def ephemeral(self) -> bool:
        return bool(self.flags & EPHEMERAL)

    @property
    def loading(self) -> bool:
        return bool(self.flags & LOADING)

    def note(self) -> None:
        """Add what the message is now to its history."""
        names = [attachment.filename for attachment in self.attachments]
        self.history.append((time.time(), self.content, self.components, names))


class World:
    """Everything that exists."""

    def __init__(self) -> None:
        self.ids = Snowflakes()
        self.bot = User(APPLICATION, "distillery", bot=True)
        self.users: dict[int, User] = {self.bot.id: self.bot}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.attachments: dict[int, Attachment] = {}
        self.dms: dict[int, Channel] = {}
        self.size_limit = 10 * MIB
        """Bytes of one attachment in DMs."""
        self.numbers = itertools.count(1)

    def add_user(self, name: str, roles: Iterable[str], locale: str) -> User:
        user = User(self.ids.make(), name, locale, roles=tuple(roles))
        self.users[user.id] = user
        return user

    def add_guild(
        self, name: str, boosts: int, size_limit: int | None, joined: bool, shard: tuple[int, int] | None
    ) -> Guild:
        guild = Guild(self.ids.make(shard=shard), name, boosts, joined=joined)
        guild.size_limit = size_limit or (10, 10, 50, 100)[guild.tier] * MIB
        self.guilds[guild.id] = guild
        guild.owner = self.add_user(f"owner of {name}", (), "en-US").id
        for user in (self.users[guild.owner], self.bot)[: 1 + joined]:
            self.join(user, guild, (), None)
        return guild

    def join(self, user: User, guild: Guild, roles: Iterable[str], permissions: Any) -> Member:
        ids = [guild.roles.setdefault(name, self.ids.make()) for name in dict.fromkeys((*user.roles, *roles))]
        value = EVERYTHING if user.id == guild.owner else permissions_value(permissions)
        member = Member(user, ids, value)
        guild.members[user.id] = member
        return member

    def add_channel(self, guild: Guild, name: str, kind: int, allow: Any, parent: Channel | None) -> Channel:
        channel = Channel(self.ids.make(), name, kind, guild, permissions_value(allow), parent)
        self.channels[channel.id] = channel
        return channel

    def dm(self, user: User) -> Channel:
        if user.id not in self.dms:
            channel = Channel(self.ids.make(), user.name, DM, None, USUAL, recipients=[user])
            self.dms[user.id] = self.channels[channel.id] = channel
        return self.dms[user.id]

    def limit_in(self, channel: Channel) -> int:
        """Bytes that one attachment may have in a channel."""
        return channel.guild.size_limit if channel.guild else self.size_limit
