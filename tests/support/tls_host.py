"""A TLS server on loopback that does what a test tells it: real sockets and certificates, without the real host."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from distillery.driver.sources.fetch import FetchPolicy

HOSTS = ("localhost", "cdn.discordapp.com", "discord.com", "images.example.org", "evil.example")

Act = Callable[[ssl.SSLSocket], None]


@dataclass(frozen=True)
class Certificates:
    servers: dict[str, ssl.SSLContext]
    trust: ssl.SSLContext
    folder: Path

    def file(self, host: str) -> Path:
        """The certificate of a host, which is its own authority."""
        return self.folder / f"{host}.pem"


def make_certificates(folder: Path) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make certificates")
    trust = ssl.create_default_context()
    servers = {}
    for host in HOSTS:
        key, certificate = folder / f"{host}.key", folder / f"{host}.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
             "-out", certificate, "-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"],
            check=True, capture_output=True,
        )  # fmt: skip
        servers[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        servers[host].load_cert_chain(certificate, key)
        trust.load_verify_locations(certificate)
    return Certificates(servers, trust, folder)


class TlsHost:
    """Serves one connection for each act, with the certificate that is asked for, or always that of ``name``."""

    def __init__(self, certificates: Certificates, acts: Sequence[Act], name: str | None, address: str) -> None:
        self.requests: list[bytes] = []
        self.asked_for: list[str | None] = []
        """Names that clients gave in TLS."""
        self.connections = 0
        self._trust, self._address = certificates.trust, address
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def choose(connection: ssl.SSLObject, asked: str | None, _: ssl.SSLContext) -> None:
            self.asked_for.append(asked)
            connection.context = certificates.servers[name or asked or ""]

        context.sni_callback = choose  # type: ignore[assignment]

        def run() -> None:
            for act in acts:
                try:
                    plain, _ = self._listener.accept()
                    self.connections += 1
                    with context.wrap_socket(plain, server_side=True) as connection:
                        self.requests.append(_read_request(connection))
                        act(connection)
                except OSError:
                    continue

        threading.Thread(target=run, daemon=True).start()

    def policy(self, deadline: float = 20, addresses: Sequence[str] | None = None) -> FetchPolicy:
        """The policy under which every name leads here."""
        return FetchPolicy(
            resolve=lambda host: [self._address] if addresses is None else addresses,
            permitted=lambda address: address in (self._address, *(addresses or ())), port=self._listener.getsockname()[1],
            context=self._trust, deadline=deadline,
        )  # fmt: skip

    def close(self) -> None:
        self._listener.close()


def _read_request(connection: ssl.SSLSocket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and (block := connection.recv(65536)):
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
    while len(body) < length and (block := connection.recv(65536)):
        body += block
    return head + b"\r\n\r\n" + body


def answering(body: bytes, status: str = "200 OK", length: int | None = None, more: str = "") -> Act:
    """Answers with this, and announces as many bytes as ``length`` says."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n{more}\r\n"
    return lambda connection: connection.sendall(head.encode() + body)
