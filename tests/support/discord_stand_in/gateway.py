"""The gateway: sessions that outlive their connections, and the events that they get."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from . import payloads
from .world import Guild

if TYPE_CHECKING:
    from .core import Core

JSON = dict[str, Any]

GUILDS, GUILD_MESSAGES, DIRECT_MESSAGES, CONTENT = 1 << 0, 1 << 9, 1 << 12, 1 << 15
PRIVILEGED = 1 << 1 | 1 << 8 | CONTENT
DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, MEMBERS, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 8, 9, 10, 11


class _Connection:
    """One websocket, with a queue so that frames leave in order."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket, self._request = socket, request
        self.session: Session | None = None
        self._queue: asyncio.Queue[JSON] = asyncio.Queue()
        # Discord compresses the whole connection as one stream, of which each frame ends at a flush.
        self._stream = zlib.compressobj() if request.query.get("compress") == "zlib-stream" else None
        self._writer = asyncio.create_task(self._write())

    def send(self, op: int, data: Any, name: str | None = None, seq: int | None = None) -> None:
        self._queue.put_nowait({"op": op, "d": data, "t": name, "s": seq})

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._writer.cancel()
        if self._request.transport:
            self._request.transport.abort()

    async def flush(self) -> None:
        """Wait until all that was sent has left."""
        await asyncio.wait_for(self._queue.join(), 2)

    async def close(self, code: int) -> None:
        await self.flush()
        self._writer.cancel()
        await self.socket.close(code=code)

    def end(self) -> None:
        self._writer.cancel()

    async def _write(self) -> None:
        while True:
            text = json.dumps(await self._queue.get())
            with contextlib.suppress(ConnectionError, RuntimeError):
                if self._stream:
                    await self.socket.send_bytes(
                        self._stream.compress(text.encode()) + self._stream.flush(zlib.Z_SYNC_FLUSH)
                    )
                else:
                    await self.socket.send_str(text)
            self._queue.task_done()


@dataclass(eq=False)
class Session:
    shard: tuple[int, int]
    intents: int
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    seq: int = 0
    events: list[tuple[int, str, Any]] = field(default_factory=list)
    connection: _Connection | None = None
    alive: bool = True

    def event(self, name: str, data: Any) -> None:
        """Send an event, or keep it until the session is resumed."""
        self.seq += 1
        self.events.append((self.seq, name, data))
        if self.connection:
            self.connection.send(DISPATCH, data, name, self.seq)


class Gateway:
    """All of it is touched in the server's own loop only."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.sessions: dict[str, Session] = {}
        self.connections: set[_Connection] = set()
        self.open = asyncio.Event()
        self.open.set()

    def dispatch(self, name: str, data: Any, guild: Guild | None) -> None:
        """Send an event to the sessions to which it belongs."""
        for session in self.sessions.values():
            which, of = session.shard
            if session.alive and which == ((guild.id >> 22) % of if guild else 0) and _wanted(name, session, guild):
                session.event(name, self._as_seen(data, session, guild) if name.startswith("MESSAGE_") else data)

    def drop(self, resume: bool, reconnect: bool) -> None:
        """Close the connections. reconnect: say so first, with the opcode."""
        for connection in list(self.connections):
            if connection.session:
                connection.session.alive = connection.session.alive and resume
            if reconnect:
                connection.send(RECONNECT, None)
            else:
                self._detach(connection)
                connection.abort()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        # A handshake that waits has discord.py wait too; one that is refused has it come back after a random time.
        await self.open.wait()
        socket = web.WebSocketResponse(max_msg_size=1 << 16)
        await socket.prepare(request)
        connection = _Connection(socket, request)
        self.connections.add(connection)
        connection.send(HELLO, {"heartbeat_interval": int(self._core.heartbeat_interval * 1000)})
        try:
            async for frame in socket:
                if frame.type == WSMsgType.TEXT:
                    await self._receive(connection, json.loads(frame.data))
        finally:
            if connection.session and socket.close_code in (1000, 1001):
                connection.session.alive = False  # the client has ended it
            self._detach(connection)
            connection.end()
        return socket

    def _detach(self, connection: _Connection) -> None:
        self.connections.discard(connection)
        if connection.session and connection.session.connection is connection:
            connection.session.connection = None

    async def _receive(self, connection: _Connection, frame: JSON) -> None:
        op: int = frame["op"]
        data: Any = frame.get("d")
        if op == HEARTBEAT and self._core.heartbeat_acks:
            connection.send(ACK, None)
        elif op == IDENTIFY:
            await self._identify(connection, data)
        elif op == RESUME:
            await self._resume(connection, data)
        elif op == MEMBERS and connection.session:
            self._members(connection.session, data)

    async def _identify(self, connection: _Connection, data: JSON) -> None:
        shard = tuple(data.get("shard") or (0, 1))
        refusal = None
        if data["token"] != self._core.token:
            refusal = 4004
        elif not 0 <= shard[0] < shard[1]:
            refusal = 4010
        elif data["intents"] & PRIVILEGED and not self._core.privileged:
            refusal = 4014
        if refusal:
            await connection.close(refusal)
            return
        session = Session(shard, data["intents"], connection=connection)
        connection.session = session
        self.sessions[session.id] = session
        self._core.identified += 1
        with self._core.lock:
            world = self._core.world
            guilds = [each for each in world.guilds.values() if each.joined and (each.id >> 22) % shard[1] == shard[0]]
            ready = {
                "v": 10, "user": payloads.myself(world.bot), "session_id": session.id, "session_type": "normal",
                "guilds": [{"id": str(each.id), "unavailable": True} for each in guilds], "private_channels": [],
                "resume_gateway_url": self._core.gateway_url, "application": {"id": str(world.bot.id), "flags": 1 << 23},
                "shard": list(shard), "relationships": [], "presences": [], "user_settings": {},
            }  # fmt: skip
            session.event("READY", ready)
            for each in guilds if session.intents & GUILDS else []:
                session.event("GUILD_CREATE", payloads.guild(each, list(world.channels.values())))
        self._core.notify()

    async def _resume(self, connection: _Connection, data: JSON) -> None:
        session = self.sessions.get(data["session_id"] or "")
        if data["token"] != self._core.token:
            await connection.close(4004)
        elif session is None or not session.alive:
            connection.send(INVALID, False)
        else:
            if old := session.connection:  # which the client has given up, whether or not that has been noticed here
                self._detach(old)
                old.abort()
            connection.session, session.connection = session, connection
            for seq, name, event in session.events:
                if seq > (data["seq"] or 0):
                    connection.send(DISPATCH, event, name, seq)
            session.event("RESUMED", {"_trace": []})
            self._core.resumed += 1
        self._core.notify()

    def _members(self, session: Session, data: JSON) -> None:
        with self._core.lock:
            guild = self._core.world.guilds[int(data["guild_id"])]
            members = [payloads.member(each) for each in guild.members.values()]
        chunk = {"guild_id": str(guild.id), "members": members, "chunk_index": 0, "chunk_count": 1, "not_found": []}
        session.event("GUILD_MEMBERS_CHUNK", chunk | {"nonce": data.get("nonce")})

    @staticmethod
    def _as_seen(data: JSON, session: Session, guild: Guild | None) -> JSON:
        """A message without what only a privileged intent shows."""
        if session.intents & CONTENT or guild is None or data.get("author", {}).get("bot") or "content" not in data:
            return data
        return data | {"content": "", "embeds": [], "attachments": [], "components": []}


def _wanted(name: str, session: Session, guild: Guild | None) -> bool:
    if name.startswith("MESSAGE_"):
        return bool(session.intents & (GUILD_MESSAGES if guild else DIRECT_MESSAGES))
    return bool(session.intents & GUILDS) if name.startswith(("GUILD_", "CHANNEL_", "THREAD_")) else True
