"""Images to upscale: files, and attachment URLs of Discord. URLs of strangers are fetched with care."""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

import certifi
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
    text = str(source).strip().strip("<>") if isinstance(source, str) else str(source)
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


def is_public(address: str) -> bool:
    """Whether an IP address is on the open internet, wherever it is embedded in another one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None and not is_public(str(inner)):
            return False
    return ip.is_global and not ip.is_multicast


@dataclass(frozen=True)
class Network:
    """What a fetch runs under. Tests exchange these rules, never the code that fetches."""

    resolve: Resolve | None = None
    permitted: Callable[[str], bool] = is_public
    port: int = 443
    context: ssl.SSLContext | None = None
    deadline: float = DEADLINE


def fetch(url: str, resolve: Resolve | None = None, network: Network | None = None) -> tuple[bytes, str]:
    """Download an attachment; returns its bytes and its file name.

    The name is resolved once, only a global address is taken, and the connection is made to that very address, so
    that no second look-up can point it elsewhere. No redirects, no proxy, no decompression, a cap on the bytes and
    one deadline over all of it, however slowly the bytes trickle.
    """
    network = network or Network()
    parts = discord_url(url)
    host = parts.hostname or ""
    address = global_address(host, resolve or network.resolve or _resolve, network.permitted)
    connection = _Pinned(host, address, network.port, network.context or _tls())
    late = threading.Event()

    def expire() -> None:
        late.set()
        connection.abort()

    # A socket's own time-out starts anew with each byte.
    timer = threading.Timer(network.deadline, expire)
    timer.daemon = True
    timer.start()
    try:
        path = quote(parts.path, safe="/%!$&'()*+,;=:@~")
        connection.request(
            "GET", f"{path}?{parts.query}" if parts.query else path,
            headers={"Accept-Encoding": "identity", "User-Agent": "distillery-upscale"},
        )  # fmt: skip
        data, expected = _read(connection.getresponse())
        if late.is_set():
            raise TimeoutError
        if expected is not None and len(data) < expected:
            raise SourceError(f"The download broke off after {len(data)} of {expected} bytes. Try again.")
        return data, unquote(PurePosixPath(parts.path).name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if late.is_set():
            raise SourceError(f"The download took longer than {network.deadline:g} s. Try again.") from None
        raise SourceError(f"{_shown(url)} could not be fetched ({type(error).__name__}). Try again.") from error
    finally:
        timer.cancel()
        connection.close()


class _Pinned(http.client.HTTPSConnection):
    """Connects to one address, and has the certificate checked for the name."""

    def __init__(self, host: str, address: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=15, context=context)
        self._address, self._tls = address, context
        self._plain: socket.socket | None = None

    def connect(self) -> None:
        self._plain = socket.create_connection((self._address, self.port), self.timeout)
        # Shaking hands after the assignment, so that abort() reaches it.
        self.sock = self._tls.wrap_socket(self._plain, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.do_handshake()

    def abort(self) -> None:
        """Wake up whoever waits for this connection, from another thread."""
        for waited_for in (self.sock, self._plain):
            if waited_for is not None:
                with contextlib.suppress(OSError):
                    waited_for.shutdown(socket.SHUT_RDWR)


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # Python on macOS comes without the system's
    return context


def _read(response: http.client.HTTPResponse) -> tuple[bytes, int | None]:
    """The body, and how long it should be where the server says so."""
    if response.status in (403, 404, 410):
        raise SourceError(
            f"Discord answered {response.status}: the link has expired or the image was deleted. Copy the link again."
        )
    if response.status != 200:
        raise SourceError(f"Discord answered {response.status} and not with an image. Copy the image's link again.")
    data = bytearray()
    while block := response.read1(1 << 16):
        data += block
        if len(data) > MAX_BYTES:
            raise SourceError(f"The image has more than {MAX_BYTES >> 20} MiB, which is the most that is taken.")
    length = response.getheader("Content-Length", "")
    return bytes(data), int(length) if length.isdigit() else None


def global_address(host: str, resolve: Resolve, permitted: Callable[[str], bool] = is_public) -> str:
    """The address to connect to: all that the name resolves to must be on the open internet."""
    try:
        addresses = list(resolve(host))
    except OSError as error:
        raise SourceError(f"{host} cannot be found: there is no network, or no name service.") from error
    if not addresses or not all(permitted(address) for address in addresses):
        raise SourceError(f"{host} does not lead to the open internet from here, so nothing is fetched from it.")
    return addresses[0]


def _resolve(host: str) -> list[str]:
    found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _shown(url: str) -> str:
    """A URL for messages and logs: without its query, which carries signatures."""
    return url.split("?")[0][:200]
