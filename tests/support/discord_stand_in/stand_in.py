"""The stand-in as tests use it: its life, what there is in it, its faults and switches."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from aiohttp import web
from tls_host import Certificates, make_certificates

from distillery.driver.sources.fetch import FetchPolicy

from . import payloads
from .calls import Call
from .clients import RunningClient
from .limits import Fault
from .patching import patched
from .rest import Rest
from .users import Users
from .world import DM, TEXT, THREAD, Channel, Guild, Member, Message, User, permissions_value


class DiscordStandIn(Users):
    """Context manager; all of its methods can be called from any thread."""

    def __enter__(self) -> DiscordStandIn:
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True, name="Discord stand-in")
        self._thread.start()
        self._tls_port = 0
        self._runner = web.AppRunner(Rest(self).application(), access_log=None, shutdown_timeout=0.1)
        self._in_loop(self._runner.setup())
        self.port = self._listen(None)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._do(self.gateway_.open.set, lambda: self.gateway_.drop(False, False))
        self._in_loop(self._runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()
        if self.crashes and kind is None:
            raise AssertionError("The stand-in for Discord failed.") from self.crashes[0]

    @property
    def policy(self) -> FetchPolicy:
        """The policy under which https://cdn.discordapp.com and https://discord.com lead here."""
        certificates = _certificates()
        if not self._tls_port:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

            def choose(connection: ssl.SSLObject, asked: str | None, _: ssl.SSLContext) -> None:
                connection.context = certificates.servers[asked or "discord.com"]

            context.sni_callback = choose  # type: ignore[assignment]
            self._tls_port = self._listen(context)
        return FetchPolicy(
            resolve=lambda host: ["127.0.0.1"], permitted=lambda address: address == "127.0.0.1", port=self._tls_port,
            context=certificates.trust, deadline=20,
        )  # fmt: skip

    def patch(self) -> contextlib.AbstractContextManager[None]:
        """Have discord.py talk to the stand-in; see :func:`patched`, which a process of its own calls with the port."""
        return patched(self.port)

    def running(self, client: Any, timeout: float = 10, token: str | None = None) -> RunningClient:
        """Run a discord.py client in a thread of its own, within :meth:`patch`."""
        return RunningClient(self, client, timeout, token or self.token)

    # What there is

    def guild(
        self, name: str, boosts: int = 0, size_limit: int | None = None, joined: bool = True,
        shard: tuple[int, int] | None = None,
    ) -> Guild:  # fmt: skip
        """Make a guild. size_limit: bytes of one attachment, None: by its boosts. joined: the bot is in it.

        shard: (which, of how many) it is to belong to.
        """
        with self.lock:
            guild = self.world.add_guild(name, boosts, size_limit, joined, shard)
            if joined:
                self.event("GUILD_CREATE", payloads.guild(guild, []), guild)
            return guild

    def channel(
        self, guild: Guild, name: str, kind: Literal["text", "thread"] = "text", allow: Any = None,
        parent: Channel | None = None,
    ) -> Channel:  # fmt: skip
        """Make a channel. allow: the bot's permissions in it; None: the usual ones."""
        with self.lock:
            if kind == "thread" and parent is None:
                parent = self.channel(guild, f"parent of {name}", allow=allow)
            channel = self.world.add_channel(guild, name, THREAD if kind == "thread" else TEXT, allow, parent)
            if guild.joined:
                self.event("THREAD_CREATE" if kind == "thread" else "CHANNEL_CREATE", payloads.channel(channel), guild)
            return channel

    def user(self, name: str, roles: Sequence[str] = (), locale: str = "en-GB") -> User:
        """Make a user. roles: names, which it has in each guild that it joins."""
        with self.lock:
            return self.world.add_user(name, roles, locale)

    def join(self, user: User, guild: Guild, roles: Sequence[str] = (), permissions: Any = None) -> Member:
        """Have a user join a guild, or change what it is there. Its roles' ids are in ``guild.roles``."""
        with self.lock:
            known = set(guild.roles)
            member = self.world.join(user, guild, roles, permissions)
            for name in [each for each in guild.roles if each not in known]:
                role = payloads.role(guild.roles[name], name, 0, len(guild.roles))
                self.event("GUILD_ROLE_CREATE", {"guild_id": str(guild.id), "role": role}, guild)
            return member

    def dm(self, user: User) -> Channel:
        """The DM of the bot and a user."""
        with self.lock:
            return self.world.dm(user)

    def private(self, user: User, other: User) -> Channel:
        """A DM of two users, where the bot is brought along by one of them."""
        with self.lock:
            channel = Channel(self.world.ids.make(), other.name, DM, None, 0, recipients=[user, other], private=True)
            self.world.channels[channel.id] = channel
            return channel

    # What happens to it

    def delete(self, message: Message) -> None:
        """Delete a message; the bot hears of it."""
        with self.lock:
            self.messages_.delete(message)

    def delete_channel(self, channel: Channel) -> None:
        with self.lock:
            self.remove_channel(channel)

    def permit(self, channel: Channel, allow: Any) -> None:
        """Change what the bot may do in a channel; its threads follow."""
        with self.lock:
            for each in (channel, *(one for one in self.world.channels.values() if one.parent is channel)):
                each.allow = permissions_value(allow)
                if each.guild and each.kind == TEXT:
                    self.event("CHANNEL_UPDATE", payloads.channel(each), each.guild)

    def close_dms(self, user: User, closed: bool = True) -> None:
        """Have a user take no DMs of the bot any more."""
        user.dms_closed = closed

    def leave(self, guild: Guild) -> None:
        """Take the bot out of a guild."""
        with self.lock:
            guild.joined = False
            self.event("GUILD_DELETE", {"id": str(guild.id)}, guild)

    def archive(self, thread: Channel) -> None:
        """Archive a thread: its messages cannot be edited (50083) until somebody posts in it."""
        thread.archived = True

    def expire(self, call: Call) -> None:
        """End the life of an interaction's token now."""
        call.expired = True

    # Faults

    def fail(
        self, pattern: str, status: int = 500, times: float = 1, body: Any = None, headers: Mapping[str, str] | None = None,
        after: bool = False, delay: float = 0,
    ) -> Fault:  # fmt: skip
        """Answer requests with an error. pattern: regular expression, found in ``METHOD /path`` without /api/v10.

        status: 0 cuts the connection; 200 leaves the answer as it is, for a delay alone. after: what was asked for is
        done, and then the answer is lost. delay: seconds before. Returns the fault, whose ``times`` can be set to 0.
        """
        fault = Fault(re.compile(pattern), status, times, body, headers, after, delay)
        self.limits.faults.append(fault)
        return fault

    def limit(self, pattern: str, number: int, per: float) -> None:
        """Allow so many requests in so many seconds; see :meth:`fail` for the pattern."""
        self.limits.add(pattern, number, per)

    @property
    def slow_cdn(self) -> float:
        """Seconds before the CDN answers."""
        return self.files.slow

    @slow_cdn.setter
    def slow_cdn(self, seconds: float) -> None:
        self.files.slow = seconds

    @property
    def link_life(self) -> float:
        """Seconds that links of files are valid from now on."""
        return self.files.link_life

    @link_life.setter
    def link_life(self, seconds: float) -> None:
        self.files.link_life = seconds

    def drop_gateway(self, resume: bool = True, reconnect: bool = False) -> None:
        """Cut the gateway's connections. resume: the sessions can be resumed. reconnect: by the opcode, not a cut."""
        self._do(lambda: self.gateway_.drop(resume, reconnect))

    @contextlib.contextmanager
    def gateway_away(self, resume: bool = True) -> Iterator[None]:
        """Cut the connections, and keep new ones waiting until the context is left."""
        self._do(self.gateway_.open.clear, lambda: self.gateway_.drop(resume, False))
        try:
            yield
        finally:
            self._do(self.gateway_.open.set)

    # The server

    def _listen(self, context: ssl.SSLContext | None) -> int:
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        self._in_loop(site.start())
        return int(site._server.sockets[0].getsockname()[1])  # type: ignore[union-attr]

    def _in_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def _do(self, *acts: Callable[[], None]) -> None:
        async def run() -> None:
            for act in acts:
                act()

        self._in_loop(run())


@functools.cache
def _certificates() -> Certificates:
    # Certificates take a second to make, so that all stand-ins of a process share them.
    folder = tempfile.TemporaryDirectory(prefix="discord-stand-in-")
    _FOLDERS.append(folder)
    return make_certificates(Path(folder.name))


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
"""Removed when the process ends."""
