"""The client against a real server: events, refusals, failures, cancelling, dropped sockets."""

from __future__ import annotations

import io
import socket
import threading
import time
import uuid

import pytest
from PIL import Image
from stock_graphs import blurred, graph, slow_graph

from distillery.driver.cancel import CancelToken
from distillery.driver.errors import JobCancelled, JobError, JobStuck, ServerError
from distillery.driver.server import client as client_module
from distillery.driver.server.client import ComfyClient
from distillery.driver.server.event_stream import EventStream, Executing, NodeProgress, Other

server_test = pytest.mark.server


@pytest.fixture
def client(server):
    client = ComfyClient(server.url)
    yield client
    client.close()


@server_test
def test_a_job_gives_events_outputs_and_its_file(client):
    events = []
    outcome = client.run(graph(), on_event=events.append)
    saved = outcome.outputs["2"]["images"][0]
    image = Image.open(io.BytesIO(b"".join(client.view(saved))))
    assert image.size == (64, 64)
    assert Other("execution_success") in events and events[-1] == Executing(None)


@server_test
def test_jobs_in_a_row_all_get_their_events(client):
    """A second socket with the same id would be forgotten by the server when the first one ends."""
    for _ in range(3):
        events: list = []
        client.run(graph(), on_event=events.append)
        assert events[-1] == Executing(None)


@server_test
def test_a_socket_that_broke_between_jobs_is_replaced_before_the_next(client):
    """A short job would be over before a broken one is made anew, and its id may be the server's to forget."""
    client.run(graph())
    first = client.events
    first.disconnect()
    deadline = time.monotonic() + 10
    while not first.is_stale and time.monotonic() < deadline:
        time.sleep(0.01)
    events: list = []
    client.run(graph(), on_event=events.append)
    assert client.events is not first and client.events.client_id != first.client_id
    assert events[-1] == Executing(None)


@server_test
def test_what_is_refused_is_told_by_node_and_reason(client):
    with pytest.raises(JobError) as error:
        client.run(graph(n1_width=-5))
    assert "EmptyImage" in str(error.value) and "-5" in str(error.value)
    missing = graph()
    missing["2"]["class_type"] = "NoSuchNode"
    with pytest.raises(JobError, match=r"The end.*not found"):
        client.run(missing)


@server_test
def test_a_node_that_fails_is_told_by_its_title_and_without_a_traceback(client, caplog):
    failing = graph()
    failing["1"] = {
        "class_type": "LoadImage", "inputs": {"image": client.upload_image(b"this is no image", "png")},
        "_meta": {"title": "My picture"},
    }  # fmt: skip
    failing["2"]["inputs"]["images"] = ["1", 0]
    with pytest.raises(JobError) as error:
        client.run(failing)
    assert str(error.value).startswith("My picture: ") and error.value.node == "My picture"
    assert "Traceback" not in str(error.value) and "File " not in str(error.value)
    assert "File " in caplog.text, "the details belong into the log"


@server_test
def test_the_same_image_is_uploaded_under_the_same_name(client):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    first, second = (client.upload_image(buffer.getvalue(), "png") for _ in range(2))
    assert first == second and first.endswith(".png [temp]")


@server_test
@pytest.mark.slow
def test_a_running_job_is_cancelled_and_the_queue_is_empty_afterwards(client):
    ids: list[str] = []
    job = str(uuid.uuid4())

    def note(event):
        if isinstance(event, NodeProgress) and not ids:
            ids.append(job)

    def cancel():
        while not ids:
            time.sleep(0.05)
        other = ComfyClient(client.url)
        assert other.cancel(ids[0])
        other.close()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(JobCancelled):
        client.run(slow_graph(), job, on_event=note)
    thread.join()
    assert client.get_json("/prompt")["exec_info"]["queue_remaining"] == 0


@server_test
@pytest.mark.slow
def test_an_interrupted_caller_leaves_nothing_running(client):
    def interrupt(event):
        if isinstance(event, NodeProgress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.run(slow_graph(), on_event=interrupt)
    deadline = time.monotonic() + 10
    while client.get_json("/prompt")["exec_info"]["queue_remaining"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert client.get_json("/prompt")["exec_info"]["queue_remaining"] == 0


@server_test
@pytest.mark.slow
def test_a_job_survives_a_dropped_socket(client):
    dropped = []

    def drop(event):
        if isinstance(event, NodeProgress) and not dropped:
            dropped.append(True)
            client.events.disconnect()

    outcome = client.run(slow_graph(steps=25), on_event=drop)
    assert dropped and outcome.outputs["6"]["images"]


@server_test
@pytest.mark.slow
def test_a_socket_that_the_server_forgot_is_made_anew(client, monkeypatch):
    """The end of a dropped socket, noticed late by the server, takes the new one of the same id off its list."""
    monkeypatch.setattr(client_module, "SILENT_SOCKET_TIMEOUT", 0.5)
    client.events = EventStream(client.endpoint)
    sid = client.events.client_id
    client.endpoint.connect_websocket(f"/ws?clientId={sid}", 10).close()
    time.sleep(1)
    client.run(blurred(700, 6))
    events: list = []
    client.run(graph(), on_event=events.append)
    assert any(isinstance(event, Executing) for event in events)


@server_test
@pytest.mark.slow
def test_a_job_that_cannot_be_heard_is_not_taken_for_stalled_so_soon(client, monkeypatch):
    class Deaf(EventStream):
        def _read(self):
            """As behind a proxy that lets no websocket through."""

    started = time.monotonic()
    client.run(blurred(1200, 4, color=2))
    client.close()
    monkeypatch.setattr(client_module, "EventStream", Deaf)
    monkeypatch.setattr(client_module, "STALL_TIMEOUT", (time.monotonic() - started) / 2)
    monkeypatch.setattr(client_module, "POLL", 0.1)
    assert client.run(blurred(1200, 4, color=3)).outputs["2"]["images"]


@server_test
@pytest.mark.slow
def test_a_job_without_progress_is_stuck_and_is_taken_off_the_server(client, monkeypatch):
    client.run(graph())  # so that the connection is known to hear
    monkeypatch.setattr(client_module, "STALL_TIMEOUT", 0.2)
    monkeypatch.setattr(client_module, "POLL", 0.1)
    with pytest.raises(JobStuck, match="no progress"):
        client.run(blurred(1500, 10, color=4))
    assert client.queue_length() == 0


@server_test
def test_a_cancelled_token_takes_a_queued_job_off_the_server(client):
    first, second = CancelToken(), CancelToken()
    errors: list = []

    def run(token, nodes):
        try:
            client.run(nodes, cancel=token)
        except JobError as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(t, blurred(1500, 40, color=5 + i))) for i, t in enumerate((first, second))
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while client.queue_length() < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    second.cancel()
    first.cancel()
    for thread in threads:
        thread.join(60)
    assert [type(error) for error in errors] == [JobCancelled] * 2 and client.queue_length() == 0


@server_test
def test_an_interrupt_while_the_job_is_posted_leaves_nothing_running(client, monkeypatch):
    real = client.request

    def interrupted(method, path, **options):
        response = real(method, path, **options)
        if path == "/prompt" and method == "POST":
            raise KeyboardInterrupt
        return response

    monkeypatch.setattr(client, "request", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.run(blurred(1500, 40))
    assert client.get_json("/prompt")["exec_info"]["queue_remaining"] == 0


@server_test
def test_an_unknown_job_is_not_there(client):
    assert client.job(str(uuid.uuid4())) is None
    assert client.history(str(uuid.uuid4())) is None


@server_test
def test_nodes_that_the_server_lacks_are_none(client):
    assert client.object_info("NoSuchNode") is None
    assert client.object_info("DistilleryParameters")["display_name"] == "Upscale Parameters"


def test_no_server_is_a_clear_error():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(ServerError, match=r"does not answer \(connection refused\)"):
        ComfyClient(url).system_stats()
    with pytest.raises(ServerError, match="http://"):
        ComfyClient("localhost:8188")


def test_another_web_server_is_not_taken_for_comfyui():
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    with pytest.raises(ServerError, match="not a ComfyUI"):
        ComfyClient(f"http://127.0.0.1:{listener.getsockname()[1]}").system_stats()
    thread.join(5)
    listener.close()
