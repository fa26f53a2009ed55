"""Fetch one HTTPS URL without SSRF: untrusted input cannot redirect the connection.

The name is resolved once, and all of its addresses must be public. The connection goes to that very address, with the
name in TLS, in the certificate and in ``Host``, so that a second look-up (DNS rebinding) cannot point it inside.
No redirects, no proxy, no decompression, a limit on the bytes, one deadline over all of it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import logging
import os
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

import certifi
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from ..errors import SourceError

log = logging.getLogger(__name__)

DEADLINE = 60.0
"""Seconds for a whole request, from the look-up to the last byte."""
IDLE_TIMEOUT = 15.0
"""Timeout in seconds to connect, and between two bytes."""
CONNECT_TIMEOUT = 4.0
"""Timeout in seconds to connect to an address of a host that has others."""
MAX_URL = 4096
MAX_BYTES = 64 * 2**20
"""Largest image file that is taken."""
USER_AGENT = "DiscordBot (https://github.com/distillery-upscale/distillery-upscale, 1)"
"""Discord's API requires this form; other hosts accept any."""

_BLOCK = 1 << 16
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII
)
_SAFE_IN_PATH = "/%!$&'()*+,;=:@~"

# Addresses that embed another one, to which they are routed. A public host has none of them, and older Pythons take
# some of them for global.
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
        "192.0.0.0/24",  # IETF protocol assignments, some of which Python counts as global
        "3fff::/20",  # documentation (RFC 9637), which older Pythons do not know
    )
)

Resolve = Callable[[str], Sequence[str]]
"""Host name to IP addresses. Raises OSError."""


def is_public(address: str) -> bool:
    """True for a plain public IP address; False for one with a zone or with another address embedded."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if getattr(ip, "scope_id", None) or any(ip in network for network in _TRANSLATED if network.version == ip.version):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def system_resolve(host: str) -> list[str]:
    """Resolve a host to all of its addresses by the system's resolver."""
    found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class FetchPolicy:
    """Rules of a request: resolver, allowed addresses, deadline. Tests replace these, never the code that fetches."""

    resolve: Resolve = system_resolve
    permitted: Callable[[str], bool] = is_public
    port: int = 443
    context: ssl.SSLContext | None = None
    """None: the certificate authorities of the system and of certifi."""
    deadline: float = DEADLINE
    proxy: str | None = None
    """``http://[user:password@]host:port`` that is asked to connect to the host, which it then looks up itself."""


@dataclass(frozen=True)
class Answer:
    """Response of a host, of any status."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    """Empty unless the status is 200: other bodies are not read."""


def split_url(url: str) -> SplitResult:
    """Split a URL and check its form: https on port 443, without login, percent-encoded host and IPv6 zone.

    Raises SourceError. The caller decides on the host.
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
    """Check and lower-case a host name that the user allows, such as ``images.example.org``. Raises SourceError."""
    name = text.strip().lower()
    if not _HOST_NAME.fullmatch(name):
        raise SourceError(
            f'"{text[:100]}" is not the name of a host. Give it exactly, without https:// and without a path, such as '
            "images.example.org; addresses in numbers and patterns are not taken."
        )
    return name


def http_get(host: str, target: str, max_bytes: int, policy: FetchPolicy | None = None) -> Answer:
    """Get a file from one host over https, once; redirects are not followed.

    host: a checked name. target: path and query, percent-encoded or not. max_bytes: limit of the body.
    Raises SourceError if there is no answer; the caller judges its status.
    """
    return _exchange("GET", host, target, max_bytes, policy)


def http_post(
    host: str, target: str, max_bytes: int, headers: Mapping[str, str], body: bytes, policy: FetchPolicy | None = None
) -> Answer:
    """Post a body to one host over https, once; otherwise as :func:`http_get`."""
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
    deadline_at = time.monotonic() + policy.deadline
    # A proxy looks the host up itself; the name is all that can be checked here.
    addresses = [] if policy.proxy else _resolve_in_time(host, policy, deadline_at)
    with _Watchdog(deadline_at) as watchdog:
        connection: HTTPSConnection | None = None
        try:
            connection = _connect(host, addresses, policy, deadline_at, watchdog)
            connection.request(
                method,
                quote(target, safe=f"{_SAFE_IN_PATH}?"),
                body=body,
                headers={"Host": host, "Accept-Encoding": "identity", "User-Agent": USER_AGENT, **(headers or {})},
                preload_content=False,
                decode_content=False,
            )
            response = connection.getresponse()
            # The body of an error is not worth waiting for.
            data = _read(response, max_bytes, host) if response.status == 200 else b""
            answer = Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, data)
        except (OSError, http.client.HTTPException, HTTPError, ValueError) as error:
            if not watchdog.expired:
                raise SourceError(f"{host} could not be asked: {_describe(error, host)}. Try again.") from error
        finally:
            if connection is not None:
                connection.close()
        if watchdog.expired:
            raise SourceError(f"{host} took longer than {policy.deadline:g} s. Try again.") from None
    return answer


def _connect(
    host: str, addresses: Sequence[str], policy: FetchPolicy, deadline_at: float, watchdog: _Watchdog
) -> HTTPSConnection:
    """Connect to the first address that lets itself be connected to, or by the proxy. Raises what the last one raised."""
    context = policy.context or _default_context()
    if policy.proxy:
        return _connect_by_proxy(host, policy, context, deadline_at, watchdog)
    for number, address in enumerate(addresses, 1):
        last = number == len(addresses)
        patience = min(IDLE_TIMEOUT, deadline_at - time.monotonic())
        connection = HTTPSConnection(
            address,
            policy.port,
            timeout=max(0.05, patience if last else min(patience, CONNECT_TIMEOUT)),
            server_hostname=host,  # sent in TLS (SNI), and what the certificate is checked against
            ssl_context=context,
        )
        try:
            connection.connect()
            watchdog.guard(connection.sock)
            if connection.sock is not None:
                connection.sock.settimeout(max(0.05, patience))
            return connection
        except (OSError, HTTPError) as error:
            connection.close()
            # A host whose certificate is wrong is not asked for elsewhere.
            if last or watchdog.expired or any(isinstance(one, ssl.SSLError) for one in (error, *error.args)):
                raise
            log.info("%s at %s: %s", host, address, type(error).__name__)
    raise SourceError(f"{host} cannot be found.")


def _connect_by_proxy(
    host: str, policy: FetchPolicy, context: ssl.SSLContext, deadline_at: float, watchdog: _Watchdog
) -> HTTPSConnection:
    proxy = urlsplit(policy.proxy or "")
    connection = HTTPSConnection(
        proxy.hostname or "",
        proxy.port or 80,
        timeout=max(0.05, min(IDLE_TIMEOUT, deadline_at - time.monotonic())),
        server_hostname=host,
        ssl_context=context,
    )
    headers = {}
    if proxy.username:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    connection.set_tunnel(host, policy.port, headers)
    try:
        connection.connect()
    except BaseException:
        connection.close()
        raise
    watchdog.guard(connection.sock)
    return connection


def environment_proxy(environ: Mapping[str, str] = os.environ) -> str:
    """Return the proxy for links that the environment names. Raises SourceError where it names none that can be used."""
    given = next(
        (environ[name] for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy") if environ.get(name)), ""
    )
    if not given:
        raise SourceError(
            "Links are to be fetched through a proxy, but HTTPS_PROXY names none: set it, such as http://proxy:3128."
        )
    url = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SourceError(
            f"HTTPS_PROXY is {public_url(url)}; a proxy that is reached by http:// is needed, such as http://proxy:3128."
        )
    return url


def global_addresses(host: str, resolve: Resolve, permitted: Callable[[str], bool] = is_public) -> list[str]:
    """Resolve a host and return the addresses to connect to, in the resolver's order. Raises SourceError unless all addresses are permitted."""
    try:
        addresses = list(resolve(host))
    except (OSError, UnicodeError) as error:
        raise SourceError(f"{host} cannot be found: there is no network, no name service, or no such host.") from error
    if not addresses or not all(permitted(address) for address in addresses):
        raise SourceError(f"{host} does not lead to the open internet from here, so nothing is fetched from it.")
    return addresses


def public_url(url: str) -> str:
    """Strip a URL for messages and logs of its query, which carries signatures, and of user and password."""
    text = re.split(r"[?#]", url, maxsplit=1)[0]
    return re.sub(r"//[^/]*@", "//", text)[:200]


def _resolve_in_time(host: str, policy: FetchPolicy, deadline_at: float) -> list[str]:
    """Call global_addresses with a deadline. A look-up cannot be interrupted, so it is left behind in its thread."""
    found: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found.put(global_addresses(host, policy.resolve, policy.permitted))
        except Exception as error:
            found.put(error)

    threading.Thread(target=look_up, daemon=True, name="resolve").start()
    try:
        result = found.get(timeout=max(0.0, deadline_at - time.monotonic()))
    except queue.Empty:
        raise SourceError(f"The look-up of {host} took longer than {policy.deadline:g} s. Try again.") from None
    if isinstance(result, Exception):
        raise result
    return result


class _Watchdog:
    """Shut a connection down at a deadline. A socket's own timeout restarts with each byte."""

    def __init__(self, deadline_at: float) -> None:
        self._timer = threading.Timer(max(0.0, deadline_at - time.monotonic()), self._expire)
        self._timer.daemon = True
        self._socket: socket.socket | None = None
        self.expired = False

    def __enter__(self) -> _Watchdog:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def guard(self, guarded: socket.socket | None) -> None:
        """Watch this socket. It is kept here because a connection drops its reference before the body is read."""
        self._socket = guarded
        if self.expired:
            raise TimeoutError

    def _expire(self) -> None:
        self.expired = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown, after which the reader would go on without TLS.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _read(response: HTTPResponse, max_bytes: int, host: str) -> bytes:
    """Read the whole body, up to max_bytes. urllib3 raises if it is shorter than announced."""
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
    context.load_verify_locations(certifi.where())  # Python on macOS reads no certificates of the system
    return context


def _describe(error: Exception, host: str) -> str:
    """Describe an error in words. Its own text is not used: it can contain what was sent."""
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
        ((TimeoutError,), f"it was silent for {IDLE_TIMEOUT:g} s"),
        ((http.client.IncompleteRead,), "the download broke off"),
        ((http.client.RemoteDisconnected, ConnectionError), "the connection broke off"),
        ((http.client.HTTPException,), "its answer is not HTTP"),
    ):
        if any(isinstance(one, kinds) for one in chain):
            return words
    return f"the connection failed ({type(error).__name__})"
