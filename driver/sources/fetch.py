"""One https request to one host, which nothing that a stranger controls can lead elsewhere.

The name is resolved once, and every address that it has must be on the open internet; the connection is made to that
very address, with the name in TLS, in the certificate and in ``Host``, so that no second look-up can point it inside.
No redirects, no proxy, no decompression, a cap on the bytes, one deadline over all of it.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, urlsplit

import certifi
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from ..errors import SourceError

DEADLINE = 60.0
"""Seconds for a whole request, from the name to the last byte."""
SILENCE = 15.0
"""Seconds to connect, and between two bytes."""
MAX_URL = 4096
MAX_BYTES = 64 * 2**20
"""Largest image file that is taken."""
USER_AGENT = "DiscordBot (https://github.com/distillery-upscale/distillery-upscale, 1)"
"""Discord's API asks for this form; others take it as well as any."""

_BLOCK = 1 << 16
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII
)
_SAFE_IN_PATH = "/%!$&'()*+,;=:@~"

# Addresses with another one inside, which decides where they lead. No name server gives them for a host that is
# on the open internet, and older Pythons take some of them for global.
_TRANSLATED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64 of a local network
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "192.88.99.0/24",  # relays of 6to4
        "fec0::/10",  # site-local
    )
)

Resolve = Callable[[str], Sequence[str]]
"""Host name to IP addresses. Raises OSError."""


def is_public(address: str) -> bool:
    """Whether an IP address is a plain one on the open internet; one with a zone or with another in it is not."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if getattr(ip, "scope_id", None) or any(ip in network for network in _TRANSLATED if network.version == ip.version):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def system_resolve(host: str) -> list[str]:
    """All addresses of a host, as the system's resolver gives them."""
    found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class FetchPolicy:
    """Rules of a request: which addresses are allowed, and for how long. Tests exchange them, never the code that fetches."""

    resolve: Resolve = system_resolve
    permitted: Callable[[str], bool] = is_public
    port: int = 443
    context: ssl.SSLContext | None = None
    """None: the system's certificate authorities and certifi's."""
    deadline: float = DEADLINE


@dataclass(frozen=True)
class Answer:
    """What the host answered, whatever its status."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    """Of an answer with the status 200; others' are not read."""


def split_url(url: str) -> SplitResult:
    """The parts of a URL that may be fetched as far as its form goes: https on port 443, and in its host no user name,
    no percent-encoding and no zone of an IPv6 address.

    Raises SourceError. Whether its host may be asked is the caller's question.
    """
    text = url.strip()
    if len(text) > MAX_URL:
        raise SourceError(
            f"{public_url(text)} is not fetched: a link has at most {MAX_URL} characters, not {len(text)}."
        )
    if _UNSAFE.search(text):
        raise SourceError(
            f"{public_url(text)} is not fetched: it holds a space, a backslash or a control character. Copy the link again."
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise SourceError(f"{public_url(text)} is not a link that can be read. Copy it again.") from None
    if parts.scheme != "https" or port not in (None, 443) or set("@%") & set(parts.netloc) or not parts.hostname:
        raise SourceError(f"{public_url(text)} is not fetched: only plain https links are (https://host/path).")
    return parts


def host_name(text: str) -> str:
    """Check the name of a host that the user allows, such as ``images.example.org``. Raises SourceError."""
    name = text.strip().lower()
    if not _HOST_NAME.fullmatch(name):
        raise SourceError(
            f'"{text[:100]}" is not the name of a host. Give it exactly, without https:// and without a path, such as '
            "images.example.org; addresses in numbers and patterns are not taken."
        )
    return name


def http_get(host: str, target: str, max_bytes: int, policy: FetchPolicy | None = None) -> Answer:
    """Get a file from one host over https, once; redirects are not followed.

    host: a checked name. target: path and query, percent-encoded or not. max_bytes: of the answer's body.
    Raises SourceError where no answer came; its status is the caller's to judge.
    """
    return _exchange("GET", host, target, max_bytes, policy)


def http_post(
    host: str, target: str, max_bytes: int, headers: Mapping[str, str], body: bytes, policy: FetchPolicy | None = None
) -> Answer:
    """Post a body to one host over https, once; as :func:`http_get` in all else."""
    return _exchange("POST", host, target, max_bytes, policy, headers, body)


def _exchange(
    method: str,
    host: str,
    target: str,
    max_bytes: int,
    policy: FetchPolicy | None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    policy = policy or FetchPolicy()
    ends = time.monotonic() + policy.deadline
    address = _address(host, policy, ends)
    connection = HTTPSConnection(
        address,
        policy.port,
        timeout=max(0.05, min(SILENCE, ends - time.monotonic())),
        server_hostname=host,  # what TLS asks for, and what the context has the certificate checked for
        ssl_context=policy.context or _default_context(),
    )
    with contextlib.closing(connection), _Watchdog(ends) as watchdog:
        try:
            connection.connect()
            watchdog.guard(connection.sock)
            connection.request(
                method,
                quote(target, safe=f"{_SAFE_IN_PATH}?"),
                body=body,
                headers={"Host": host, "Accept-Encoding": "identity", "User-Agent": USER_AGENT, **(headers or {})},
                preload_content=False,
                decode_content=False,
            )
            response = connection.getresponse()
            # The body of a refusal is nothing to wait for.
            data = _read(response, max_bytes, host) if response.status == 200 else b""
            answer = Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, data)
        except (OSError, http.client.HTTPException, HTTPError, ValueError) as error:
            if not watchdog.bitten:
                raise SourceError(f"{host} could not be asked: {_reason(error, host)}. Try again.") from error
        if watchdog.bitten:
            raise SourceError(f"{host} took longer than {policy.deadline:g} s. Try again.") from None
    return answer


def global_address(host: str, resolve: Resolve, permitted: Callable[[str], bool] = is_public) -> str:
    """The address to connect to: all that the name resolves to must be on the open internet."""
    try:
        addresses = list(resolve(host))
    except (OSError, UnicodeError) as error:
        raise SourceError(f"{host} cannot be found: there is no network, no name service, or no such host.") from error
    if not addresses or not all(permitted(address) for address in addresses):
        raise SourceError(f"{host} does not lead to the open internet from here, so nothing is fetched from it.")
    return addresses[0]


def public_url(url: str) -> str:
    """A URL for messages and logs: without its query, which carries signatures, and without user and password."""
    text = re.split(r"[?#]", url, maxsplit=1)[0]
    return re.sub(r"//[^/]*@", "//", text)[:200]


def _address(host: str, policy: FetchPolicy, ends: float) -> str:
    """As global_address, but not longer than the deadline: a look-up cannot be interrupted, only left behind."""
    found: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found.put(global_address(host, policy.resolve, policy.permitted))
        except Exception as error:
            found.put(error)

    threading.Thread(target=look_up, daemon=True, name="resolve").start()
    try:
        result = found.get(timeout=max(0.0, ends - time.monotonic()))
    except queue.Empty:
        raise SourceError(f"The look-up of {host} took longer than {policy.deadline:g} s. Try again.") from None
    if isinstance(result, Exception):
        raise result
    return result


class _Watchdog:
    """Cuts a connection at a point in time: a socket's own time-out starts anew with each byte."""

    def __init__(self, ends: float) -> None:
        self._timer = threading.Timer(max(0.0, ends - time.monotonic()), self._bite)
        self._timer.daemon = True
        self._socket: socket.socket | None = None
        self.bitten = False

    def __enter__(self) -> _Watchdog:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def guard(self, guarded: socket.socket | None) -> None:
        """From now on this socket is cut. Kept here, because a connection lets go of it before the body is read."""
        self._socket = guarded
        if self.bitten:
            raise TimeoutError

    def _bite(self) -> None:
        self.bitten = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own, which would have the reader go on without TLS.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _read(response: HTTPResponse, max_bytes: int, host: str) -> bytes:
    """The body, whole; urllib3 raises where it is shorter than announced."""
    too_large = SourceError(f"{host} sends more than {max_bytes / 2**20:.3g} MiB, which is the most that is taken.")
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and len(announced) < 20 and int(announced) > max_bytes:
        raise too_large
    data = bytearray()
    while block := response.read(_BLOCK):
        data += block
        if len(data) > max_bytes:
            raise too_large
    return bytes(data)


def _default_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # Python on macOS comes without the system's
    return context


def _reason(error: Exception, host: str) -> str:
    """What went wrong, in words; never the error's own text, which can hold what was sent."""
    chain: list[BaseException] = [error]
    while len(chain) < 8:
        following = chain[-1].__cause__ or chain[-1].__context__
        if following is None:
            break
        chain.append(following)
    chain += [argument for one in chain for argument in one.args if isinstance(argument, BaseException)]
    for kinds, words in (
        ((ssl.SSLCertVerificationError,), f"its certificate is not valid for {host}"),
        ((ssl.SSLError,), "there is no secure connection to be had"),
        ((ConnectionRefusedError,), "the connection was refused"),
        ((TimeoutError,), f"it was silent for {SILENCE:g} s"),
        ((http.client.IncompleteRead,), "the download broke off"),
        ((http.client.RemoteDisconnected, ConnectionError), "the connection broke off"),
        ((http.client.HTTPException,), "its answer is not HTTP"),
    ):
        if any(isinstance(one, kinds) for one in chain):
            return words
    return f"the connection failed ({type(error).__name__})"
