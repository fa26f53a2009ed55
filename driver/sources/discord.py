"""Links of Discord's attachments: brought to the form that keeps the metadata, and renewed where they have expired."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode

from ..errors import SourceError
from .fetch import MAX_BYTES, FetchPolicy, http_get, http_post, public_url, split_url

CDN, MEDIA, API = "cdn.discordapp.com", "media.discordapp.net", "discord.com"
HOSTS = (CDN, MEDIA)
TOKEN = "DISTILLERY_DISCORD_TOKEN"
"""Environment variable with the token of a bot, which may renew links."""

_PATH = re.compile(r"/(?:ephemeral-)?attachments/[0-9]{1,20}/[0-9]{1,20}/([^/]{1,1000})", re.ASCII)
_EXPIRES = re.compile(r"[0-9a-fA-F]{1,12}", re.ASCII)
_REFRESH = "/api/v10/attachments/refresh-urls"
_MAX_ANSWER = 1 << 20


@dataclass(frozen=True)
class Attachment:
    """Where an attachment lies on the host that keeps files as they were uploaded."""

    path: str
    """``/attachments/<channel>/<attachment>/<file name>``, as in the link."""
    signature: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """``ex`` (when it ends), ``is`` (when it was issued) and ``hm``, as far as the link has them."""

    @property
    def name(self) -> str:
        """The file's name, as its uploader chose it."""
        return unquote(self.path.rpartition("/")[2])

    @property
    def target(self) -> str:
        """Path and query of the request."""
        return f"{self.path}?{urlencode(self.signature)}" if self.signature else self.path

    @property
    def url(self) -> str:
        """The link, with its signature."""
        return f"https://{CDN}{self.target}"

    @property
    def signed(self) -> bool:
        """Whether the link has all of its signature; without it Discord answers 404."""
        return {"ex", "is", "hm"} <= dict(self.signature).keys()

    @property
    def expires(self) -> int | None:
        """When the link ends, in Unix seconds; None where it does not say."""
        given = dict(self.signature).get("ex", "")
        return int(given, 16) if _EXPIRES.fullmatch(given) else None

    def expired(self, now: float | None = None) -> bool:
        """Whether the link says that it has ended. now: Unix seconds; None: by this machine's clock."""
        return self.expires is not None and self.expires <= (time.time() if now is None else now)


def fetch(parts: SplitResult, token: str | None = None, policy: FetchPolicy | None = None) -> tuple[bytes, str]:
    """Download an attachment; returns the bytes and the file's name.

    token: of a bot, to renew a link that has expired; None: the one in the environment. Raises SourceError.
    """
    found = usable(attachment(parts), token or environment_token(), policy)
    answer = http_get(CDN, found.target, MAX_BYTES, policy)
    if answer.status != 200:
        raise _refusal(answer.status, found)
    return answer.body, found.name


def attachment(parts: SplitResult) -> Attachment:
    """The attachment that a link leads to, from the parts of the link.

    media.discordapp.net re-encodes images, so whatever asks for another format, size or quality is dropped, and the
    signature, which both hosts take, is kept. Raises SourceError for a link of another kind.
    """
    match = _PATH.fullmatch(parts.path)
    name = unquote(match[1]) if match else ""
    if parts.hostname not in HOSTS or not match or name in (".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name):
        raise SourceError(
            f"{public_url(parts.geturl())} is not the link of an attachment. Use Copy Link on the image itself."
        )
    given: dict[str, str] = {}
    for key, value in parse_qsl(parts.query):
        given.setdefault(key, value)
    return Attachment(parts.path, tuple((key, given[key]) for key in ("ex", "is", "hm") if key in given))


def usable(found: Attachment, token: str | None = None, policy: FetchPolicy | None = None) -> Attachment:
    """The attachment with a link that still works, as far as the link itself tells.

    One that has expired or has no signature is renewed where there is a token. Raises SourceError with what to do.
    """
    expired = found.expired()
    if (expired or not found.signed) and token:
        return refreshed(found, token, policy)
    if expired:
        ended = datetime.fromtimestamp(found.expires or 0, timezone.utc)
        raise SourceError(
            f"This Discord link has expired ({ended:%Y-%m-%d %H:%M} UTC). Copy the image's link again in Discord (new "
            f"links work for a day), or set {TOKEN} to the token of a bot, which can renew it."
        )
    return found


def refreshed(found: Attachment, token: str, policy: FetchPolicy | None = None) -> Attachment:
    """The same attachment with a fresh signature, from Discord's API.

    token: of a bot. Raises SourceError where Discord does not give one; the token is in no message.
    """
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise SourceError(f"What {TOKEN} holds is not the token of a bot: tokens have no spaces and no other letters.")
    body = json.dumps({"attachment_urls": [found.url]}).encode()
    headers = {"Authorization": f"Bot {token}", "Content-Type": "application/json"}
    answer = http_post(API, _REFRESH, _MAX_ANSWER, headers, body, policy)
    if answer.status in (401, 403):
        raise SourceError(f"Discord does not take the bot's token in {TOKEN} ({answer.status}). Set it anew.")
    if answer.status == 429:
        wait = answer.headers.get("retry-after", "")
        after = f" in {wait} s" if re.fullmatch(r"[0-9.]{1,8}", wait) else " later"
        raise SourceError(f"Discord asks to renew fewer links. Try again{after}.")
    fresh = _fresh(answer.body, found) if answer.status == 200 else None
    if fresh is None:
        raise SourceError(
            f"Discord did not renew the expired link (it answered {answer.status}). Copy the image's link again."
        )
    return fresh


def _fresh(body: bytes, found: Attachment) -> Attachment | None:
    """The renewed link out of the API's answer, where it is one of the very same attachment."""
    try:
        given = json.loads(body)["refreshed_urls"][0]["refreshed"]
        fresh = attachment(split_url(given))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, SourceError):
        return None
    if unquote(fresh.path) != unquote(found.path) or not fresh.signed or fresh.expired():
        return None
    return replace(found, signature=fresh.signature)


def _refusal(status: int, found: Attachment) -> SourceError:
    """What to do about an answer other than 200."""
    if status in (403, 404, 410):
        why = (
            "the link has expired or the image was deleted"
            if found.signed
            else "the link lacks the signature (?ex=…&is=…&hm=…) without which Discord gives nothing"
        )
        return SourceError(f"Discord answered {status}: {why}. Copy the image's link again.")
    if status == 429 or status >= 500:
        return SourceError(f"Discord answered {status}: it is busy or out of order. Try again later.")
    return SourceError(f"Discord answered {status} and not with an image. Copy the image's link again.")


def environment_token() -> str | None:
    """The bot's token, where the environment has one."""
    return os.environ.get(TOKEN, "").strip() or None
