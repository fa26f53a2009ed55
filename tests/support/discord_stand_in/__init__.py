"""A stand-in for Discord on loopback: discord.py runs against it unmodified. See README.md."""

from .calls import Call
from .clients import RunningClient
from .patching import patched
from .stand_in import DiscordStandIn
from .world import Attachment, Channel, Guild, Message, User

__all__ = ["Attachment", "Call", "Channel", "DiscordStandIn", "Guild", "Message", "RunningClient", "User", "patched"]
