"""The door of a managed server: only who has its token gets in, and only under a name of this machine.

ComfyUI trusts whoever reaches its port. On loopback that is every user of the machine, and every page in a browser whose
host name is made to lead here (DNS rebinding). Standard library and aiohttp only: it runs in ComfyUI's process.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import html
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

TOKEN_PARAMETER = "token"
"""In the query of the link that opens the editor."""
HOSTS = frozenset(["127.0.0.1", "localhost", "::1"])
"""Names under which a managed server may be asked for; it listens on loopback only."""

_NO_HOST = "This ComfyUI belongs to Distillery Upscale and is reached as 127.0.0.1 or localhost only.\n"
_NO_TOKEN = (
    "This ComfyUI belongs to Distillery Upscale, which alone may use it. To open its editor: ./distillery server open. "
    "A program sends the header Authorization: Bearer TOKEN; the token is in the link that ./distillery server start prints.\n"
)


_OPENING = '<!doctype html><meta http-equiv="refresh" content="0;url={}"><title>Distillery Upscale</title>'


def cookie_name(port: int | str) -> str:
    """Name of the cookie; browsers give a cookie to all ports of a host, so that each port needs a name of its own."""
    return f"distillery_{port}"


def host_allowed(headers: Mapping[str, str]) -> bool:
    """Return True if Host, and Origin where there is one, name loopback."""
    if not _is_loopback(f"//{headers.get('Host', '')}"):
        return False
    origin = headers.get("Origin")
    return origin is None or _is_loopback(origin)


def _is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in HOSTS
    except ValueError:
        return False


def token_in(authorization: str | None, cookie: str | None) -> list[str]:
    """Return the tokens that a request brings: of a Bearer or a Basic header (there the password), and of the cookie."""
    found = [cookie] if cookie else []
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(value.strip())
    elif scheme.lower() == "basic":
        try:
            found.append(base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2])
        except (binascii.Error, ValueError):
            pass
    return found


def matches(given: list[str], token: str) -> bool:
    """Compare in a time that does not tell how much of it is right."""
    return any(hmac.compare_digest(one.encode("utf-8", "replace"), token.encode()) for one in given)


def without_token(path_and_query: str) -> tuple[str, str | None]:
    """Split the token off a path with its query: the rest, and the token or None."""
    path, _, query = path_and_query.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    token = next((value for name, value in pairs if name == TOKEN_PARAMETER), None)
    rest = urlencode([(name, value) for name, value in pairs if name != TOKEN_PARAMETER])
    # Two slashes would lead a browser to another host.
    return f"/{path.lstrip('/')}{'?' if rest else ''}{rest}", token


Handler = Callable[[Any], Awaitable[Any]]


def middleware(token: str, port: str) -> Any:
    """Return the aiohttp middleware that asks for the token."""
    from aiohttp import web

    name = cookie_name(port)

    @web.middleware
    async def guard(request: Any, handler: Handler) -> Any:
        if not host_allowed(request.headers):
            return web.Response(status=403, text=_NO_HOST)
        given = token_in(request.headers.get("Authorization"), request.cookies.get(name))
        if matches(given, token):
            return await handler(request)
        if request.method == "GET":
            there, linked = without_token(request.path_qs)
            if linked is not None and matches([linked], token):
                # Out of the address bar, and so out of the history and of Referer headers. A page and no redirect: after one, a
                # browser still holds the request to be another site's, and keeps the cookie back.
                answer = web.Response(text=_OPENING.format(html.escape(there)), content_type="text/html")
                answer.headers["Cache-Control"] = "no-store"
                answer.set_cookie(name, token, httponly=True, samesite="Strict", path="/")
                return answer
        return web.Response(status=401, text=_NO_TOKEN, headers={"WWW-Authenticate": 'Bearer realm="distillery"'})

    return guard


def install(token: str, port: str) -> None:
    """Have every web application that this process serves ask for the token first.

    Set where an application gets its runner: ComfyUI makes that just before it listens, so that nothing answers unguarded.
    """
    from aiohttp import web

    original = web.AppRunner.__init__

    def guarded(self: Any, app: Any, *arguments: Any, **options: Any) -> None:
        app.middlewares.insert(0, middleware(token, port))
        original(self, app, *arguments, **options)

    web.AppRunner.__init__ = guarded  # type: ignore[method-assign]
