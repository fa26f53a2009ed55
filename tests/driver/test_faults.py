"""What goes wrong around a job, by killing and breaking real things.

Whatever it is: the job ends done, or with one clear error; nothing is left queued and no file half-written.
docs/faults.md has these as a table; ``-rP`` prints the times to recover that stand there.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from faulty_line import Line, frame
from PIL import Image
from stock_graphs import blurred, graph

from distillery.driver import CancelToken, JobCancelled, JobError, JobOutOfMemory, ServerError, Upscaler, paths
from distillery.driver.errors import JobRefused
from distillery.driver.events import Message, Stage, Step
from distillery.driver.server import api, managed
from distillery.driver.server import client as client_module
from distillery.driver.server.client import ComfyClient
from distillery.driver.server.event_stream import EventStream, Executing, NodeProgress, Other
from distillery.nodes.parameters import MINI_NAME

pytestmark = [pytest.mark.server, pytest.mark.slow]

MINI = {"prompt": "a hill", "model": MINI_NAME}
UPSCALE, SAMPLE = "Upscale 2x", "HiRes pass (KSampler)"


def picture(path: Path, size: int = 64) -> Path:
    """A picture that no server has seen, so that nothing of its job comes out of a cache."""
    levels = np.random.default_rng().integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return picture(tmp_path / "noise.png")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def client(server: managed.RunningServer) -> Iterator[ComfyClient]:
    client = ComfyClient(server.url)
    yield client
    client.close()


@pytest.fixture
def line(server: managed.RunningServer) -> Iterator[Line]:
    line = Line(server.url)
    yield line
    line.close()


@pytest.fixture(scope="module")
def instance(models: Path) -> Iterator[str]:
    """Name of a managed server that may be broken; whatever happens to it, it is no other test's."""
    name = f"faults-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLERY_MODELS", str(models))
        try:
            yield name
        finally:
            managed.stop(name)
            shutil.rmtree(paths.servers_dir() / name, ignore_errors=True)
            (paths.servers_dir() / f"{name}.lock").unlink(missing_ok=True)


class Strike:
    """Breaks something once, when a job comes to a point, and notes when."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.at = 0.0

    def __call__(self) -> None:
        if not self.at:
            self.at = time.monotonic()
            self.act()

    def recovered(self) -> None:
        assert self.at, "nothing was broken"
        print(f"recovered in {time.monotonic() - self.at:.1f} s")


class Messages(list[str]):
    """What a job said, for ``on_progress``."""

    def __call__(self, event: object) -> None:
        if isinstance(event, Message):
            self.append(event.text)


def remaining(url: str) -> int:
    client = ComfyClient(url)
    try:
        return client.queue_length()
    finally:
        client.close()


def idle(url: str, seconds: float = 20) -> bool:
    """Whether nothing is left queued; a step at work may still end."""
    deadline = time.monotonic() + seconds
    while remaining(url) and time.monotonic() < deadline:
        time.sleep(0.1)
    return remaining(url) == 0


def only_result(out: Path) -> bool:
    """Whether there is the whole result and nothing else, hidden files included."""
    assert [p.name for p in out.iterdir()] == ["noise_2x.png"]
    with Image.open(out / "noise_2x.png") as image:
        image.load()
        return image.size == (128, 128)


# --- the server's process ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["queued", "start", "sampling", "download"])
def test_a_killed_server_is_started_again_and_the_job_done(instance, source, out, monkeypatch, point):
    running = managed.ensure(instance)
    kill = Strike(lambda: os.kill(running.pid, signal.SIGKILL))
    parameters = {"power": 0.2, **MINI} if point == "sampling" else {"power": 0}

    def report(event):
        if (point == "start" and isinstance(event, Stage)) or (
            point == "sampling" and isinstance(event, Step) and event.title == SAMPLE
        ):
            kill()

    if point == "download":
        view = ComfyClient.view
        monkeypatch.setattr(ComfyClient, "view", lambda self, image: kill() or view(self, image))
    if point == "queued":
        other = ComfyClient(running.url)
        other.request("POST", "/prompt", json={"prompt": blurred(1500, 40)})

        def when_queued():
            while other.queue_length() < 2:
                time.sleep(0.05)
            kill()

        threading.Thread(target=when_queued, daemon=True).start()
    with Upscaler(instance=instance, out=out) as upscaler:
        result = upscaler.upscale(source, on_progress=report, **parameters)
    kill.recovered()
    assert only_result(out) and result.path == out / "noise_2x.png"
    if point != "download":  # then the result is taken from the server's folder, and no new one is needed
        assert idle(result.server) and result.server != running.url


def test_a_server_that_was_restarted_by_others_runs_the_job_again(instance, source, out):
    """Its queue and its history are gone; the driver was given its address and has no process to look at."""
    running = managed.ensure(instance)
    line = Line(running.url)

    def restart():
        os.kill(running.pid, signal.SIGKILL)
        threading.Thread(target=lambda: line.lead_to(managed.ensure(instance).url), daemon=True).start()

    killed = Strike(restart)
    messages = Messages()

    def report(event):
        if isinstance(event, Stage):
            killed()
        messages(event)

    try:
        with Upscaler(server=line.url, out=out) as upscaler:
            upscaler.upscale(source, on_progress=report, power=0)
        killed.recovered()
        assert only_result(out) and idle(line.url) and "lost the job" in "".join(messages)
    finally:
        line.close()


def test_a_hung_server_is_replaced_and_the_job_done(instance, source, out, monkeypatch):
    monkeypatch.setattr(client_module, "UNREACHABLE_TIMEOUT", 3.0)
    monkeypatch.setattr(api, "STATUS_TIMEOUT", (1, 2))
    monkeypatch.setattr(api, "HTTP_TIMEOUT", (1, 5))
    running = managed.ensure(instance)
    hang = Strike(lambda: os.kill(running.pid, signal.SIGSTOP))
    messages = Messages()

    def report(event):
        if isinstance(event, Stage):
            hang()
        messages(event)

    with Upscaler(instance=instance, out=out) as upscaler:
        monkeypatch.setattr(api, "HTTP_TIMEOUT", (10, 60))
        result = upscaler.upscale(source, on_progress=report, power=0)
    hang.recovered()
    assert only_result(out) and idle(result.server) and not running.is_alive()
    assert "ComfyUI is stuck and is restarted." in messages


def test_a_server_that_hangs_for_a_while_is_waited_for(instance, source, out):
    running = managed.ensure(instance)

    def pause():
        os.kill(running.pid, signal.SIGSTOP)
        threading.Timer(5, os.kill, (running.pid, signal.SIGCONT)).start()

    hang = Strike(pause)
    with Upscaler(instance=instance, out=out) as upscaler:
        upscaler.upscale(source, on_progress=lambda event: isinstance(event, Stage) and hang(), power=0)
    hang.recovered()
    assert only_result(out) and idle(running.url) and running.is_alive()


limits_others = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux can limit another process")


class Starved:
    """Leaves the first servers that it is given too little memory for a job with distillery-mini.

    From their start on, as one that has worked keeps what that took, and no limit is sure to be too little for it. A
    job's enlarging takes up to 190 MiB, which is there, with some for threads; then a file of 296 MiB is mapped.
    """

    def __init__(self, servers: int) -> None:
        self.servers = servers
        self.at = 0.0

    def __call__(self, running: managed.RunningServer) -> managed.RunningServer:
        if self.servers:
            self.servers -= 1
            self.at = time.monotonic()
            _, hard = resource.prlimit(running.pid, resource.RLIMIT_AS)
            little = psutil.Process(running.pid).memory_info().vms + (320 << 20)
            resource.prlimit(running.pid, resource.RLIMIT_AS, (little, hard))
        return running


@pytest.fixture
def never_used(instance: str) -> Iterator[str]:
    """The same with no server running yet, nor one that is out of memory afterwards."""
    managed.stop(instance)
    yield instance
    managed.stop(instance)


@limits_others
@pytest.mark.parametrize("times", [1, 2])
def test_a_managed_server_out_of_memory_is_started_again_for_smaller_tiles(never_used, source, out, monkeypatch, times):
    ensure, starved = managed.ensure, Starved(times)
    monkeypatch.setattr(managed, "ensure", lambda *given, **named: starved(ensure(*given, **named)))
    again = times == 2
    messages = Messages()

    with Upscaler(instance=never_used, out=out) as upscaler:
        if again:
            with pytest.raises(JobOutOfMemory, match=r"ran out of main memory\. .* upscale a smaller image\.$"):
                upscaler.upscale(source, on_progress=messages, power=0.2, **MINI)
            assert not list(out.iterdir())
        result = upscaler.upscale(source, on_progress=messages, power=0.2, **MINI)
    print(f"recovered in {time.monotonic() - starved.at:.1f} s")
    assert only_result(out) and starved.servers == 0
    assert any("out of memory" in text for text in result.warnings) == (not again)
    assert messages.count("ComfyUI ran out of main memory and is restarted.") == 1 + again
    assert sum("tiles of 512" in text for text in messages) == 1


@limits_others
def test_a_given_server_out_of_memory_is_not_restarted_and_that_is_told(never_used, source, out):
    running = Starved(1)(managed.ensure(never_used))
    messages = Messages()

    with Upscaler(server=running.url, out=out) as upscaler, pytest.raises(JobOutOfMemory, match="Restart that ComfyUI"):
        upscaler.upscale(source, on_progress=messages, power=0.2, **MINI)
    assert sum("tiles of 512" in text for text in messages) == 1
    assert not list(out.iterdir()) and running.is_alive() and idle(running.url)


# --- the socket --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["execution_start", "executing", "progress", "executed", "execution_success"])
def test_a_dropped_socket_is_restored_and_the_job_done(line, source, out, monkeypatch, point):
    drop = Strike(line.drop_websockets)
    seen: list[str] = []
    deliver = EventStream.deliver

    def watched(self, prompt_id, event):
        kind = {Executing: "executing", NodeProgress: "progress"}.get(type(event)) or getattr(event, "kind", "")
        seen.append(kind)
        deliver(self, prompt_id, event)
        if kind == point:
            drop()

    monkeypatch.setattr(EventStream, "deliver", watched)
    with Upscaler(server=line.url, out=out) as upscaler:
        upscaler.upscale(source, power=0)
        drop.recovered()
        assert only_result(out) and remaining(line.url) == 0
        seen.clear()
        upscaler.upscale(source, power=0, sharpen=0.1)
        assert "executing" in seen, "the next job is heard, however short"


def test_a_second_socket_with_the_same_id_takes_nothing_from_the_job(server, source, out):
    with Upscaler(server=server.url, out=out) as upscaler:

        def intrude():
            client_id = upscaler.backend.pool.servers[0].server.connect(print).events.client_id
            server.endpoint.connect_websocket(f"/ws?clientId={client_id}", 10).close()

        intruder = Strike(intrude)
        upscaler.upscale(source, on_progress=lambda event: intruder(), power=0)
    intruder.recovered()
    assert only_result(out)


def test_malformed_frames_are_passed_over(server, source, out):
    """Behind each frame of the server come broken ones, some of this very job; one breaks the protocol."""
    injected = []

    def inject(payload: bytes) -> bytes:
        try:
            job = json.loads(payload)["data"]["prompt_id"]
        except (ValueError, KeyError, TypeError):
            return b""
        events: list[object] = [
            None, 7, [], "text", {}, {"type": 5, "data": {"prompt_id": job}}, {"type": "executing", "data": None},
            {"type": "executing", "data": {"prompt_id": job, "node": ["a"]}},
            {"type": "progress", "data": {"prompt_id": job, "value": float("nan"), "max": float("inf")}},
            {"type": "progress", "data": {"prompt_id": job, "value": "1", "max": {}}},
            {"type": "execution_cached", "data": {"prompt_id": job, "nodes": 5}},
            {"type": "preview", "data": {"prompt_id": job, "image": "no bytes"}},
            {"data": {"prompt_id": job}},
        ]  # fmt: skip
        broken = [frame(json.dumps(event).encode()) for event in events]
        broken += [frame(b'{"type": '), frame(b"\xff\xfe"), frame(b"", 2), frame(b"\0\0\0\4", 2)]
        broken += [frame(struct.pack(">II", 4, 1 << 31) + b"x", 2), frame(struct.pack(">II", 4, 2) + b"[]", 2)]
        injected.append(payload)
        if len(injected) == 3:
            broken.append(frame(b"", 3))
        return b"".join(broken)

    line = Line(server.url, inject=inject)
    try:
        with Upscaler(server=line.url, out=out) as upscaler:
            upscaler.upscale(source, power=0)
    finally:
        line.close()
    assert len(injected) >= 3 and only_result(out)


# --- jobs --------------------------------------------------------------------------------------------------------


def test_a_job_that_the_server_has_forgotten_is_run_again(server, client, source, out, monkeypatch):
    forget = Strike(lambda: client.request("POST", "/history", json={"clear": True}))
    history = ComfyClient.history
    monkeypatch.setattr(ComfyClient, "history", lambda self, job: forget() or history(self, job))
    with Upscaler(server=server.url, out=out) as upscaler:
        upscaler.upscale(source, power=0)
    forget.recovered()
    assert only_result(out) and remaining(server.url) == 0


def test_a_cancel_at_the_very_start_of_a_job_is_not_lost(server, client, source, out):
    """There ComfyUI may reset what was just set: it is asked for until the job has ended."""
    for _ in range(8):
        token = CancelToken()
        done = Strike(token.cancel)

        def note(event, done=done):
            if event == Other("execution_start"):
                done()

        with pytest.raises(JobCancelled):
            client.run(blurred(1500, 40, color=int(time.monotonic() * 1000) % 1_000_000), None, None, note, token)
    done.recovered()
    assert idle(server.url)


def test_another_clients_interrupt_is_told(server, client, source, out):
    interrupt = Strike(lambda: client.request("POST", "/interrupt"))
    with Upscaler(server=server.url, out=out) as upscaler, pytest.raises(JobCancelled, match="somebody else"):
        upscaler.upscale(source, on_progress=lambda e: getattr(e, "title", "") == UPSCALE and interrupt(), power=0)
    interrupt.recovered()
    assert not list(out.iterdir()) and idle(server.url)


def test_a_node_that_raises_is_told_by_its_title(server, models, source, out):
    broken = models / "checkpoints" / "broken.safetensors"
    broken.write_bytes(b"no weights")
    try:
        with Upscaler(server=server.url, out=out) as upscaler:
            with pytest.raises(JobError, match=r"^Load Models") as error:
                upscaler.upscale(source, power=0.2, prompt="a hill", model="broken")
            assert "Traceback" not in str(error.value) and not list(out.iterdir())
            upscaler.upscale(source, power=0)
    finally:
        broken.unlink()
    assert only_result(out) and idle(server.url)


def test_a_job_that_would_run_in_part_is_refused(client):
    """ComfyUI answers 200 where one output of several can be made."""
    nodes = graph()
    nodes["3"] = {"class_type": "SaveImage", "inputs": {"images": ["9", 0], "filename_prefix": "x"}}
    nodes["9"] = {"class_type": "EmptyImage", "inputs": {"width": -5, "height": 64, "batch_size": 1, "color": 0}}
    with pytest.raises(JobRefused, match="EmptyImage"):
        client.run(nodes)
    assert idle(client.url)


# --- disks -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def full_disk(folder: Path, size: str = "64k") -> Iterator[Path]:
    """A disk with next to no room."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a tmpfs can only be mounted by root")
    try:
        (folder / "ballast").write_bytes(bytes(60 << 10))
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_leaves_no_half_of_a_result(server, source, out):
    with full_disk(out), Upscaler(server=server.url, out=out) as upscaler:
        with pytest.raises(JobError, match=r"cannot be written to .*No space left"):
            upscaler.upscale(source, power=0)
        assert [p.name for p in out.iterdir()] == ["ballast"]
    assert remaining(server.url) == 0


def test_a_server_whose_disk_is_full_is_told(server, source, out):
    folder = server.output / "distillery"
    with full_disk(folder), Upscaler(server=server.url, out=out) as upscaler:
        with pytest.raises(JobError, match="No space left"):
            upscaler.upscale(source, power=0)
        assert not list(out.iterdir()) and idle(server.url)


# --- the network -------------------------------------------------------------------------------------------------


def test_a_slow_network_is_no_error(server, source, out, monkeypatch):
    """Each part takes longer than the timeout, which is about silence and not about duration."""
    monkeypatch.setattr(api, "HTTP_TIMEOUT", (2, 2))
    line = Line(server.url, rate=16_000)
    try:
        with Upscaler(server=line.url, out=out) as upscaler:
            started = time.monotonic()
            result = upscaler.upscale(source, power=0)
            assert result.path.stat().st_size > 2 * 16_000 and time.monotonic() - started > 3
    finally:
        line.close()
    assert only_result(out)


@pytest.mark.parametrize("part", ["upload", "download"])
@pytest.mark.parametrize("restored", [True, False])
def test_a_stalled_transfer_is_tried_again_and_given_up(line, source, out, monkeypatch, part, restored):
    monkeypatch.setattr(api, "HTTP_TIMEOUT", (1, 1))
    stall = Strike(line.flowing.clear)
    attempts = []
    name = "view" if part == "download" else "request"
    real = getattr(ComfyClient, name)

    def stalling(self, *given, **options):
        if part == "download" or given[1] == "/upload/image":
            attempts.append(given)
            stall()
            if restored and len(attempts) == 2:
                line.sever()  # what the first attempt left behind
                line.flowing.set()
                line.cut = False
        return real(self, *given, **options)

    monkeypatch.setattr(ComfyClient, name, stalling)
    with Upscaler(server=line.url, out=out) as upscaler:
        if restored:
            upscaler.upscale(source, power=0)
            assert only_result(out)
        else:
            with pytest.raises(ServerError, match=r"timed out|broke off|connection failed"):
                upscaler.upscale(source, power=0)
            assert not list(out.iterdir())
    stall.recovered()
    assert len(attempts) == 2 or (part == "download" and not restored)
    line.sever()
    line.flowing.set()


def test_an_upload_that_is_too_large_is_told(client):
    with pytest.raises(JobRefused, match="--max-upload-size"):
        client.upload_image(bytes(101 << 20), "png")
