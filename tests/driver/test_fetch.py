"""One request to one host: pinned, bounded, on time."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tls_host import answering

from distillery.driver.errors import SourceError
from distillery.driver.sources.fetch import (
    FetchPolicy,
    environment_proxy,
    global_addresses,
    host_name,
    http_get,
    http_post,
    is_public,
    public_url,
    split_url,
)

CDN = "cdn.discordapp.com"
CAP = 1 << 20


def get(policy: FetchPolicy, target: str = "/a.png", host: str = CDN, cap: int = CAP):
    return http_get(host, target, cap, policy)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", False), ("::ffff:127.0.0.1", False),
        ("::127.0.0.1", False), ("64:ff9b::7f00:1", False), ("64:ff9b::808:808", False), ("64:ff9b:1::808:808", False),
        ("2002:7f00:1::", False), ("2002:808:808::", False), ("2001:0:808:808::1", False), ("192.88.99.1", False),
        ("224.0.0.1", False), ("ff0e::1", False), ("fe80::1%eth0", False), ("2606:4700::1111%eth0", False),
        ("fec0::1", False), ("100.64.0.1", False), ("0.0.0.0", False), ("255.255.255.255", False), ("240.0.0.1", False),
        ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False), ("::", False),
        ("::1", False), ("fd00::1", False), ("2001:db8::1", False), ("3fff::1", False), ("192.0.0.9", False), ("nonsense", False), ("127.1", False), ("", False),
    ],
)  # fmt: skip
def test_only_plain_addresses_of_the_open_internet_are_public(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.8"], ["8.8.8.8", "192.168.1.1"], ["8.8.8.8", "::ffff:10.0.0.1"], ["fd00::1"], []],
)
def test_a_name_that_leads_inside_is_not_connected_to(addresses, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was made"))
    with pytest.raises(SourceError, match="open internet"):
        global_addresses(CDN, lambda host: addresses)
    with pytest.raises(SourceError, match="open internet"):
        get(FetchPolicy(resolve=lambda host: addresses))


def test_the_name_is_looked_up_once_and_the_connection_goes_to_that_very_address(tls_host):
    host = tls_host(answering(b"ok"))
    policy, looked_up = host.policy(), []

    def rebinding(name):
        looked_up.append(name)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["127.0.0.2"]

    answer = get(FetchPolicy(rebinding, policy.permitted, policy.port, policy.context), "/a b.png?x=1&y=é")
    assert (answer.status, answer.body, looked_up) == (200, b"ok", [CDN])
    assert host.asked_for == [CDN]
    head = host.requests[0].decode()
    assert head.startswith("GET /a%20b.png?x=1&y=%C3%A9 HTTP/1.1\r\n")
    assert f"\r\nHost: {CDN}\r\n" in head and "\r\nAccept-Encoding: identity\r\n" in head


def test_an_address_that_does_not_answer_leads_to_the_next_one(tls_host):
    host = tls_host(answering(b"ok"))
    policy = host.policy(addresses=["127.0.0.9", "127.0.0.1"])  # nothing listens at the first one
    assert get(policy).body == b"ok"


def test_an_ipv6_address_is_connected_to_as_well(tls_host):
    try:
        host = tls_host(answering(b"ok"), address="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    assert get(host.policy()).body == b"ok" and host.asked_for == [CDN]


def test_a_proxy_of_the_environment_is_not_used(tls_host, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(tls_host(answering(b"ok")).policy()).body == b"ok"


class Proxy:
    """A proxy on loopback that connects to wherever ``target`` is, whatever name it is asked for."""

    def __init__(self, target: int) -> None:
        self.asked: list[bytes] = []
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        near, _ = self._listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += near.recv(4096)
        self.asked.append(head)
        far = socket.create_connection(("127.0.0.1", self._target))
        near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=self._copy, args=(far, near), daemon=True).start()
        self._copy(near, far)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                target.sendall(block)


def test_a_proxy_is_used_where_the_user_asks_for_it(tls_host):
    host = tls_host(answering(b"ok"))
    policy = host.policy()
    proxy = Proxy(policy.port)

    def nowhere(name):
        raise AssertionError("the proxy looks names up")

    url = f"http://me:p%40ss@127.0.0.1:{proxy.port}"
    found = FetchPolicy(nowhere, policy.permitted, policy.port, policy.context, proxy=url)
    assert get(found).body == b"ok" and host.asked_for == [CDN]
    head = proxy.asked[0].decode()
    assert head.startswith(f"CONNECT {CDN}:{policy.port} ")
    assert base64.b64encode(b"me:p@ss").decode() in head


def test_a_certificate_is_checked_behind_a_proxy_too(tls_host):
    policy = tls_host(answering(b"ok"), name="evil.example").policy()
    proxy = Proxy(policy.port)
    found = FetchPolicy(
        policy.resolve, policy.permitted, policy.port, policy.context, proxy=f"http://127.0.0.1:{proxy.port}"
    )
    with pytest.raises(SourceError, match="certificate is not valid"):
        get(found)


def test_the_proxy_of_the_environment():
    assert environment_proxy({"HTTPS_PROXY": "proxy:3128"}) == "http://proxy:3128"
    assert environment_proxy({"all_proxy": "http://a:1"}) == "http://a:1"
    for environ, words in (({}, "names none"), ({"HTTPS_PROXY": "socks5://me:secret@h:1"}, r"is socks5://h:1")):
        with pytest.raises(SourceError, match=words) as caught:
            environment_proxy(environ)
        assert "secret" not in str(caught.value)


def test_a_certificate_for_another_name_is_not_taken(tls_host):
    host = tls_host(answering(b"ok"), name="evil.example")
    with pytest.raises(SourceError, match=r"certificate is not valid for cdn\.discordapp\.com"):
        get(host.policy())
    assert not host.requests, "nothing may be asked of it"


def test_a_certificate_of_an_unknown_authority_is_not_taken(tls_host):
    policy = tls_host(answering(b"ok")).policy()
    with pytest.raises(SourceError, match="certificate"):
        get(FetchPolicy(policy.resolve, policy.permitted, policy.port, None))


def test_redirects_are_not_followed_and_their_bodies_not_read(tls_host):
    host = tls_host(answering(b"", "302 Found", 10**9, "Location: https://127.0.0.1/\r\n"), answering(b"second"))
    answer = get(host.policy())
    assert (answer.status, answer.body) == (302, b"") and host.connections == 1


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (answering(b"half", length=400), "broke off"),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf"), "broke off"),
        (lambda c: c.sendall(b"nonsense\r\n\r\n"), "not HTTP"),
        (lambda c: None, "broke off"),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000), "not HTTP"),
    ],
)
def test_answers_that_break_are_told(tls_host, act, words):
    with pytest.raises(SourceError, match=words):
        get(tls_host(act).policy())


@pytest.mark.parametrize(
    "act",
    [
        answering(b"", length=CAP + 1),
        lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(4 * CAP)),
        lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400000\r\n" + bytes(4 * CAP)),
    ],
    ids=["announced", "until the end", "chunked"],
)  # fmt: skip
def test_no_more_than_the_cap_is_read(tls_host, act):
    with pytest.raises(SourceError, match="more than 1 MiB"):
        get(tls_host(act).policy())


def test_a_body_that_claims_to_be_compressed_is_not_unpacked(tls_host):
    assert get(tls_host(answering(b"as it is", more="Content-Encoding: gzip\r\n")).policy()).body == b"as it is"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
    ],
    ids=["body", "body until the end", "headers", "chunk"],
)
def test_bytes_that_trickle_end_at_the_deadline(tls_host, head):
    def trickle(connection):
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    started = time.monotonic()
    with pytest.raises(SourceError, match=r"longer than 0\.8 s"):
        get(tls_host(trickle).policy(deadline=0.8))
    assert time.monotonic() - started < 5


def test_a_handshake_that_never_ends_ends_at_the_deadline(certificates):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        policy = FetchPolicy(
            resolve=lambda host: ["127.0.0.1"], permitted=lambda address: True, port=listener.getsockname()[1],
            context=certificates.trust, deadline=0.6,
        )  # fmt: skip
        started = time.monotonic()
        with pytest.raises(SourceError):
            get(policy)
        assert time.monotonic() - started < 5


def test_a_look_up_that_hangs_ends_at_the_deadline():
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"look-up .* longer than 0\.3 s"):
        get(FetchPolicy(resolve=lambda host: time.sleep(8) or [], deadline=0.3))
    assert time.monotonic() - started < 4


def test_without_a_network_it_says_so():
    def fail(host):
        raise OSError("no such name")

    with pytest.raises(SourceError, match="no network"):
        get(FetchPolicy(resolve=fail))


def test_a_closed_port_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    context = ssl.create_default_context()
    with pytest.raises(SourceError, match="refused"):
        get(FetchPolicy(lambda host: ["127.0.0.1"], lambda address: True, port, context))


def test_a_secret_is_in_no_message(tls_host):
    with pytest.raises(SourceError) as error:
        http_post(CDN, "/x", CAP, {"Authorization": "Bot se\ncret"}, b"", tls_host(answering(b"")).policy())
    assert "cret" not in str(error.value)


@pytest.mark.parametrize("name", ["images.example.org", "IMAGES.example.org", "a.b", "xn--bcher-kva.example"])
def test_host_names_are_taken(name):
    assert host_name(name) == name.lower()


@pytest.mark.parametrize(
    "name",
    ["", "localhost", "*.example.org", "https://example.org", "example.org/a", "example.org:443", "1.2.3.4", "[::1]",
     "a..b", "-a.org", "a.org.", "bücher.example", "0x7f.1", "user@a.org", "a b.org", "a" * 64 + ".org"],
)  # fmt: skip
def test_what_is_no_exact_host_name_is_refused(name):
    with pytest.raises(SourceError, match="not the name of a host"):
        host_name(name)


PIECES = st.sampled_from(
    ["https", "http", "://", ":", "/", "//", "@", "\\", "?", "#", "cdn.discordapp.com", "evil.example", "127.0.0.1",
     "[::1]", "[", "]", "%2e", "%00", "..", "attachments/1/2/a.png", "443", "8443", "ex=ff", " ", "\t", "\r\n", "\0",
     "é", "。", "user:pw", "\ud800"],
)  # fmt: skip


@example("https://%A")
@given(st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=60).map(lambda t: f"https://{t}")))
def test_no_url_leads_to_anything_but_a_plain_https_host_or_a_clear_error(url):
    try:
        parts = split_url(url)
    except SourceError as error:
        assert "\n" not in str(error) or "\n" in public_url(url)
        return
    assert parts.scheme == "https" and parts.port in (None, 443)
    assert (
        parts.netloc.lower() in (parts.hostname, f"{parts.hostname}:", f"{parts.hostname}:443")
        or "[" in url
        or (parts.netloc.lower().rstrip("0123456789").rstrip(":") == parts.hostname)
    )
    assert not any(c <= " " or c == "\x7f" or c == "\\" for c in parts.geturl())


def test_urls_are_shown_without_signature_and_password():
    assert public_url("https://a:b@host/x?hm=secret#y") == "https://host/x"


def test_a_url_that_is_too_long_is_refused():
    with pytest.raises(SourceError, match="4096"):
        split_url(f"https://{CDN}/" + "a" * 5000)
