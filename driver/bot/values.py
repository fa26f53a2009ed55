"""What the bot keeps of a request, as plain values."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import PurePosixPath
from typing import Any

from ...nodes.command import Command, format_command, parse_command
from ...nodes.generation import Generation
from ...nodes.parameters import POWER
from ..jobs.output import safe_name

TOKEN_LIFE = timedelta(minutes=14, seconds=30)
"""For how long the answer of an interaction is edited by its token, which lives for 15 minutes."""
KIND = "discord"
"""The bot's kind of deliveries; their target is the id of the request."""
USER = "discord:"
"""Beginning of the cluster's ids of Discord's users."""


@dataclass(frozen=True)
class SourceRef:
    """Where the picture of a request comes from."""

    url: str = ""
    """Link of an attachment, or of a host that is allowed."""
    name: str = "image.png"
    """File name; untrusted input."""
    attachment: int | None = None
    message: int | None = None
    """Ids of the attachment and of the message that it hangs on."""
    parent: str = ""
    """Id of an earlier request whose picture it is, in place of a link."""
    spoiler: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready data."""
        return dict(vars(self))

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> SourceRef:
        """Read what :meth:`as_dict` wrote."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


@dataclass(frozen=True)
class Request:
    """One use of a command or a button: one row of the bot's own table."""

    id: str
    """Snowflake of the interaction."""
    kind: str
    """``one`` picture; ``auto``: powers are tried one after the other; ``sweep``: several pictures side by side."""
    user_id: int
    application_id: int
    size_limit: int
    """Bytes of a file that may be sent there."""
    source: SourceRef
    command: str
    """In the classic form, without a power where that is chosen."""
    tier: str
    guild_id: int | None = None
    channel_id: int | None = None
    in_guild: bool = True
    """False where the bot itself is no member of the guild, as the app is the user's."""
    token: str | None = field(default=None, repr=False)
    token_until: datetime | None = None
    message_id: int | None = None
    """The card."""
    state: str = "received"
    data: Mapping[str, Any] = field(default_factory=dict)
    """``image`` (SHA-256 in the store), ``width``, ``height``, ``checkpoint``, ``seed``, ``origin``, ``prompt``, ``negative``,
    ``warnings``, ``name``, ``spoiler``, ``measured`` (of auto), ``final`` (command of the
    result), ``object`` (its name in the store)."""
    created: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    delivered_by: str | None = None

    @property
    def user(self) -> str:
        """The user as the cluster knows it."""
        return f"{USER}{self.user_id}"

    @property
    def name(self) -> str:
        """File name of the picture; untrusted input."""
        return str(self.data.get("name") or self.source.name)

    @property
    def stem(self) -> str:
        """Stem of the result's file name."""
        return f"{safe_name(PurePosixPath(self.name).stem)[:80]}_2x"

    @property
    def picture(self) -> str:
        """Name of its picture in the store. Raises KeyError before it was taken."""
        return f"sources/{self.data['image']}.png"

    @property
    def final(self) -> str:
        """The command that its result was made with."""
        return str(self.data.get("final") or self.command)

    def token_lives(self, now: datetime | None = None) -> bool:
        """Return True while the answer can be edited by its token."""
        now = now or datetime.now(timezone.utc)
        return self.token is not None and self.token_until is not None and now < self.token_until


def read_request(row: Mapping[str, Any]) -> Request:
    """Read a row of the table."""
    known = {name: row[name] for name in Request.__dataclass_fields__ if name in row}
    known["source"] = SourceRef.read(row["source"])
    return Request(**known)


def job_id(request_id: str, number: int = 0) -> str:
    """Return the id of a request's job: the interaction's own, as 32 hexadecimal digits, for the first one."""
    first = uuid.UUID(int=int(request_id))
    return first.hex if number == 0 else uuid.uuid5(first, str(number)).hex


def with_values(command: str, **values: Any) -> str:
    """Return a command with other values; None leaves a parameter out."""
    parsed = parse_command(command)
    names = [f for f in Command.__dataclass_fields__ if f != "warnings"]
    return format_command(Command(**{f: values.get(f, getattr(parsed, f)) for f in names}))


def power_of(command: str) -> float:
    """Return the power that a command asks for."""
    power = parse_command(command).power
    return POWER if power is None else power


def shown_data(generation: Generation, image: str, width: int, height: int) -> dict[str, Any]:
    """Return what a card shows of a picture. image: its SHA-256 in the store; width, height: of the source in pixels."""
    return {
        "image": image,
        "width": width,
        "height": height,
        "origin": generation.origin,
        "checkpoint": generation.checkpoint,
        "seed": str(generation.seed) if generation.seed is not None else None,  # JSON's numbers are too small
        "prompt": generation.positive,
        "negative": generation.negative,
        "loras": [lora.name for lora in generation.loras],
        "warnings": list(generation.warnings),
    }
