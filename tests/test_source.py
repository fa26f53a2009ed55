"""Files and Discord URLs: what is taken, what is refused and why."""

from __future__ import annotations

import io
import time

import pytest
from PIL import Image

from distillery.driver import source
from distillery.driver.errors import SourceError
from distillery.driver.source import checked, discord_url, fetch, global_address, load


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
