"""Which picture is meant: an attachment, a link, the images of a message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import discord

from .values import SourceRef

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff")


def source_of_attachment(attachment: discord.Attachment, message: int | None = None) -> SourceRef:
    """Return an attachment as a source: by its own link, which keeps the metadata."""
    return SourceRef(attachment.url, attachment.filename, attachment.id, message, spoiler=attachment.is_spoiler())


def source_of_url(url: str) -> SourceRef:
    """Return a link as a source."""
    text = url.strip().removeprefix("<").removesuffix(">")
    try:
        parts = urlsplit(text)
        name = unquote(PurePosixPath(parts.path).name)
        pieces = parts.path.split("/")
        number = pieces[3] if len(pieces) > 4 and pieces[1].endswith("attachments") else ""
    except ValueError:
        name, number = "", ""
    return SourceRef(text, name[:200] or "image.png", int(number) if number.isdecimal() and len(number) <= 20 else None)


def sources_of_message(message: discord.Message) -> list[SourceRef]:
    """Return the images of a message: its attachments, those of a forwarded one, links that embeds and galleries show."""
    found: list[SourceRef] = []
    attachments: list[discord.Attachment] = list(message.attachments)
    for snapshot in getattr(message, "message_snapshots", ()):
        attachments += snapshot.attachments
    for attachment in attachments:
        kind = (attachment.content_type or "").split("/")[0]
        if kind == "image" or attachment.filename.lower().endswith(IMAGES):
            found.append(source_of_attachment(attachment, message.id))
    urls = [url for embed in message.embeds for url in (embed.image.url, embed.thumbnail.url) if url]
    urls += _gallery(message.components)
    known = {_key(source.url) for source in found}
    for url in urls:
        if _key(url) not in known:
            known.add(_key(url))
            found.append(source_of_url(url))
    return found


def _gallery(components: Sequence[Any]) -> list[str]:
    urls: list[str] = []
    for component in components:
        if isinstance(component, discord.components.MediaGalleryComponent):
            urls += [item.media.url for item in component.items if item.media.url]
        urls += _gallery(getattr(component, "children", ()) or ())
    return urls


def _key(url: str) -> str:
    """Return what tells one picture from another, whichever host shows it."""
    return urlsplit(url).path
