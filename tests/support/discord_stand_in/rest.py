"""The REST API: which request does what."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from . import check_commands, payloads
from .core import Request
from .interactions import Interactions
from .messages import Uploads
from .refusals import (
    ARCHIVED,
    CANNOT_MESSAGE_USER,
    MISSING_ACCESS,
    MISSING_PERMISSIONS,
    OTHERS_MESSAGE,
    Refusal,
    unknown,
)
from .world import (
    ATTACH,
    DM,
    HISTORY,
    MANAGE_CHANNELS,
    MANAGE_MESSAGES,
    SEND,
    SEND_IN_THREADS,
    THREAD,
    V2,
    VIEW,
    Channel,
    Message,
)

if TYPE_CHECKING:
    from .core import Core

JSON = dict[str, Any]
PREFIX = "/api/v10"
_FILE = re.compile(r"files\[([0-9]+)\]")


@dataclass
class Asked:
    """A request, read."""

    given: dict[str, str]
    """Parts of the path."""
    body: Any
    uploads: Uploads
    query: dict[str, str]


Handler = Callable[[Asked], Any]
"""Returns the JSON of the answer; None is 204."""


class Rest:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._interactions = Interactions(core)

    def application(self) -> web.Application:
        """The server's application, for plain HTTP and for TLS."""
        application = web.Application(client_max_size=1 << 30)
        application.router.add_get("/gateway", self._core.gateway_.handle)
        application.router.add_get("/{folder:attachments|ephemeral-attachments}/{rest:.*}", self._cdn)
        for method, path, handler in self._routes():
            application.router.add_route(method, PREFIX + path, self._handling(handler))
        application.router.add_route("*", "/{rest:.*}", self._handling(self._nothing))
        return application

    def _routes(self) -> list[tuple[str, str, Handler]]:
        message, webhook = "/channels/{channel}/messages/{message}", "/webhooks/{application}/{token}"
        commands = [
            route
            for base in ("/applications/{application}", "/applications/{application}/guilds/{guild}")
            for route in (
                ("GET", f"{base}/commands", self._commands), ("PUT", f"{base}/commands", self._put_commands),
                ("POST", f"{base}/commands", self._post_command), ("GET", f"{base}/commands/{{id}}", self._command),
                ("DELETE", f"{base}/commands/{{id}}", self._delete_command),
                ("PATCH", f"{base}/commands/{{id}}", self._patch_command),
            )
        ]  # fmt: skip
        world = self._core.world
        return [
            *commands,
            ("GET", "/users/@me", lambda asked: payloads.myself(world.bot)),
            ("GET", "/oauth2/applications/@me", lambda asked: payloads.application(world.bot)),
            ("GET", "/applications/@me", lambda asked: payloads.application(world.bot)),
            ("GET", "/applications/{application}/{what:entitlements|skus|emojis}", self._none),
            ("GET", "/gateway", lambda asked: {"url": self._core.gateway_url}),
            ("GET", "/gateway/bot", self._gateway),
            ("GET", "/users/{user}", lambda asked: payloads.user(self._user(asked.given["user"]))),
            ("POST", "/users/@me/channels", lambda asked: payloads.channel(world.dm(self._user(asked.body["recipient_id"])))),
            ("GET", "/guilds/{guild}", self._guild),
            ("GET", "/guilds/{guild}/members/{user}", self._member),
            ("GET", "/channels/{channel}", lambda asked: payloads.channel(self._channel(asked))),
            ("DELETE", "/channels/{channel}", self._delete_channel),
            ("POST", "/channels/{channel}/typing", self._type),
            ("GET", "/channels/{channel}/messages", self._messages),
            ("POST", "/channels/{channel}/messages", self._send),
            ("GET", message, lambda asked: self._shown(self._message(asked, HISTORY))),
            ("PATCH", message, self._edit),
            ("DELETE", message, self._delete),
            ("POST", "/attachments/refresh-urls", self._refresh),
            ("POST", "/interactions/{id}/{token}/callback", self._respond),
            ("POST", webhook, self._follow_up),
            ("GET", webhook + "/messages/{message}", lambda asked: self._shown(self._interactions.message(asked.given["token"], asked.given["message"]))),
            ("PATCH", webhook + "/messages/{message}", self._edit_by_token),
            ("DELETE", webhook + "/messages/{message}", self._delete_by_token),
        ]  # fmt: skip

    def _handling(self, handler: Handler) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            path = request.rel_url.raw_path.removeprefix(PREFIX)
            line = f"{request.method} {path}"
            by_token = path.startswith(("/webhooks/", "/interactions/"))
            headers: dict[str, str] = {"Via": "1.1 google"}
            fault = self._core.limits.fault(line)
            if fault and fault.delay:
                await asyncio.sleep(fault.delay)
            try:
                body, uploads = await _read(request)
                if fault and not fault.after and fault.status != 200:
                    return self._faulty(request, path, fault)
                if not by_token and request.headers.get("Authorization") != f"Bot {self._core.token}":
                    raise Refusal(401, 0, "401: Unauthorized")
                with self._core.lock:
                    headers |= self._core.limits.count(line, of_bot=not by_token)
                    answer = handler(Asked(dict(request.match_info), body, uploads, dict(request.query)))
                if fault and fault.after:
                    return self._faulty(request, path, fault)
            except Refusal as refusal:
                headers |= refusal.headers
                self._record(request.method, path, refusal.status)
                return _json(refusal.body, status=refusal.status, headers=headers)
            except Exception as error:
                # Neither Discord's answer nor the bot's fault: the test is to fail, and soon.
                self._core.crashes.append(error)
                self._record(request.method, path, 400)
                return _json({"message": f"The stand-in failed: {error!r}", "code": 0}, 400, headers)
            status = 204 if answer is None else 200
            self._record(request.method, path, status)
            return web.Response(status=204, headers=headers) if answer is None else _json(answer, headers=headers)

        return handle

    def _faulty(self, request: web.Request, path: str, fault: Any) -> web.Response:
        self._record(request.method, path, fault.status)
        if not fault.status and request.transport:
            request.transport.abort()
        body = fault.body
        if body is None:
            body = {"message": "A fault that a test asked for", "code": 0}
            body |= {"retry_after": 0.1, "global": False} if fault.status == 429 else {}
        headers = {"Via": "1.1 google", **(fault.headers or {})}
        if isinstance(body, (dict, list)):
            return _json(body, status=fault.status or 500, headers=headers)
        return web.Response(text=str(body), status=fault.status or 500, headers=headers)

    def _record(self, method: str, path: str, status: int) -> None:
        self._core.requests.append(Request(time.time(), method, path, status))
        self._core.invalid += status in (401, 403, 429)
        self._core.notify()

    def _nothing(self, asked: Asked) -> Any:
        raise Refusal(404, 0, "404: Not Found")

    async def _cdn(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        fault = self._core.limits.fault(f"GET {path}")
        await asyncio.sleep(self._core.files.slow + (fault.delay if fault else 0))
        if fault and fault.status != 200:
            return self._faulty(request, path, fault)
        with self._core.lock:
            data = self._core.files.fetch(path, request.rel_url.raw_query_string)
            attachment = self._core.files.find(path)
        self._record("GET", path, 200 if data is not None else 404)
        if data is None or attachment is None:
            return web.Response(status=404, text="This content is no longer available.")
        return web.Response(body=data, content_type=attachment.content_type)

    # Applications and commands

    def _none(self, asked: Asked) -> Any:
        return {"items": []} if asked.given["what"] == "emojis" else []

    def _gateway(self, asked: Asked) -> JSON:
        limit = {"total": 1000, "remaining": 999, "reset_after": 14_400_000, "max_concurrency": 16}
        return {"url": self._core.gateway_url, "shards": 1, "session_start_limit": limit}

    def _list(self, asked: Asked) -> tuple[int | None, list[JSON]]:
        guild = int(asked.given["guild"]) if "guild" in asked.given else None
        if guild is not None and not getattr(self._core.world.guilds.get(guild), "joined", False):
            raise Refusal(*MISSING_ACCESS)
        return guild, self._core.registered.setdefault(guild, [])

    def _commands(self, asked: Asked) -> Any:
        return self._list(asked)[1]

    def _put_commands(self, asked: Asked) -> Any:
        guild, old = self._list(asked)
        check_commands.check_all(asked.body)
        self._core.registered[guild] = [self._completed(each, guild, old) for each in asked.body]
        return self._core.registered[guild]

    def _post_command(self, asked: Asked) -> Any:
        guild, old = self._list(asked)
        others = [
            each for each in old if (each["type"], each["name"]) != (asked.body.get("type", 1), asked.body.get("name"))
        ]
        check_commands.check_all([asked.body])
        made = self._completed(asked.body, guild, old)
        self._core.registered[guild] = [*others, made]
        return made

    def _command(self, asked: Asked) -> Any:
        for each in self._list(asked)[1]:
            if each["id"] == asked.given["id"]:
                return each
        raise unknown("application command")

    def _patch_command(self, asked: Asked) -> Any:
        command = self._command(asked)
        check_commands.check_all([{**command, **asked.body}])
        command.update(asked.body)
        return command

    def _delete_command(self, asked: Asked) -> None:
        command = self._command(asked)
        self._list(asked)[1].remove(command)

    def _completed(self, command: JSON, guild: int | None, old: list[JSON]) -> JSON:
        """A command as Discord keeps it: with an id that stays as long as its name."""
        kind = command.get("type", 1)
        same = next((each["id"] for each in old if (each["type"], each["name"]) == (kind, command["name"])), None)
        ids = self._core.world.ids
        usual: JSON = {"description": "", "nsfw": False, "default_member_permissions": None, "dm_permission": True}
        usual |= {"contexts": None, "integration_types": [0]}
        fixed = {
            "id": same or str(ids.make()),
            "application_id": str(self._core.world.bot.id),
            "version": str(ids.make()),
            "type": kind,
        }
        kept = {**usual, **command, **fixed}
        if kept["default_member_permissions"] is not None:
            kept["default_member_permissions"] = str(kept["default_member_permissions"])
        return kept | ({"guild_id": str(guild)} if guild else {})

    # Users, guilds, channels

    def _user(self, id: Any) -> Any:
        user = self._core.world.users.get(int(id))
        if user is None:
            raise unknown("User")
        return user

    def _guild(self, asked: Asked) -> JSON:
        world = self._core.world
        guild = world.guilds.get(int(asked.given["guild"]))
        if guild is None or not guild.joined:
            raise unknown("Guild")
        return payloads.guild(guild, list(world.channels.values()))

    def _member(self, asked: Asked) -> JSON:
        self._guild(asked)
        member = self._core.world.guilds[int(asked.given["guild"])].members.get(int(asked.given["user"]))
        if member is None:
            raise unknown("Member")
        return payloads.member(member)

    def _channel(self, asked: Asked, needed: int = 0) -> Channel:
        """The channel of a path. needed: permissions that the bot must have. Raises Refusal."""
        channel = self._core.world.channels.get(int(asked.given["channel"]))
        if channel is None or channel.deleted:
            raise unknown("Channel")
        if channel.private or (channel.guild and not channel.guild.joined) or not channel.allow & VIEW:
            raise Refusal(*MISSING_ACCESS)
        if needed & ~channel.allow:
            raise Refusal(*MISSING_PERMISSIONS)
        return channel

    def _delete_channel(self, asked: Asked) -> JSON:
        channel = self._channel(asked, MANAGE_CHANNELS)
        self._core.remove_channel(channel)
        return payloads.channel(channel)

    def _type(self, asked: Asked) -> None:
        self._channel(asked, SEND)

    # Messages

    def _shown(self, message: Message) -> JSON:
        return payloads.message(message, self._core.files)

    def _messages(self, asked: Asked) -> list[JSON]:
        found = [each for each in self._channel(asked, HISTORY).messages.values() if not each.ephemeral]
        for name, keep in (("before", lambda a, b: a < b), ("after", lambda a, b: a > b)):
            if name in asked.query:
                found = [each for each in found if keep(each.id, int(asked.query[name]))]
        found.sort(key=lambda each: -each.id)
        limit = int(asked.query.get("limit", 50))
        return [self._shown(each) for each in (found[-limit:] if "after" in asked.query else found[:limit])]

    def _message(self, asked: Asked, needed: int = 0) -> Message:
        channel = self._channel(asked, needed)
        message = channel.messages.get(int(asked.given["message"]))
        if message is None or message.ephemeral:
            raise unknown("Message")
        return message

    def _send(self, asked: Asked) -> JSON:
        channel = self._channel(asked)
        needed = SEND_IN_THREADS if channel.kind == THREAD else SEND
        self._channel(asked, needed | (ATTACH if asked.uploads else 0))
        if channel.kind == DM and channel.recipients[0].dms_closed:
            raise Refusal(*CANNOT_MESSAGE_USER)
        flags = int(asked.body.get("flags") or 0) & (V2 | 1 << 2 | 1 << 12)
        world = self._core.world
        message = self._core.messages_.create(
            channel, world.bot, asked.body, asked.uploads, world.limit_in(channel), flags=flags
        )
        return self._shown(message)

    def _edit(self, asked: Asked) -> JSON:
        message = self._message(asked, ATTACH if asked.uploads else 0)
        if message.author is not self._core.world.bot:
            raise Refusal(*OTHERS_MESSAGE)
        if message.channel.archived:
            raise Refusal(*ARCHIVED)
        self._core.messages_.edit(message, asked.body, asked.uploads, self._core.world.limit_in(message.channel))
        return self._shown(message)

    def _delete(self, asked: Asked) -> None:
        message = self._message(asked)
        if message.author is not self._core.world.bot and (
            message.channel.kind == DM or not message.channel.allow & MANAGE_MESSAGES
        ):
            raise Refusal(*MISSING_PERMISSIONS)
        self._core.messages_.delete(message)

    def _refresh(self, asked: Asked) -> JSON:
        urls = asked.body.get("attachment_urls", [])
        if not 1 <= len(urls) <= 50:
            raise Refusal(400, 50035, "Invalid Form Body")
        return {"refreshed_urls": [{"original": url, "refreshed": self._core.files.refresh(url)} for url in urls]}

    # Interactions

    def _respond(self, asked: Asked) -> Any:
        answer = self._interactions.respond(int(asked.given["id"]), asked.given["token"], asked.body, asked.uploads)
        return answer if asked.query.get("with_response") in ("1", "true") else None

    def _follow_up(self, asked: Asked) -> JSON:
        return self._shown(self._interactions.follow_up(asked.given["token"], asked.body, asked.uploads))

    def _edit_by_token(self, asked: Asked) -> JSON:
        return self._shown(
            self._interactions.edit(asked.given["token"], asked.given["message"], asked.body, asked.uploads)
        )

    def _delete_by_token(self, asked: Asked) -> None:
        self._interactions.delete(asked.given["token"], asked.given["message"])


def _json(data: Any, status: int = 200, headers: Any = None) -> web.Response:
    # discord.py reads JSON only from exactly this type, as Discord sends it: without a character set.
    body = json.dumps(data).encode()
    return web.Response(body=body, status=status, headers={**(headers or {}), "Content-Type": "application/json"})


async def _read(request: web.Request) -> tuple[Any, Uploads]:
    """The JSON and the files of a request."""
    if not request.content_type.startswith("multipart/"):
        text = await request.text()
        return (json.loads(text) if text else {}), {}
    form = await request.post()
    uploads: Uploads = {}
    body: Any = {}
    for name, value in form.items():
        if name == "payload_json":
            body = json.loads(value.file.read() if isinstance(value, web.FileField) else value)
        elif (found := _FILE.fullmatch(name)) and isinstance(value, web.FileField):
            uploads[int(found[1])] = (value.filename, value.file.read())
    return body, uploads
