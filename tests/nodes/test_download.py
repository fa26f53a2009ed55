"""Downloads from a real HTTP server on this machine, which misbehaves as asked."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from distillery.nodes.model_files import download as download_module
from distillery.nodes.model_files.download import DownloadError, download, offline, sha256_of
from distillery.nodes.model_files.file_lock import exclusive
from distillery.nodes.model_files.ultrasharp import ensure_ultrasharp

CONTENT = bytes(hashlib.shake_128(b"content").digest(3_000_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG = bytes(hashlib.shake_128(b"other").digest(len(CONTENT)))


class Handler(http.server.BaseHTTPRequestHandler):
    """The path says how to behave: /good, /no-range, /truncated, /wrong, …"""

    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1)) if asked else 0  # type: ignore[union-attr]
        how = self.path.strip("/")
        if how == "missing":
            return self.send_error(404)
        if how == "redirect":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if how == "hang" or (how == "stall" and start):
            return self.wait()
        if how == "no-416" and start:
            return self.send_error(416)
        body = WRONG if how == "wrong" else CONTENT[:1000] if how == "portal" else CONTENT
        if how in ("no-range", "no-416"):
            start = 0
        if how == "longer":
            body = CONTENT + b"x"
        if how == "other-range" and start:
            start += 1
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if how not in ("unannounced", "longer"):
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        body = body[start:]
        if how == "truncated":
            body = body[: 700_000 if start == 0 else 500_000]
        if how == "truncated-once" and not start:
            body = body[:700_000]
        if how in ("stall", "slow"):
            self.wfile.write(body[:1_000_000])
            self.wfile.flush()
            if how == "stall":
                return self.wait()
            for i in range(1_000_000, len(body), 20_000):
                if self.server.closing.wait(0.05):
                    return None
                self.wfile.write(body[i : i + 20_000])
            return None
        self.wfile.write(body)
        return None

    def wait(self) -> None:
        self.server.closing.wait(30)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []
        self.closing = threading.Event()

    def handle_error(self, *_: object) -> None:
        pass  # clients that hang up are the point of these tests

    def url(self, how: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{how}"


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_proxy_and_online(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("DISTILLERY_OFFLINE", raising=False)


def fetch(target: Path, *urls: str, **options: object) -> Path:
    return download(urls, target, len(CONTENT), SHA256, timeout=options.pop("timeout", 5), **options)  # type: ignore[arg-type]


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "models" / "model.pth"


def part_of(target: Path) -> Path:
    return target.with_name("model.pth.part")


@pytest.mark.parametrize("how", ["good", "unannounced", "redirect"])
def test_file_arrives_whole_and_alone(server, target, how):
    seen: list[tuple[int, int]] = []
    assert fetch(target, server.url(how), progress=lambda done, total: seen.append((done, total))) == target
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["model.pth"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_file_that_is_there_is_returned_without_a_request(server, target):
    target.parent.mkdir()
    target.write_bytes(b"the user's own")
    assert fetch(target, server.url("good")) == target
    assert target.read_bytes() == b"the user's own"
    assert server.requests == []


def test_part_is_resumed_where_it_ends(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:1_234_567])
    fetch(target, server.url("good"))
    assert target.read_bytes() == CONTENT
    assert server.requests == [("/good", "bytes=1234567-")]


def test_part_that_is_complete_needs_no_request(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    fetch(target, server.url("missing"))
    assert target.read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.parametrize(
    ("how", "requests"),
    [
        ("no-range", ["bytes=1000-"]),
        ("no-416", ["bytes=1000-", None]),
    ],
)
def test_server_that_cannot_resume_sends_all_again(server, target, how, requests):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:1000])
    fetch(target, server.url(how))
    assert target.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == requests


@pytest.mark.parametrize(
    "part", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)], ids=["bad", "bad and full", "too long"]
)
def test_part_of_something_else_is_thrown_away(server, target, part):
    target.parent.mkdir()
    part_of(target).write_bytes(part)
    fetch(target, server.url("good"))
    assert target.read_bytes() == CONTENT
    assert server.requests[-1] == ("/good", None)


def test_broken_connection_is_resumed_in_the_same_call(server, target):
    fetch(target, server.url("truncated-once"))
    assert target.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=700000-"]


def test_connection_that_breaks_often_is_resumed_often(server, target):
    fetch(target, server.url("truncated"))
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 6


@pytest.mark.parametrize("first", ["missing", "wrong", "portal", "longer", "hang"])
def test_next_mirror_is_tried_when_one_fails(server, target, first):
    fetch(target, server.url(first), server.url("good"), timeout=0.5)
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["model.pth"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "HTTP 404 Not Found"),
        ("wrong", r"sent another file \(SHA-256 [0-9a-f]{64}, expected " + SHA256),
        ("portal", r"offers another file \(1,000 bytes, expected 3,000,000\)"),
        ("longer", "sent more than the 3,000,000 bytes"),
        ("hang", r"no answer within 0\.5 s"),
    ],
)
def test_failure_says_what_was_asked_and_why_it_failed(server, target, how, message):
    url = server.url(how)
    with pytest.raises(DownloadError, match=rf"model\.pth could not be downloaded\. {re.escape(url)}: {message}"):
        fetch(target, url, timeout=0.5)
    assert not target.exists()
    assert list(target.parent.iterdir()) == []


def test_answer_with_another_range_is_not_appended(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match="another part of the file than the one from byte 1000"):
        fetch(target, server.url("other-range"))
    assert part_of(target).read_bytes() == CONTENT[:1000]


def test_every_mirror_is_named_in_the_error(server, target):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
        with pytest.raises(DownloadError) as error:
            fetch(target, refused, server.url("missing"), "http://host.invalid/x")
    assert f"{refused}: Connection refused" in str(error.value) or os.name == "nt"
    assert f"{server.url('missing')}: HTTP 404" in str(error.value)
    assert "http://host.invalid/x: " in str(error.value)


def test_stall_keeps_what_arrived_for_the_next_call(server, target):
    with pytest.raises(DownloadError, match=r"no answer within 0\.5 s.* 1,000,000 bytes that are there will be used"):
        fetch(target, server.url("stall"), timeout=0.5)
    assert part_of(target).read_bytes() == CONTENT[:1_000_000]
    fetch(target, server.url("good"))
    assert server.requests[-1] == ("/good", "bytes=1000000-")
    assert target.read_bytes() == CONTENT


class StopNowError(Exception):
    pass


@pytest.mark.parametrize("how", ["hang", "slow"])
def test_interruption_ends_the_download_at_once_and_keeps_the_part(server, target, how):
    begin = time.monotonic()

    def interrupted() -> None:
        if time.monotonic() - begin > 0.5:
            raise StopNowError

    with pytest.raises(StopNowError):
        fetch(target, server.url(how), interrupted=interrupted, timeout=20)
    assert time.monotonic() - begin < 3
    assert not target.exists()
    assert not target.with_name("model.pth.lock").exists()
    if how == "slow":
        part = part_of(target).read_bytes()
        assert len(part) >= 1_000_000
        assert CONTENT.startswith(part)


@pytest.mark.parametrize("value", ["1", "true", " yes "])
def test_offline_opens_no_socket(server, target, monkeypatch, value):
    monkeypatch.setenv("DISTILLERY_OFFLINE", value)
    assert offline()
    with pytest.raises(DownloadError, match="DISTILLERY_OFFLINE forbids"):
        fetch(target, server.url("good"))
    assert server.requests == []
    assert not target.parent.exists()


@pytest.mark.parametrize("value", ["", "0", "no", "False"])
def test_offline_can_be_switched_off(server, target, monkeypatch, value):
    monkeypatch.setenv("DISTILLERY_OFFLINE", value)
    assert fetch(target, server.url("good")).is_file()


def test_full_disk_is_told_before_anything_is_asked(server, target, monkeypatch):
    usage = type("usage", (), {"free": 20_000_000})
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"model\.pth needs 37 MB of free space .* 20 MB are free"):
        fetch(target, server.url("good"))
    assert server.requests == []


def test_folder_that_cannot_be_made_is_one_clear_error(server, tmp_path):
    (tmp_path / "models").write_bytes(b"a file, not a folder")
    with pytest.raises(DownloadError, match=r"model\.pth cannot be written to .*models"):
        fetch(tmp_path / "models" / "model.pth", server.url("good"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_that_fills_up_meanwhile_is_told_as_such(server, target):
    target.parent.mkdir()
    part_of(target).symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="No space left on device"):
        fetch(target, server.url("good"))
    assert len(server.requests) == 1


SCRIPT = """
import sys
from pathlib import Path
from distillery.nodes.model_files.download import download
url, target, size, sha = sys.argv[1:]
def report(done, total):
    print(done, flush=True)
download([url], Path(target), int(size), sha, report, timeout=10)
print("done", flush=True)
"""


def start(server: Server, how: str, target: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.url(how), str(target), str(len(CONTENT)), SHA256],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "interrupt"])
def test_download_that_was_killed_half_way_is_resumed(server, target, how):
    if how == "interrupt" and os.name == "nt":
        pytest.skip("Windows has no SIGINT for a child of its own")
    process = start(server, "slow", target)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 1_000_000:
        pass
    if how == "kill":
        process.kill()
    else:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    kept = part_of(target).stat().st_size
    assert 1_000_000 <= kept < len(CONTENT)
    assert not target.exists()

    begin = time.monotonic()
    fetch(target, server.url("good"))
    assert time.monotonic() - begin < 2  # the dead process's lock does not hold it up
    assert server.requests[-1] == ("/good", f"bytes={kept}-")
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["model.pth"]


@pytest.mark.slow
def test_processes_that_want_the_same_file_take_turns(server, target):
    processes = [start(server, "slow", target) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert all(out.endswith("done\n") for out, _ in outputs)
    assert len(server.requests) == 1
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["model.pth"]


def test_lock_excludes_threads_and_is_left_nowhere(tmp_path):
    lock, inside, most, turns = tmp_path / "x.lock", 0, 0, 0

    def work() -> None:
        nonlocal inside, most, turns
        for _ in range(5):
            with exclusive(lock) as locked:
                assert locked
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1
                turns += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == (1, 20)
    assert list(tmp_path.iterdir()) == []


def test_waiting_for_a_lock_can_be_given_up(tmp_path):
    def give_up() -> None:
        raise StopNowError

    with exclusive(tmp_path / "x.lock"), pytest.raises(StopNowError), exclusive(tmp_path / "x.lock", give_up):
        pass
    with exclusive(tmp_path / "x.lock", give_up) as locked:
        assert locked


def test_file_system_without_locks_has_a_part_for_each_process(server, target, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def unsupported(fd: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    target.parent.mkdir()
    part_of(target).write_bytes(WRONG[:1000])  # another process's
    fetch(target, server.url("good"))
    assert target.read_bytes() == CONTENT
    assert part_of(target).read_bytes() == WRONG[:1000]
    assert server.requests == [("/good", None)]


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "x").write_bytes(CONTENT)
    assert sha256_of(tmp_path / "x") == SHA256


def test_ultrasharp_that_is_there_is_used_as_it_is(tmp_path):
    said: list[str] = []
    (tmp_path / "4x-UltraSharp.pth").write_bytes(b"a half precision copy")
    assert ensure_ultrasharp(tmp_path, say=said.append, urls=()) == tmp_path / "4x-UltraSharp.pth"
    assert len(said) == 1 and "21 bytes, the original has 66,961,958" in said[0]


def test_ultrasharp_tells_its_licence_before_it_asks(server, tmp_path):
    said: list[tuple[str, int]] = []
    with pytest.raises(DownloadError):
        ensure_ultrasharp(
            tmp_path, say=lambda text: said.append((text, len(server.requests))), urls=(server.url("missing"),)
        )
    assert len(said) == 1
    assert "CC BY-NC-SA 4.0" in said[0][0] and said[0][1] == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize("how", ["offline", "missing", "good"])
def test_ultrasharp_that_cannot_be_had_is_one_error_with_file_folder_and_alternative(
    server, tmp_path, monkeypatch, how
):
    if how == "offline":
        monkeypatch.setenv("DISTILLERY_OFFLINE", "1")
    with pytest.raises(DownloadError) as error:
        ensure_ultrasharp(tmp_path, say=lambda text: None, urls=(server.url(how),))
    message = str(error.value)
    assert f"Put 4x-UltraSharp.pth into {tmp_path}" in message
    assert "Load UltraSharp node" in message and "RealESRGAN_x4plus" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []
