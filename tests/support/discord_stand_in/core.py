"""The state that the parts of the stand-in share, and how tests wait for it."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from . import payloads
from .calls import Call
from .files import Files
from .gateway import Gateway
from .limits import Limits
from .messages import Messages
from .world import THREAD, Channel, Guild, World


class Request(NamedTuple):
    time: float
    """Unix seconds."""
    method: str
    path: str
    """Without ``/api/v10`` and without the query."""
    status: int
    """0: the connection was cut."""


class Core:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.loop = asyncio.new_event_loop()
        self.port = 0
        self.token = f"MTEwMDAw.{secrets.token_hex(3)}.{secrets.token_hex(16)}"
        self.interaction_life = 900.0
        """Seconds that the token of an interaction is valid."""
        self.interaction_age = 0.0
        """Seconds that the ids of new interactions are older than they are, for bots that reckon with the id's time."""
        self.ack_limit = 3.0
        """Seconds for the first response."""
        self.nonce_life = 180.0
        """Seconds in which an enforced nonce finds the earlier message."""
        self.heartbeat_interval = 41.25
        self.heartbeat_acks = True
        self.privileged = False
        """True: the privileged intents are granted."""
        self.identified = self.resumed = 0
        """Sessions that were begun, and resumed."""
        self.requests: list[Request] = []
        self.invalid = 0
        """Answers of 401, 403 and 429, of which 10,000 in ten minutes are a ban."""
        self.crashes: list[Exception] = []
        """Errors in the stand-in itself."""
        self.world = World()
        self.files = Files(self.world)
        self.limits = Limits()
        self.messages_ = Messages(self)
        self.calls: dict[str, Call] = {}
        """By token."""
        self.registered: dict[int | None, list[dict[str, Any]]] = {}
        self.gateway_ = Gateway(self)
        self._changed = threading.Condition()

    @property
    def api(self) -> str:
        """Base of the API's addresses."""
        return f"http://127.0.0.1:{self.port}/api/v10"

    @property
    def gateway_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/gateway"

    @property
    def commands(self) -> dict[int | None, list[dict[str, Any]]]:
        """What the bot registered, valid as Discord has it: for all (None) and by the guild's id."""
        with self.lock:
            return dict(self.registered)

    def wait(self, condition: Callable[[], Any], timeout: float = 3, what: str = "what was waited for") -> Any:
        """Wait until a condition holds; returns its value. Raises AssertionError if it does not."""
        end = time.monotonic() + timeout
        while not (value := condition()):
            left = end - time.monotonic()
            if left <= 0:
                lately = "\n".join(f"  {each.method} {each.path} {each.status}" for each in self.requests[-12:])
                raise AssertionError(f"After {timeout:g} s there is not {what}. The last requests:\n{lately}")
            with self._changed:
                self._changed.wait(min(left, 0.05))
        return value

    def notify(self) -> None:
        """Have those that wait look again."""
        with self._changed:
            self._changed.notify_all()

    def remove_channel(self, channel: Channel) -> None:
        """Delete a channel with its threads and all that is in them."""
        channel.deleted = True
        for message in list(channel.messages.values()):
            message.deleted = True
            for attachment in message.attachments:
                attachment.deleted = True
        channel.messages.clear()
        if channel.guild and channel.guild.joined:
            self.event(
                "THREAD_DELETE" if channel.kind == THREAD else "CHANNEL_DELETE",
                payloads.channel(channel),
                channel.guild,
            )
        for other in [each for each in self.world.channels.values() if each.parent is channel and not each.deleted]:
            self.remove_channel(other)
        self.notify()

    def event(self, name: str, data: Any, guild: Guild | None) -> None:
        """Send an event to the bot, from any thread."""
        self.loop.call_soon_threadsafe(self.gateway_.dispatch, name, data, guild)
