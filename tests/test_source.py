"""Files and Discord URLs: what is taken, what is refused and why."""

from __future__ import annotations

import io
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable

import pytest
from PIL import Image

from distillery.driver import source
from distillery.driver.errors import SourceError
from distillery.driver.source import Network, checked, discord_url, fetch, global_address, is_public, load


def png(width=70, height=66) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "my picture.v2.png"
    path.write_bytes(png())
    image = load(path)
    assert (image.data, image.stem, image.extension) == (png(), "my picture.v2", "png")
    assert (image.width, image.height) == (70, 66)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"  <HTML><body>", "web page"),
        (b"hello", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, content, words):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(SourceError, match=words) as error:
        load(tmp_path / "a.png")
    assert "a.png" in str(error.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(SourceError, match=r"no file .*gone\.png"):
        load(tmp_path / "gone.png")
    with pytest.raises(SourceError, match="folder"):
        load(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(source.MAX_BYTES + 1)
    with pytest.raises(SourceError, match="MiB"):
        load(path)


def test_too_many_pixels_are_refused_before_they_are_decoded():
    header = bytearray(png())
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    started = time.monotonic()
    with pytest.raises(SourceError, match="pixels"):
        checked(bytes(header), "a", "a.png")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://cdn.discordapp.com/attachments/1/2/a.png?ex=ffffffff&is=1&hm=ab",
            "https://cdn.discordapp.com/attachments/1/2/a.png?ex=ffffffff&is=1&hm=ab",
        ),
        (
            "https://media.discordapp.net/attachments/1/2/a.png?ex=ffffffff&is=1&hm=ab&=&format=webp&width=500&height=5",
            "https://cdn.discordapp.com/attachments/1/2/a.png?ex=ffffffff&is=1&hm=ab",
        ),
        (
            "https://CDN.discordapp.com:443/ephemeral-attachments/1/2/a%20b.png",
            "https://cdn.discordapp.com/ephemeral-attachments/1/2/a%20b.png",
        ),
    ],
)
def test_discord_urls_are_brought_to_the_form_that_keeps_the_metadata(url, expected):
    assert discord_url(url).geturl() == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.discordapp.com/attachments/1/2/a.png",
        "https://cdn.discordapp.com:8443/attachments/1/2/a.png",
        "https://user@cdn.discordapp.com/attachments/1/2/a.png",
        "https://cdn.discordapp.com/avatars/1/2.png",
        "https://cdn.discordapp.com/attachments/../secrets",
        "https://cdn.discordapp.com/attachments/%2e%2e/secrets",
        "https://cdn.discordapp.com.evil.example/attachments/1/2/a.png",
        "https://evil.example/attachments/1/2/a.png",
        "https://127.0.0.1/attachments/1/2/a.png",
        "https://[::1]/attachments/1/2/a.png",
        "https://cdn.discordapp.com\\@evil.example/attachments/1/2/a.png",
        "ftp://cdn.discordapp.com/attachments/1/2/a.png",
        "file:///etc/passwd",
        "https://cdn.discordapp.com:port/attachments/1/2/a.png",
    ],
)
def test_every_other_url_is_refused_without_a_connection(url, monkeypatch):
    monkeypatch.setattr(source, "_resolve", lambda host: pytest.fail("a name was looked up"))
    with pytest.raises(SourceError):
        load(url)


def test_an_expired_link_is_recognised_before_it_is_asked_for():
    url = "https://cdn.discordapp.com/attachments/1/2/a.png?ex=65000000&is=1&hm=ab"
    with pytest.raises(SourceError, match="expired"):
        discord_url(url, now=0x65000001)
    assert discord_url(url, now=0x64FFFFFF)


def test_messages_never_carry_a_links_signature():
    with pytest.raises(SourceError) as error:
        load("https://evil.example/attachments/1/2/a.png?ex=1&hm=secret")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.8"], ["8.8.8.8", "192.168.1.1"], ["::1"], ["169.254.169.254"], ["fd00::1"], []],
)
def test_a_name_that_leads_inside_is_not_connected_to(addresses):
    with pytest.raises(SourceError, match="open internet"):
        global_address("cdn.discordapp.com", lambda host: addresses)
    with pytest.raises(SourceError, match="open internet"):
        fetch("https://cdn.discordapp.com/attachments/1/2/a.png", resolve=lambda host: addresses)


def test_without_a_network_it_says_so():
    def fail(host):
        raise OSError("no such name")

    with pytest.raises(SourceError, match="no network"):
        fetch("https://cdn.discordapp.com/attachments/1/2/a.png", resolve=fail)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", True), ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("224.0.0.1", False), ("fe80::1%eth0", False),
        ("100.64.0.1", False), ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_addresses_inside_addresses_are_seen(address, public):
    assert is_public(address) is public


URL = "https://cdn.discordapp.com/attachments/1/2/a%20b.png?ex=ffffffff&is=1&hm=ab"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Server contexts by host name, and a client's that trusts them: a real TLS without Discord."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make certificates")
    folder = tmp_path_factory.mktemp("tls")
    trust = ssl.create_default_context()
    servers = {}
    for host in ("cdn.discordapp.com", "evil.example"):
        key, certificate = folder / f"{host}.key", folder / f"{host}.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days",
             "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"],
            check=True, capture_output=True,
        )  # fmt: skip
        servers[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        servers[host].load_cert_chain(certificate, key)
        trust.load_verify_locations(certificate)
    return servers, trust


@pytest.fixture
def host(certificates):
    """Starts a server that does what it is told with one TLS connection; gives the network that leads to it."""
    servers, trust = certificates
    listeners: list[socket.socket] = []
    requests: list[bytes] = []

    def serve(act: Callable[[socket.socket], None], name: str = "cdn.discordapp.com", deadline: float = 20) -> Network:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            try:
                plain, _ = listener.accept()
                with servers[name].wrap_socket(plain, server_side=True) as connection:
                    requests.append(connection.recv(65536))
                    act(connection)
            except OSError:
                pass

        threading.Thread(target=run, daemon=True).start()
        return Network(
            resolve=lambda host: ["127.0.0.1"], permitted=lambda address: address == "127.0.0.1",
            port=listener.getsockname()[1], context=trust, deadline=deadline,
        )  # fmt: skip

    serve.requests = requests  # type: ignore[attr-defined]
    yield serve
    for listener in listeners:
        listener.close()


def answering(body: bytes, status: str = "200 OK", length: int | None = None, more: str = ""):
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n{more}\r\n"
    return lambda connection: connection.sendall(head.encode() + body)


def test_an_attachment_is_fetched_as_it_is(host):
    assert fetch(URL, network=host(answering(png()))) == (png(), "a b.png")
    request = host.requests[0].decode()
    assert request.startswith("GET /attachments/1/2/a%20b.png?ex=ffffffff&is=1&hm=ab HTTP/1.1\r\n")
    assert "Host: cdn.discordapp.com" in request


def test_a_certificate_for_another_name_is_not_taken(host):
    with pytest.raises(SourceError, match="SSLCertVerificationError"):
        fetch(URL, network=host(answering(png()), name="evil.example"))
    assert not host.requests, "nothing may be asked of it"


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (answering(b"", "302 Found", more="Location: https://127.0.0.1/\r\n"), "302"),
        (answering(b"gone", "404 Not Found"), "Copy the link again"),
        (answering(b"half", length=400), "4 of 400"),
        (answering(b"", "500 Oops"), "500"),
        (lambda connection: connection.sendall(b"nonsense\r\n\r\n"), "BadStatusLine"),
    ],
)
def test_answers_without_an_image_are_told(host, act, words):
    with pytest.raises(SourceError, match=words):
        fetch(URL, network=host(act))
    assert len(host.requests) == 1


def test_no_more_than_the_cap_is_read(host, monkeypatch):
    monkeypatch.setattr(source, "MAX_BYTES", 2**20)
    with pytest.raises(SourceError, match="more than 1 MiB"):
        fetch(URL, network=host(lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2**22))))


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_bytes_that_trickle_end_at_the_deadline(host, head):
    def trickle(connection):
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    started = time.monotonic()
    with pytest.raises(SourceError, match=r"longer than 0\.6 s"):
        fetch(URL, network=host(trickle, deadline=0.6))
    assert time.monotonic() - started < 3


def test_a_handshake_that_never_ends_ends_at_the_deadline(certificates):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        network = Network(
            resolve=lambda host: ["127.0.0.1"], permitted=lambda address: True, port=listener.getsockname()[1],
            context=certificates[1], deadline=0.6,
        )  # fmt: skip
        started = time.monotonic()
        with pytest.raises(SourceError, match=r"longer than 0\.6 s"):
            fetch(URL, network=network)
        assert time.monotonic() - started < 3
