"""Links of attachments: their forms, their end, their renewal."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tls_host import answering

from distillery.driver.errors import SourceError
from distillery.driver.sources import discord
from distillery.driver.sources.discord import TOKEN, parse_attachment, refresh, with_valid_link
from distillery.driver.sources.fetch import split_url

PATH = "/attachments/1/2/a%20b.png"
SOON = f"{int(time.time()) + 86400:x}"
SECRET = "MTk4.secret-token_x"


def link(text: str) -> discord.Attachment:
    return parse_attachment(split_url(text))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://cdn.discordapp.com/attachments/1/2/a.png?ex=ffffffff&is=1&hm=ab",
            "https://cdn.discordapp.com/attachments/1/2/a.png?ex=ffffffff&is=1&hm=ab",
        ),
        (
            "https://media.discordapp.net/attachments/1/2/a.png?ex=ffffffff&is=1&hm=ab&=&format=webp&quality=lossless&width=500&height=5",
            "https://cdn.discordapp.com/attachments/1/2/a.png?ex=ffffffff&is=1&hm=ab",
        ),
        (
            "https://CDN.discordapp.com:443/ephemeral-attachments/1/2/a%20b.png#x",
            "https://cdn.discordapp.com/ephemeral-attachments/1/2/a%20b.png",
        ),
        (
            "https://cdn.discordapp.com/attachments/1/2/a.png?hm=1&hm=2&ex=ff&is=3&",
            "https://cdn.discordapp.com/attachments/1/2/a.png?ex=ff&is=3&hm=1",
        ),
    ],
)
def test_links_are_brought_to_the_form_that_keeps_the_metadata(url, expected):
    assert link(url).url == expected


def test_the_name_is_the_uploaders():
    assert link(f"https://cdn.discordapp.com{PATH}").name == "a b.png"


@pytest.mark.parametrize(
    "path",
    ["/avatars/1/2.png", "/attachments/../secrets", "/attachments/%2e%2e/secrets", "/attachments/1/2/", "/attachments/1/2",
     "/attachments/1/2/..", "/attachments/1/2/%2E%2e", "/attachments/1/2/a%2f..%2fb", "/attachments/1/2/a%5cb", "/",
     "/attachments/1/2/a/b", "/attachments/x/2/a.png", "//attachments/1/2/a.png", "/attachments/1/2/a%00.png", ""],
)  # fmt: skip
def test_other_paths_are_refused(path):
    with pytest.raises(SourceError, match="Copy Link"):
        link(f"https://cdn.discordapp.com{path}")


@given(st.text(alphabet="/.%25eEfF0aé?#&=;:@[]attachments12", max_size=40))
def test_whatever_is_taken_is_one_attachment(tail):
    try:
        found = link(f"https://cdn.discordapp.com/attachments/1/2/{tail}")
    except SourceError:
        return
    assert found.target.startswith("/attachments/1/2/") and found.path.count("/") == 4
    assert found.name not in ("", ".", "..") and "/" not in found.name


def test_expired_links_are_recognised_without_asking(monkeypatch):
    monkeypatch.setattr(discord, "http_post", lambda *_: pytest.fail("Discord was asked"))
    monkeypatch.setattr(discord, "http_get", lambda *_: pytest.fail("Discord was asked"))
    old = link(f"https://cdn.discordapp.com{PATH}?ex=65000000&is=1&hm=ab")
    assert old.expired(0x65000000) and not old.expired(0x64FFFFFF)
    with pytest.raises(SourceError, match=rf"expired \(2023-09-12 06:06 UTC\).*Copy.*{TOKEN}"):
        with_valid_link(old)


@pytest.mark.parametrize("ex", ["", "zz", "-1", "1" * 40, "٣"])
def test_an_end_that_cannot_be_read_is_no_end(ex):
    found = link(f"https://cdn.discordapp.com{PATH}?ex={ex}&is=1&hm=ab")
    assert found.expires is None and with_valid_link(found) == found


def renewal(url: str, status: str = "200 OK", more: str = ""):
    return answering(json.dumps({"refreshed_urls": [{"original": "x", "refreshed": url}]}).encode(), status, more=more)


def test_an_expired_link_is_renewed_with_a_token(tls_host):
    fresh = f"https://cdn.discordapp.com{PATH}?ex={SOON}&is=5&hm=new&"
    host = tls_host(renewal(fresh))
    old = link(f"https://media.discordapp.net{PATH}?ex=65000000&is=1&hm=ab&width=9")
    assert with_valid_link(old, SECRET, host.policy()).url == fresh.rstrip("&")
    head, _, body = host.requests[0].decode().partition("\r\n\r\n")
    assert (
        head.startswith("POST /api/v10/attachments/refresh-urls HTTP/1.1\r\n") and "\r\nHost: discord.com\r\n" in head
    )
    assert f"\r\nAuthorization: Bot {SECRET}" in head and "\r\nUser-Agent: DiscordBot (" in head
    assert json.loads(body) == {"attachment_urls": [old.url]}


def test_a_link_without_its_signature_is_renewed_with_a_token(tls_host):
    host = tls_host(renewal(f"https://cdn.discordapp.com{PATH}?ex={SOON}&is=5&hm=new"))
    assert with_valid_link(link(f"https://cdn.discordapp.com{PATH}"), SECRET, host.policy()).signed


def test_a_link_that_still_works_is_left_alone(tls_host):
    host = tls_host()
    found = link(f"https://cdn.discordapp.com{PATH}?ex={SOON}&is=1&hm=ab")
    assert with_valid_link(found, SECRET, host.policy()) == found and host.connections == 0


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (renewal("", "401 Unauthorized"), f"{TOKEN} \\(401\\)"),
        (renewal("", "429 Too Many Requests", "Retry-After: 7.5\r\n"), "in 7.5 s"),
        (renewal("", "500 Oops"), "500"),
        (answering(b"<html>"), "did not renew"),
        (answering(b"[" * 100_000), "did not renew"),
        (answering(b'{"refreshed_urls": []}'), "did not renew"),
        (answering(b'{"refreshed_urls": [{"refreshed": 5}]}'), "did not renew"),
        (renewal(f"https://evil.example{PATH}?ex={SOON}&is=1&hm=2"), "did not renew"),
        (renewal(f"https://cdn.discordapp.com/attachments/9/9/other.png?ex={SOON}&is=1&hm=2"), "did not renew"),
        (renewal(f"https://cdn.discordapp.com{PATH}?ex=65000000&is=1&hm=2"), "did not renew"),
        (answering(b"", "302 Found", more="Location: https://evil.example/\r\n"), "did not renew"),
    ],
)
def test_what_discord_does_not_renew_is_told_without_the_token(tls_host, act, words):
    host = tls_host(act)
    with pytest.raises(SourceError, match=words) as error:
        refresh(link(f"https://cdn.discordapp.com{PATH}?ex=1&is=1&hm=ab"), SECRET, host.policy())
    assert SECRET not in str(error.value) and host.connections == 1


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "Übel", ""])
def test_a_token_that_cannot_be_one_is_not_sent(tls_host, token):
    host = tls_host()
    with pytest.raises(SourceError, match=TOKEN) as error:
        refresh(link(f"https://cdn.discordapp.com{PATH}?ex=1&is=1&hm=ab"), token, host.policy())
    assert not token or token not in str(error.value)
    assert host.connections == 0


def test_an_attachment_does_not_show_its_signature():
    assert "secret" not in repr(link(f"https://cdn.discordapp.com{PATH}?ex=1&is=1&hm=secret"))
