"""Images to upscale: files, and attachment URLs of Discord. URLs of strangers are fetched with care."""

from __future__ import annotations

import io
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import certifi
import urllib3
from PIL import Image, UnidentifiedImageError

from .errors import SourceError

HOSTS = ("cdn.discordapp.com", "media.discordapp.net")
_PATHS = ("/attachments/", "/ephemeral-attachments/")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
"""Of the source; the result has four times as many."""
DEADLINE = 60.0
"""Seconds for a whole download."""
_FORMATS = {
    "PNG": "png",
    "JPEG": "jpg",
    "MPO": "jpg",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
    "AVIF": "avif",
}

Resolve = Callable[[str], Sequence[str]]
"""Host name to IP addresses."""


@dataclass(frozen=True)
class SourceImage:
    """An image file as it came, checked to be one."""

    data: bytes
    stem: str
    """For the result's name."""
    extension: str
    width: int
    height: int


def load(source: str | Path) -> SourceImage:
    """Read a file or fetch a Discord attachment. Raises SourceError with what to do."""
    text = str(source)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", text):
        data, name = fetch(text)
        return checked(data, PurePosixPath(name).stem or "image", name)
    path = Path(source).expanduser()
    if path.is_dir():
        raise SourceError(f"{path} is a folder; give image files.")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SourceError(f"{path} has {size / 2**20:.0f} MiB; at most {MAX_BYTES >> 20} MiB are taken.")
        data = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"There is no file {path}.") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from error
    return checked(data, path.stem, path.name)


def checked(data: bytes, stem: str, name: str) -> SourceImage:
    """Check that bytes are an image of a size that can be upscaled, without decoding its pixels."""
    if not data:
        raise SourceError(f"{name} is empty.")
    if data.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise SourceError(f"{name} is a web page and not an image. Copy the address of the image itself.")
    try:
        with Image.open(io.BytesIO(data)) as image:
            extension = _FORMATS.get(image.format or "")
            width, height = image.size
            found = image.format
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, Image.DecompressionBombError):
            raise SourceError(f"{name} has too many pixels; at most {MAX_PIXELS:,} are taken.") from None
        raise SourceError(f"{name} is not an image that can be read. Give a PNG, JPEG or WebP file.") from None
    if extension is None:
        raise SourceError(f"{name} is a {found} file. Give a PNG, JPEG or WebP file.")
    if width * height > MAX_PIXELS:
        raise SourceError(f"{name} has {width}x{height} pixels; at most {MAX_PIXELS:,} are taken.")
    return SourceImage(data, stem, extension, width, height)


def discord_url(url: str, now: float | None = None) -> SplitResult:
    """Check an attachment URL and bring it to the form that keeps the metadata.

    media.discordapp.net re-encodes images, so its URLs are turned into the cdn's, with the signature and without
    what asks for another size or format. Raises SourceError for another host and for an expired link.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise SourceError(f"{_shown(url)} is not a URL.") from None
    host = (parts.hostname or "").lower()
    if host not in HOSTS:
        raise SourceError(
            f"{_shown(url)} is not fetched: only attachments of Discord are ({' and '.join(HOSTS)}). Download the "
            "image and give the file."
        )
    if parts.scheme.lower() != "https" or port not in (None, 443) or parts.username or parts.password:
        raise SourceError(f"{_shown(url)} is not fetched: only plain https links are.")
    if not parts.path.startswith(_PATHS) or ".." in unquote(parts.path):
        raise SourceError(f"{_shown(url)} is not the link of an attachment. Use Copy Link on the image itself.")
    query = [(k, v) for k, v in parse_qsl(parts.query) if k in ("ex", "is", "hm")]
    expires = dict(query).get("ex", "")
    if re.fullmatch(r"[0-9a-fA-F]{1,12}", expires) and int(expires, 16) < (time.time() if now is None else now):
        raise SourceError(
            "This Discord link has expired. Copy the image's link again in Discord; new links work for a day."
        )
    return SplitResult("https", HOSTS[0], parts.path, urlencode(query), "")


def fetch(url: str, resolve: Resolve | None = None) -> tuple[bytes, str]:
    """Download an attachment; returns its bytes and its file name.

    The name is resolved once, only a global address is taken, and the connection is made to that very address, so
    that no second look-up can point it elsewhere. No redirects, no proxy, no decompression, a cap on the bytes and
    one deadline over all of it.
    """
    parts = discord_url(url)
    host = parts.hostname or ""
    address = global_address(host, resolve or _resolve)
    started = time.monotonic()
    pool = urllib3.HTTPSConnectionPool(
        address, 443, server_hostname=host, assert_hostname=host, cert_reqs="CERT_REQUIRED", ca_certs=certifi.where(),
        retries=False, timeout=urllib3.Timeout(connect=10, read=15), maxsize=1,
    )  # fmt: skip
    headers = {"Host": host, "Accept-Encoding": "identity", "User-Agent": "distillery-upscale"}
    try:
        response = pool.request(
            "GET",
            f"{parts.path}?{parts.query}",
            headers=headers,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        with response:
            return _read(response, started), unquote(PurePosixPath(parts.path).name)
    except urllib3.exceptions.HTTPError as error:
        raise SourceError(f"{_shown(url)} could not be fetched ({type(error).__name__}). Try again.") from error
    finally:
        pool.close()


def _read(response: urllib3.BaseHTTPResponse, started: float) -> bytes:
    if response.status in (403, 404, 410):
        raise SourceError(
            f"Discord answered {response.status}: the link has expired or the image was deleted. Copy the link again."
        )
    if response.status != 200:
        raise SourceError(f"Discord answered {response.status} and not with an image. Copy the image's link again.")
    data = bytearray()
    for block in response.stream(1 << 16, decode_content=False):
        data += block
        if len(data) > MAX_BYTES:
            raise SourceError(f"The image has more than {MAX_BYTES >> 20} MiB, which is the most that is taken.")
        if time.monotonic() - started > DEADLINE:
            raise SourceError(f"The download took longer than {DEADLINE:.0f} s. Try again.")
    return bytes(data)


def global_address(host: str, resolve: Resolve) -> str:
    """The address to connect to: all that the name resolves to must be on the open internet."""
    try:
        addresses = list(resolve(host))
    except OSError as error:
        raise SourceError(f"{host} cannot be found: there is no network, or no name service.") from error
    if not addresses or not all(ipaddress.ip_address(a).is_global for a in addresses):
        raise SourceError(f"{host} does not lead to the open internet from here, so nothing is fetched from it.")
    return addresses[0]


def _resolve(host: str) -> list[str]:
    found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _shown(url: str) -> str:
    """A URL for messages and logs: without its query, which carries signatures."""
    return url.split("?")[0][:200]
