"""How a server is reached: passwords, headers, certificates, proxies; the same for both channels, and no secret shown."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests
from tls_line import TlsLine

from distillery.driver import Upscaler
from distillery.driver.errors import ServerError
from distillery.driver.server.api import ComfyApi
from distillery.driver.server.client import ComfyClient
from distillery.driver.server.endpoint import HEADERS_VARIABLE, Endpoint, endpoint, parse_headers
from distillery.driver.server.event_stream import Executing

SECRET = "hunter2-secret"


@pytest.mark.parametrize(
    ("url", "shown", "header"),
    [
        ("http://127.0.0.1:8188/", "http://127.0.0.1:8188", None),
        (" https://gpu.example/comfy/ ", "https://gpu.example/comfy", None),
        (
            "http://me:hunter2-secret@host:1",
            "http://host:1",
            "Basic " + base64.b64encode(b"me:hunter2-secret").decode(),
        ),
        ("http://me:a%40b@host", "http://host", "Basic " + base64.b64encode(b"me:a@b").decode()),
        ("http://127.0.0.1:1/?token=hunter2-secret", "http://127.0.0.1:1", "Bearer hunter2-secret"),
        ("http://[::1]:8188", "http://[::1]:8188", None),
    ],
)
def test_urls_are_read_and_their_secrets_are_kept_apart(url, shown, header):
    found = endpoint(url, environ={})
    assert (found.url, found.headers.get("Authorization")) == (shown, header)
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8188",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://[::1",
        "http://host/?a=b",
        "",
        "http://host:99999",
    ],
)
def test_what_is_no_url_of_a_server_is_refused(url):
    with pytest.raises(ServerError, match="is not the URL of a server"):
        endpoint(url, environ={})


def test_no_error_shows_a_password():
    for url in (
        "ftp://me:hunter2-secret@host",
        "http://me:hunter2-secret@host:port",
        "http://h/?token=hunter2-secret&x=1",
    ):
        with pytest.raises(ServerError) as caught:
            endpoint(url, environ={})
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1", True), ("http://127.9.9.9:1", True), ("http://localhost", True), ("http://[::1]:1", True),
        ("http://127.0.0.1.evil.example", False), ("http://localhost.evil.example", False), ("http://10.0.0.1", False),
        ("http://notlocalhost", False), ("https://host/127.0.0.1", False),
    ],
)  # fmt: skip
def test_loopback_is_told_by_the_address_and_not_by_the_text(url, loopback):
    assert endpoint(url, environ={}).loopback is loopback


def test_headers_come_from_the_call_before_the_environment():
    environ = {HEADERS_VARIABLE: "Authorization: Bearer old\nX-Team: art\n"}
    assert endpoint("http://h", environ=environ).headers == {"Authorization": "Bearer old", "X-Team": "art"}
    found = endpoint("http://h", {"Authorization": "Bearer new"}, environ=environ)
    assert found.headers["Authorization"] == "Bearer new"
    for bad in ("no colon", "Bad Name: x", "A: b\r\nHost: evil", "A: \u6f22", ": x"):
        with pytest.raises(ServerError, match="Name: value") as caught:
            parse_headers([bad])
        assert "evil" not in str(caught.value)


class Answering(BaseHTTPRequestHandler):
    """Answers everything with what the test says."""

    status, location = 401, ""

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        if self.location:
            self.send_header("Location", self.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answering():
    httpd = HTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize(
    ("status", "location", "words"),
    [
        (401, "", "--header"),
        (403, "", "--header"),
        (407, "", r"proxy .* asks for a password"),
        (302, "https://me:hunter2-secret@login.example/x?token=hunter2-secret", "redirects to https://login.example/x"),
        (308, "", "redirects to nowhere"),
    ],
)
def test_what_stands_before_a_server_is_named(answering, monkeypatch, status, location, words):
    monkeypatch.setattr(Answering, "status", status)
    monkeypatch.setattr(Answering, "location", location)
    with pytest.raises(ServerError, match=words) as caught:
        ComfyApi(answering).system_stats()
    assert SECRET not in str(caught.value)


def test_a_password_of_netrc_is_not_sent(tmp_path, monkeypatch, answering):
    (tmp_path / "netrc").write_text("default login me password hunter2-secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    session = Endpoint("http://gpu.example").session()
    request = session.prepare_request(requests.Request("GET", "http://gpu.example/"))
    assert "Authorization" not in request.headers


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5h://127.0.0.1:9"])
def test_a_proxy_that_does_not_work_is_named(monkeypatch, proxy):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    with pytest.raises(ServerError, match="proxy"):
        ComfyApi("http://gpu.example:8188").system_stats()


def test_a_plain_server_asked_by_https_is_told(answering):
    with pytest.raises(ServerError, match="no secure connection"):
        ComfyApi(answering.replace("http:", "https:")).system_stats()


@pytest.mark.server
@pytest.mark.slow
def test_a_whole_job_through_tls_with_a_password(server, certificates, tmp_path, monkeypatch):
    """As behind a reverse proxy with a certificate of its own authority: progress is heard, and the password is nowhere."""
    monkeypatch.delenv(HEADERS_VARIABLE)
    line = TlsLine(server.url, certificates.servers["localhost"])
    url = f"https://me:{server.token}@localhost:{line.port}"
    try:
        with pytest.raises(ServerError, match=r"is not trusted .*--ca"):
            ComfyApi(url).system_stats()
        with pytest.raises(ServerError, match="no file of certificates"):
            ComfyApi(endpoint(url, ca=tmp_path / "nothing.pem")).system_stats()
        events = []
        with Upscaler(server=url, ca=certificates.file("localhost"), out=tmp_path) as upscaler:
            result = upscaler.upscale("examples/odd.png", "--power 0", events.append)
        assert result.path.exists() and any(type(event).__name__ == "Stage" for event in events)
        assert server.token not in json.dumps(result.as_dict()) and result.server == f"https://localhost:{line.port}"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.file("localhost")))
        assert ComfyApi(url).system_stats()["system"]
    finally:
        line.close()


@pytest.mark.server
@pytest.mark.slow
def test_a_proxy_of_the_environment_does_not_deafen_a_job_on_this_machine(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client, events = ComfyClient(server.endpoint), []
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 77}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    client.run(graph, on_event=events.append)
    assert any(isinstance(event, Executing) and event.node == "2" for event in events)
    client.close()
