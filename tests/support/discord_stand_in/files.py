"""The CDN: files, their signed links, and what Discord does to an upload."""

from __future__ import annotations

import hashlib
import hmac
import io
import mimetypes
import re
import time
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

from .world import APPLICATION, Attachment, Channel, World

CDN, MEDIA = "https://cdn.discordapp.com", "https://media.discordapp.net"
_SECRET = b"the stand-in's own"
_PATH = re.compile(r"/(?:ephemeral-)?attachments/[0-9]+/([0-9]+)/[^/]+")


class Files:
    def __init__(self, world: World) -> None:
        self._world = world
        self.link_life = 86_400.0
        """Seconds that a link is valid."""
        self.slow = 0.0
        """Seconds before the CDN answers."""

    def store(
        self, data: bytes, filename: str, channel: Channel | None, ephemeral: bool = False,
        description: str | None = None,
    ) -> Attachment:  # fmt: skip
        """Keep a file. Its name loses what Discord does not keep in names."""
        name = safe_name(filename)
        width, height = _size(data)
        folder = f"ephemeral-attachments/{APPLICATION}" if ephemeral or not channel else f"attachments/{channel.id}"
        kept = Attachment(
            self._world.ids.make(), folder, name, data, len(data),
            mimetypes.guess_type(name)[0] or "application/octet-stream", width, height, description,
            None if name == filename else PurePosixPath(filename).stem, ephemeral,
        )  # fmt: skip
        kept.url = self.link(kept)
        self._world.attachments[kept.id] = kept
        return kept

    def link(self, attachment: Attachment, issued: float | None = None, host: str = CDN) -> str:
        """Make a link that is valid from a time on (None: now)."""
        begin = int(time.time() if issued is None else issued)
        start, end = f"{begin:x}", f"{int(begin + self.link_life):x}"
        signature = _sign(attachment.path, end, start)
        return f"{host}{attachment.path}?ex={end}&is={start}&hm={signature}&"

    def payload(self, attachment: Attachment) -> dict[str, Any]:
        """The attachment object, with links that are valid now."""
        data: dict[str, Any] = {
            "id": str(attachment.id), "filename": attachment.filename, "size": attachment.size,
            "url": self.link(attachment), "proxy_url": self.link(attachment, host=MEDIA),
            "content_type": attachment.content_type, "content_scan_version": 0,
        }  # fmt: skip
        if attachment.width:
            data |= {"width": attachment.width, "height": attachment.height, "placeholder_version": 1}
        for name in ("description", "title"):
            if getattr(attachment, name):
                data[name] = getattr(attachment, name)
        return data | ({"ephemeral": True} if attachment.ephemeral else {})

    def fetch(self, path: str, query: str) -> bytes | None:
        """The bytes behind a link; None (404) if it is expired, badly signed, or of a file that is gone."""
        given = {name: values[0] for name, values in parse_qs(query).items()}
        end, start, signature = (given.get(name, "") for name in ("ex", "is", "hm"))
        attachment = self.find(path)
        if attachment is None or attachment.deleted or attachment.path != path:
            return None
        if not hmac.compare_digest(signature, _sign(path, end, start)) or int(end, 16) <= time.time():
            return None
        return attachment.data

    def find(self, path: str) -> Attachment | None:
        """The attachment that a path names."""
        found = _PATH.fullmatch(path)
        return self._world.attachments.get(int(found[1])) if found else None

    def refresh(self, url: str) -> str | None:
        """Renew a link. None for one that is not of a file here."""
        attachment = self.find(urlsplit(url).path)
        if attachment is None or attachment.deleted or urlsplit(url).netloc not in (CDN[8:], MEDIA[8:]):
            return None
        return self.link(attachment)

    def with_links(self, components: list[dict[str, Any]], attachments: list[Attachment]) -> list[dict[str, Any]]:
        """Components with links where they name files of the message."""
        by_id = {attachment.id: attachment for attachment in attachments}

        def walk(node: Any) -> Any:
            if isinstance(node, list):
                return [walk(each) for each in node]
            if not isinstance(node, dict):
                return node
            copy = {name: walk(value) for name, value in node.items()}
            attachment = by_id.get(int(copy.get("attachment_id") or 0))
            if attachment and "url" in copy:
                payload = self.payload(attachment)
                copy |= {name: payload[name] for name in ("url", "proxy_url", "width", "height") if name in payload}
            return copy

        result: list[dict[str, Any]] = walk(components)
        return result


def safe_name(filename: str) -> str:
    """The name under which Discord keeps a file."""
    return re.sub(r"[^A-Za-z0-9_.\-]", "", re.sub(r"\s+", "_", filename)) or "unknown"


def without_metadata(data: bytes) -> bytes:
    """The file as an upload that loses its metadata leaves it: the same pixels."""
    if data.startswith(b"\x89PNG"):
        out, at = data[:8], 8
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big") + 12
            if data[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"):
                out += data[at : at + size]
            at += size
        return out
    if data.startswith(b"\xff\xd8"):
        out, at = data[:2], 2
        while at + 4 <= len(data) and data[at + 1] != 0xDA:
            size = int.from_bytes(data[at + 2 : at + 4], "big") + 2
            if data[at + 1] not in (*range(0xE1, 0xEE), 0xFE):
                out += data[at : at + size]
            at += size
        return out + data[at:]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        out, at = b"WEBP", 12
        while at < len(data):
            size = int.from_bytes(data[at + 4 : at + 8], "little") + 8
            size += size & 1
            if data[at : at + 4] not in (b"EXIF", b"XMP "):
                out += data[at : at + size]
            at += size
        if out[4:8] == b"VP8X":
            out = out[:12] + bytes([out[12] & ~0x0C]) + out[13:]  # the flags that say there is EXIF and XMP
        return b"RIFF" + len(out).to_bytes(4, "little") + out
    return data


def _sign(path: str, end: str, start: str) -> str:
    return hmac.new(_SECRET, f"{path}|{end}|{start}".encode(), hashlib.sha256).hexdigest()


def _size(data: bytes) -> tuple[int | None, int | None]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.width, image.height
    except Exception:  # no image, or none that Pillow reads
        return None, None
