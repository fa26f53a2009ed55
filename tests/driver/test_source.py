"""What can be given as an image, and what is said about everything else."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image
from tls_host import answering

from distillery.driver.errors import SourceError
from distillery.driver.sources.discord import TOKEN
from distillery.driver.sources.fetch import MAX_BYTES, FetchPolicy
from distillery.driver.sources.load import Rules, load

URL = "https://cdn.discordapp.com/attachments/1/2/a%20b.png?ex=ffffffff&is=1&hm=ab"


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)


def png(width=70, height=66) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def nowhere(host):
    pytest.fail("a name was looked up")


# files


def test_a_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "my picture.v2.png"
    path.write_bytes(png())
    for given in (path, str(path)):
        image = load(given)
        assert (image.data, image.name, image.stem) == (png(), "my picture.v2.png", "my picture.v2")
        assert (image.width, image.height, image.label) == (70, 66, str(path))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("no\0name.png", "cannot be read"),
        ("~nobody-of-that-name/a.png", "cannot be read|no file"),
        ("a" * 5000, "cannot be read"),
        ("", "folder"),
        ("data:image/png;base64,AAAA", "no file"),
        ("cdn.discordapp.com/attachments/1/2/a.png", "begins with https://"),
    ],
)
def test_names_that_no_file_has_are_told(given, words):
    with pytest.raises(SourceError, match=words) as error:
        load(given)
    assert len(str(error.value)) < 600


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(SourceError, match=r"no file .*gone\.png"):
        load(tmp_path / "gone.png")
    with pytest.raises(SourceError, match="folder"):
        load(tmp_path)


def test_a_file_that_is_too_large_is_refused(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(SourceError, match="64 MiB"):
        load(path)


@pytest.mark.skipif(sys.platform == "win32", reason="devices are files elsewhere")
def test_a_device_without_an_end_is_not_read_to_it():
    with pytest.raises(SourceError, match="64 MiB"):
        load("/dev/zero")


# standard input


class Pipe:
    def __init__(self, data: bytes, terminal: bool = False) -> None:
        self.buffer, self._terminal = io.BytesIO(data), terminal

    def isatty(self) -> bool:
        return self._terminal


def test_standard_input_is_read_to_its_end(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Pipe(png()))
    image = load("-")
    assert (image.data, image.stem, image.width) == (png(), "stdin", 70)
    with pytest.raises(SourceError, match="standard input is empty"):
        load("-")


@pytest.mark.parametrize("stdin", [Pipe(b"", terminal=True), None])
def test_nothing_piped_in_is_told(monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(SourceError, match=r"upscale - < image\.png"):
        load("-")


# links


def test_an_attachment_is_fetched_as_it_is(tls_host):
    host = tls_host(answering(png()))
    image = load(f"<{URL}>", policy=host.policy())
    assert (image.data, image.name, image.stem) == (png(), "a b.png", "a b")
    assert image.label == f"<{URL.partition('?')[0]}"
    assert host.requests[0].startswith(b"GET /attachments/1/2/a%20b.png?ex=ffffffff&is=1&hm=ab HTTP/1.1\r\n")


def test_a_link_of_the_media_host_is_fetched_from_the_cdn(tls_host):
    host = tls_host(answering(png()))
    media = URL.replace("cdn.discordapp.com", "media.discordapp.net") + "&format=webp&width=10&height=10"
    assert load(media, policy=host.policy()).data == png()
    assert b"\r\nHost: cdn.discordapp.com\r\n" in host.requests[0] and b"webp" not in host.requests[0]


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (answering(b"", "302 Found", more="Location: https://127.0.0.1/\r\n"), "302"),
        (answering(b"gone", "404 Not Found"), "expired or the image was deleted.*Copy"),
        (answering(b"", "503 Busy"), "later"),
        (answering(b"<html>"), "web page"),
        (answering(b""), "empty"),
        (answering(png()[:50], length=400), "broke off"),
        (answering(b"\x00\x00\x00\x20ftypisom" + bytes(40)), "a video"),
    ],
)
def test_answers_without_an_image_are_told(tls_host, act, words):
    host = tls_host(act)
    with pytest.raises(SourceError, match=words):
        load(URL, policy=host.policy())
    assert host.connections == 1


def test_a_link_without_its_signature_is_told_so(tls_host):
    with pytest.raises(SourceError, match="lacks the signature"):
        load(URL.partition("?")[0], policy=tls_host(answering(b"", "404 Not Found")).policy())


def test_an_expired_link_is_renewed_with_the_environments_token_and_fetched(tls_host, monkeypatch):
    monkeypatch.setenv(TOKEN, "the-token")
    fresh = b'{"refreshed_urls": [{"refreshed": "%s"}]}' % URL.encode()
    host = tls_host(answering(fresh), answering(png()))
    assert load(URL.replace("ffffffff", "65000000"), policy=host.policy()).data == png()
    assert host.asked_for == ["discord.com", "cdn.discordapp.com"]
    assert b"Bot the-token" in host.requests[0] and b"the-token" not in host.requests[1]


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.discordapp.com/attachments/1/2/a.png",
        "https://cdn.discordapp.com:8443/attachments/1/2/a.png",
        "https://user@cdn.discordapp.com/attachments/1/2/a.png",
        "https://@cdn.discordapp.com/attachments/1/2/a.png",
        "https://cdn.discordapp.com./attachments/1/2/a.png",
        "https://cdn.discordapp.com.evil.example/attachments/1/2/a.png",
        "https://evil.example/attachments/1/2/a.png",
        "https://evil.example#@cdn.discordapp.com/attachments/1/2/a.png",
        "https://127.0.0.1/attachments/1/2/a.png",
        "https://[::1]/attachments/1/2/a.png",
        "https://[::1/attachments/1/2/a.png",
        "https://cdn.discordapp.com\\@evil.example/attachments/1/2/a.png",
        "https://cdn.discordapp.com/attachments/1/2/a.png\r\nX: y",
        "https://cdn。discordapp。com/attachments/1/2/a.png",
        "ftp://cdn.discordapp.com/attachments/1/2/a.png",
        "file:///etc/passwd",
        "https://cdn.discordapp.com:port/attachments/1/2/a.png",
        "https://discord.com/channels/1/2/3",
        "https://",
    ],
)
def test_every_other_link_is_refused_without_a_look_up(url):
    with pytest.raises(SourceError):
        load(url, policy=FetchPolicy(resolve=nowhere))


def test_messages_never_carry_a_links_signature():
    with pytest.raises(SourceError) as error:
        load("https://evil.example/attachments/1/2/a.png?ex=1&hm=secret", policy=FetchPolicy(resolve=nowhere))
    assert "secret" not in str(error.value) and "--allow-host" in str(error.value)


def test_a_host_that_the_user_allows_is_fetched_from(tls_host):
    host = tls_host(answering(png()))
    url = "https://images.example.org/some/p%C3%A4th/x%20y.png?a=b%20c&d"
    image = load(url, Rules(("Images.example.org",)), policy=host.policy())
    assert (image.data, image.stem) == (png(), "x y")
    assert host.requests[0].startswith(b"GET /some/p%C3%A4th/x%20y.png?a=b%20c&d HTTP/1.1\r\n")
    assert host.asked_for == ["images.example.org"]


@pytest.mark.parametrize(
    "host", ["example.org", "sub.images.example.org", "images.example.org.evil.example", "images.example.orgs"]
)
def test_an_allowed_host_allows_no_other(host):
    with pytest.raises(SourceError, match=r"images\.example\.org are"):
        load(f"https://{host}/a.png", Rules(("images.example.org",)), policy=FetchPolicy(resolve=nowhere))


@pytest.mark.parametrize("address", ["127.0.0.1", "192.168.0.5", "::ffff:192.168.0.5", "fe80::1%lo"])
def test_an_allowed_host_that_leads_inside_is_refused(address):
    with pytest.raises(SourceError, match="open internet"):
        load(
            "https://images.example.org/a.png", Rules(("images.example.org",)),
            policy=FetchPolicy(resolve=lambda host: [address]),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (answering(b"", "301 Moved", more="Location: https://127.0.0.1/\r\n"), "final link"),
        (answering(b"", "404 Not Found"), "Check the link"),
    ],
)
def test_answers_of_an_allowed_host_are_told_by_its_name(tls_host, act, words):
    host = tls_host(act)
    with pytest.raises(SourceError, match=f"images.example.org .*{words}"):
        load("https://images.example.org/", Rules(("images.example.org",)), policy=host.policy())


def test_what_is_allowed_must_be_a_host_name():
    with pytest.raises(SourceError, match="not the name of a host"):
        load(URL, Rules(("https://images.example.org/",)), policy=FetchPolicy(resolve=nowhere))
