"""How a ComfyUI is reached: its address, what is sent along, which certificates are trusted, which proxy is used.

Both channels, HTTP and websocket, are made here, so that what lets one through lets the other through.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import certifi
import requests
import requests.adapters
import requests.auth
import requests.utils

from ..errors import ServerError
from .guard import TOKEN_PARAMETER

if TYPE_CHECKING:
    import websocket

HEADERS_VARIABLE = "DISTILLERY_SERVER_HEADERS"
"""Environment variable with headers for given servers, one ``Name: value`` a line."""
CA_VARIABLES = ("DISTILLERY_SERVER_CA", "SSL_CERT_FILE")
"""Environment variables that name a file of certificates to trust, the first that is set."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True)
class Endpoint:
    """The address of a ComfyUI and the way there."""

    url: str
    """``http(s)://host[:port][/path]`` without user, password and token, so that it can be shown."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent along with every request; secrets."""
    ca: str | None = None
    """File of certificates to trust beside the usual ones."""

    @property
    def loopback(self) -> bool:
        """True where the server is on this machine."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def session(self) -> requests.Session:
        """Return a session for its HTTP API; redirects are not to be followed. Raises ServerError for a bad ``ca``."""
        session = requests.Session()
        session.trust_env = not self.loopback  # a proxy has no business with loopback
        session.headers.update({k: v for k, v in self.headers.items() if k.lower() != "authorization"})
        session.auth = _HeaderAuth(self.headers)
        if self.url.startswith("https:"):
            session.mount("https://", _ContextAdapter(self._context()))
        return session

    def connect_websocket(self, path: str, timeout: float) -> websocket.WebSocket:
        """Return a websocket. path: begins with a slash. timeout: seconds to connect. Raises OSError, WebSocketException."""
        import websocket  # which --help does not need

        scheme, _, rest = self.url.partition("://")
        options: dict[str, Any] = {"sslopt": {"context": self._context()}} if scheme == "https" else {}
        proxy = (
            None
            if self.loopback
            else requests.utils.select_proxy(self.url, requests.utils.get_environ_proxies(self.url, None))
        )
        if proxy:
            options |= _websocket_proxy(proxy)
        else:
            # Connected here: by itself the library would look for a proxy, for loopback too, with rules of its own.
            options["socket"] = self._connect(timeout)
        try:
            return websocket.create_connection(
                f"{'wss' if scheme == 'https' else 'ws'}://{rest}{path}",
                timeout=timeout,
                suppress_origin=True,  # an Origin would be checked against the host, which fails behind a tunnel
                header=[f"{name}: {value}" for name, value in self.headers.items()],
                **options,
            )
        except BaseException:
            if "socket" in options:
                options["socket"].close()
            raise

    def _connect(self, timeout: float) -> socket.socket:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        connection = socket.create_connection((host, parts.port or (443 if parts.scheme == "https" else 80)), timeout)
        if parts.scheme != "https":
            return connection
        try:
            return self._context().wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()  # heeds SSL_CERT_FILE
        context.load_verify_locations(certifi.where())  # Python on macOS reads no certificates of the system
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except (OSError, ssl.SSLError) as error:
                raise ServerError(f"{self.ca} is no file of certificates (PEM) that can be read: {error}.") from error
        return context


def endpoint(
    url: str,
    headers: Mapping[str, str] | None = None,
    ca: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Endpoint:
    """Return the endpoint of a URL as a user gives it.

    url: ``http(s)://[user:password@]host[:port][/path][?token=…]``; user and password, or the token, become an
    Authorization header. headers: more, over those of HEADERS_VARIABLE. ca: a file, else that of CA_VARIABLES.
    Raises ServerError.
    """
    shown = re.sub(r"//[^/@]*@", "//", url.partition("?")[0])
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError as error:
        raise ServerError(f'"{shown}" is not the URL of a server: {error}.') from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ServerError(
            f'"{shown}" is not the URL of a server: give http:// or https:// and its host, such as http://127.0.0.1:8188.'
        )
    sent = parse_headers(environ.get(HEADERS_VARIABLE, "").splitlines(), f"${HEADERS_VARIABLE}")
    sent |= _authorization(parts) | dict(headers or {})
    parse_headers([f"{name}: {value}" for name, value in sent.items()], "headers")
    trusted = str(ca) if ca is not None else next((environ[v] for v in CA_VARIABLES if environ.get(v)), None)
    query = urlencode([(k, v) for k, v in parse_qsl(parts.query) if k != TOKEN_PARAMETER])
    if query:
        raise ServerError(f'"{shown}" is not the URL of a server: it has a query. Give the address alone.')
    host = parts.netloc.rpartition("@")[2]
    return Endpoint(f"{parts.scheme}://{host}{parts.path.rstrip('/')}", sent, trusted)


def parse_headers(lines: Sequence[str], where: str = "--header") -> dict[str, str]:
    """Read headers, each ``Name: value``; empty lines are left out. Raises ServerError, which does not show the values."""
    found = {}
    for line in lines:
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name.strip()) or not _VALUE.fullmatch(value.strip()):
            raise ServerError(
                f'{where}: a header is given as "Name: value", for example "Authorization: Bearer TOKEN".'
            )
        found[name.strip()] = value.strip()
    return found


def _authorization(parts: SplitResult) -> dict[str, str]:
    token = dict(parse_qsl(parts.query)).get(TOKEN_PARAMETER)
    if token:
        return {"Authorization": f"Bearer {token}"}
    if parts.username is None and parts.password is None:
        return {}
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


class _HeaderAuth(requests.auth.AuthBase):
    """Sends the Authorization header that was given, or none: without this, requests takes one from ~/.netrc."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._value = next((v for k, v in headers.items() if k.lower() == "authorization"), None)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


class _ContextAdapter(requests.adapters.HTTPAdapter):
    """Has HTTPS use one TLS context."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> Any:
        return super().init_poolmanager(*arguments, ssl_context=self._context, **options)  # type: ignore[no-untyped-call]

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*arguments, ssl_context=self._context, **options)  # type: ignore[no-untyped-call]


def _websocket_proxy(proxy: str) -> dict[str, Any]:
    """Options for websocket-client that name a proxy and keep it from looking for another."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return {
        "http_proxy_host": parts.hostname,
        "http_proxy_port": parts.port or (1080 if parts.scheme.startswith("socks") else 80),
        "proxy_type": parts.scheme if parts.scheme.startswith("socks") else "http",
        "http_no_proxy": ["none.invalid"],  # an empty list would have it read the environment
        **({"http_proxy_auth": (unquote(parts.username), unquote(parts.password or ""))} if parts.username else {}),
    }
