"""Fetch Discord attachments: rewrite links to the host that keeps metadata, and renew expired ones."""

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
"""Environment variable for the token of a bot, which can renew links."""

_PATH = re.compile(r"/(?:ephemeral-)?attachments/[0-9]{1,20}/[0-9]{1,20}/([^/]{1,1000})", re.ASCII)
_EXPIRES = re.compile(r"[0-9a-fA-F]{1,12}", re.ASCII)
_REFRESH = "/api/v10/attachments/refresh-urls"
_MAX_ANSWER = 1 << 20


@dataclass(frozen=True)
class Attachment:
    """An attachment on the host that serves files unmodified."""

    path: str
    """``/attachments/<channel>/<attachment>/<file name>``, as in the link."""
    signature: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """``ex`` (expiry), ``is`` (time of issue) and ``hm`` (HMAC), as far as the link has them."""

    @property
    def name(self) -> str:
        """The file name; untrusted input."""
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
        """True if the link has a complete signature. Discord answers 404 without one."""
        return {"ex", "is", "hm"} <= dict(self.signature).keys()

    @property
    def expires(self) -> int | None:
        """Expiry in Unix seconds; None if the link has none."""
        given = dict(self.signature).get("ex", "")
        return int(given, 16) if _EXPIRES.fullmatch(given) else None

    def expired(self, now: float | None = None) -> bool:
        """True if the link has expired. now: Unix seconds; None: this machine's clock."""
        return self.expires is not None and self.expires <= (time.time() if now is None else now)


def fetch(parts: SplitResult, token: str | None = None, policy: FetchPolicy | None = None) -> tuple[bytes, str]:
    """Download an attachment; returns the bytes and the file's name.

    token: of a bot, to renew an expired link; None: the one from the environment. Raises SourceError.
    """
    found = with_valid_link(parse_attachment(parts), token or environment_token(), policy)
    answer = http_get(CDN, found.target, MAX_BYTES, policy)
    if answer.status != 200:
        raise _refusal(answer.status, found)
    return answer.body, found.name


def parse_attachment(parts: SplitResult) -> Attachment:
    """Parse the link of an attachment.

    media.discordapp.net re-encodes images, so parameters for another format, size or quality are dropped. The
    signature is kept; it is valid on both hosts. Raises SourceError for any other link.
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


def with_valid_link(found: Attachment, token: str | None = None, policy: FetchPolicy | None = None) -> Attachment:
    """Return the attachment with a link that has not expired, as far as the link itself tells.

    An expired or unsigned link is renewed if there is a token. Raises SourceError with what to do.
    """
    expired = found.expired()
    if (expired or not found.signed) and token:
        return refresh(found, token, policy)
    if expired:
        ended = datetime.fromtimestamp(found.expires or 0, timezone.utc)
        raise SourceError(
            f"This Discord link has expired ({ended:%Y-%m-%d %H:%M} UTC). Copy the image's link again in Discord (new "
            f"links work for a day), or set {TOKEN} to the token of a bot, which can renew it."
        )
    return found


def refresh(found: Attachment, token: str, policy: FetchPolicy | None = None) -> Attachment:
    """Return the attachment with a fresh signature from Discord's API.

    token: of a bot. Raises SourceError if Discord refuses; no message contains the token.
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
    fresh = _parse_renewed(answer.body, found) if answer.status == 200 else None
    if fresh is None:
        raise SourceError(
            f"Discord did not renew the expired link (it answered {answer.status}). Copy the image's link again."
        )
    return fresh


def _parse_renewed(body: bytes, found: Attachment) -> Attachment | None:
    """Parse the renewed link from the API's answer; None unless it is a valid link of the same attachment."""
    try:
        given = json.loads(body)["refreshed_urls"][0]["refreshed"]
        fresh = parse_attachment(split_url(given))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, SourceError):
        return None
    if unquote(fresh.path) != unquote(found.path) or not fresh.signed or fresh.expired():
        return None
    return replace(found, signature=fresh.signature)


def _refusal(status: int, found: Attachment) -> SourceError:
    """Return the error for a status other than 200, with what to do."""
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
    """Return the bot's token from the environment, if it is set."""
    return os.environ.get(TOKEN, "").strip() or None
