"""The door of a managed server: strangers on this machine and pages of the web stay out, the editor and the driver get in."""

import os
import stat

import pytest
import requests
import websocket

from distillery.driver import Upscaler, paths
from distillery.driver.errors import ServerError
from distillery.driver.server import access, managed
from distillery.driver.server.endpoint import HEADERS_VARIABLE
from distillery.driver.server.guard import cookie_name, host_allowed, matches, token_in, without_token

TOKEN = "t" * 43


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Host": "127.0.0.1:8188"}, True),
        ({"Host": "localhost"}, True),
        ({"Host": "[::1]:8188"}, True),
        ({"Host": "127.0.0.1:8188", "Origin": "http://localhost:8188"}, True),
        ({"Host": "evil.example:8188"}, False),  # DNS rebinding
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "127.0.0.1@evil.example"}, False),
        ({"Host": ""}, False),
        ({}, False),
        ({"Host": "127.0.0.1:8188", "Origin": "https://evil.example"}, False),
        ({"Host": "127.0.0.1:8188", "Origin": "null"}, False),
        ({"Host": "[::1"}, False),
    ],
)
def test_only_names_of_this_machine_are_let_in(headers, allowed):
    assert host_allowed(headers) is allowed


@pytest.mark.parametrize(
    ("authorization", "cookie", "allowed"),
    [
        (f"Bearer {TOKEN}", None, True),
        (f"bearer  {TOKEN}", None, True),
        ("Basic " + "OnR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dA==", None, False),  # another length
        (None, TOKEN, True),
        (None, None, False),
        (None, "", False),
        ("Bearer ", None, False),
        ("Basic !!!", None, False),
        (f"Bearer {TOKEN}x", None, False),
        ("Bearer \udcff", "\u00e9", False),
    ],
)
def test_only_the_token_opens(authorization, cookie, allowed):
    assert matches(token_in(authorization, cookie), TOKEN) is allowed


def test_the_link_loses_its_token_and_leads_nowhere_else():
    assert without_token(f"/?token={TOKEN}") == ("/", TOKEN)
    assert without_token(f"/a?x=1&token={TOKEN}&y=") == ("/a?x=1&y=", TOKEN)
    assert without_token("//evil.example/?token=a") == ("/evil.example/", "a")


def test_the_token_is_made_once_and_is_its_owners_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_HOME", str(tmp_path / "home"))
    token = access.server_token()
    assert len(token) >= 32 and access.server_token() == token
    file = paths.servers_dir() / "token"
    if os.name != "nt":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [stat.S_IMODE(p.stat().st_mode) for p in (paths.home(), paths.servers_dir())] == [0o700, 0o700]
    for broken in (b"", b"\xff\xfe\x00"):  # cut off by a full disk; no text at all
        file.write_bytes(broken)
        assert len(access.server_token()) >= 32
    assert [p.name for p in paths.servers_dir().iterdir()] == ["token"]


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_a_home_that_others_share_keeps_its_mode(tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir(mode=0o755)
    monkeypatch.setenv("DISTILLERY_HOME", str(tmp_path / "shared"))
    access.server_token()
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o755
    assert stat.S_IMODE(paths.servers_dir().stat().st_mode) == 0o700


@pytest.mark.server
@pytest.mark.slow
def test_a_stranger_gets_nothing_of_a_real_server(server):
    port = server.url.rpartition(":")[2]
    own = {"Authorization": f"Bearer {server.token}"}
    with requests.Session() as stranger:
        stranger.trust_env = False
        for method, path in (
            ("GET", "/"), ("GET", "/history"), ("GET", "/view?filename=a.png"), ("GET", "/system_stats"), ("POST", "/prompt"),
            ("POST", "/upload/image"), ("GET", "/ws"), ("GET", "/api/userdata?dir=."), ("OPTIONS", "/prompt"),
            ("GET", "/?token=wrong"), ("GET", "/distillery/recall?image=a.png"), ("POST", "/distillery/lease/x"),
        ):  # fmt: skip
            answer = stranger.request(method, f"{server.url}{path}", timeout=30)
            assert answer.status_code == 401 and server.token not in answer.text, path
        for headers in ({"Host": f"evil.example:{port}"}, {"Origin": "https://evil.example"}):
            answer = stranger.get(f"{server.url}/history", headers={**own, **headers}, timeout=30)
            assert answer.status_code == 403
        assert stranger.get(f"{server.url}/history", headers=own, timeout=30).status_code == 200
        # A browser opens the link, and comes back with the cookie.
        opened = stranger.get(server.editor_url, timeout=30)
        assert opened.status_code == 200 and server.token not in opened.text
        cookie = opened.headers["Set-Cookie"]
        assert cookie.startswith(f"{cookie_name(port)}=") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        page = stranger.get(f"{server.url}/", timeout=30)
        assert page.status_code == 200 and "<script" in page.text
    with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
        websocket.create_connection(f"ws://127.0.0.1:{port}/ws", suppress_origin=True, http_proxy_host=None)


@pytest.mark.server
@pytest.mark.slow
def test_the_owner_needs_no_token_for_a_server_of_ones_own(server, monkeypatch):
    monkeypatch.delenv(HEADERS_VARIABLE)
    pooled = Upscaler(server=server.url).backend.pool.servers[0]
    assert pooled.server.connect(print).system_stats()["system"]
    monkeypatch.setattr(managed, "instances", lambda: iter(()))  # of another home
    with pytest.raises(ServerError, match="--header"):
        Upscaler(server=server.url).backend.pool.servers[0].server.connect(print)
    for url in (server.editor_url, server.url.replace("//", f"//me:{server.token}@")):
        pooled = Upscaler(server=url).backend.pool.servers[0]
        assert server.token not in pooled.server.name
        assert pooled.server.connect(print).system_stats()["system"]
