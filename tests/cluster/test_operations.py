"""Bad input, the command line, webhooks, S3, metrics and the page: with the real things."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest
from cluster_database import Cluster
from cluster_workers import PNG, ROOT, task_for, until, waiting_job

from distillery.driver import CancelToken, Upscaler
from distillery.driver.cluster import schema
from distillery.driver.cluster.addresses import database_url, shown
from distillery.driver.cluster.backend import ClusterBackend
from distillery.driver.cluster.database import Database
from distillery.driver.cluster.errors import ClusterError, MissingObject, StoreError
from distillery.driver.cluster.pages import Pages, listen_address
from distillery.driver.cluster.reaper import MAX_GAP, Reaper
from distillery.driver.cluster.store import Store, folder_url
from distillery.driver.cluster.values import Deliver, job_of, model_key, read_job
from distillery.driver.cluster.webhooks import SCHEDULE, check_target, next_attempt, signature, signing_key
from distillery.driver.cluster.worker import WorkerOptions, prepare_cluster

START = ROOT / "driver" / "setup" / "start.py"


def distillery(*arguments: str, url: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DISTILLERY_CHECKOUT": str(ROOT), "DISTILLERY_DATABASE": url, **variables}
    command = [sys.executable, str(START), "distillery.driver", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_a_database_that_does_not_answer_is_named_with_what_to_do():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"postgresql://me:geheim123@127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(
        ClusterError, match=r"127\.0\.0\.1:\d+/x cannot be reached: .*[Cc]onnection refused.*Check the host"
    ) as e:
        prepare_cluster(WorkerOptions(url))
    assert "geheim123" not in str(e.value)


def test_a_wrong_password_and_a_missing_database_are_told_apart(postgres):
    with pytest.raises(ClusterError, match=r"password authentication failed.*Check user and password") as e:
        prepare_cluster(WorkerOptions(postgres.url().replace(postgres.password, "falsch-9-9")))
    assert "falsch-9-9" not in str(e.value)
    with pytest.raises(ClusterError, match=r'"nothing" does not exist.*Make the database first'):
        prepare_cluster(WorkerOptions(postgres.url("nothing")))


def test_a_password_on_the_command_line_is_refused_without_being_repeated(monkeypatch):
    with pytest.raises(ClusterError, match="DISTILLERY_DATABASE") as e:
        database_url("postgresql://me:geheim123@host/x")
    assert "geheim123" not in str(e.value)
    with pytest.raises(ClusterError, match="is not the URL of a PostgreSQL"):
        database_url("redis://host")
    monkeypatch.delenv("DISTILLERY_DATABASE", raising=False)
    with pytest.raises(ClusterError, match="DISTILLERY_DATABASE is not set"):
        database_url("env")
    assert database_url(None) == "local"
    assert shown("postgresql://me:geheim123@host:5/x?password=geheim") == "postgresql://host:5/x"


def test_a_schema_that_a_newer_version_made_is_refused_only_where_this_one_cannot_work_with_it(cluster):
    cluster.database.rows("INSERT INTO distillery_schema (version, oldest) VALUES (2, 1) RETURNING version")
    schema.ensure_schema(cluster.url)
    cluster.database.rows("INSERT INTO distillery_schema (version, oldest) VALUES (3, 3) RETURNING version")
    with pytest.raises(ClusterError, match=r"is version 3, .* this one knows version 1\. Update distillery"):
        schema.ensure_schema(cluster.url)


def test_several_that_start_at_once_make_the_schema_once(postgres):
    url, errors = postgres.new_database(), []

    def make():
        try:
            schema.ensure_schema(url)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_user_without_rights_is_told_who_can_make_the_schema(postgres):
    url = postgres.new_database()
    name = f"r{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'abc-def-12'")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(ClusterError, match=r"may not make it: permission denied.*worker --migrate` once as the owner"):
        schema.ensure_schema(url.replace(f"owner:{postgres.password}", f"{name}:abc-def-12"))


@pytest.mark.parametrize("url", ["/srv/x", "ftp://host/x", "s3://key:secret99@bucket/x", "s3://bucket/x?secret99=1"])
def test_a_url_that_is_no_store_is_refused(url):
    with pytest.raises(ClusterError, match="cannot be used as a store") as e:
        Store(url)
    assert "secret99" not in str(e.value)


def test_a_store_that_cannot_be_written_is_said_before_a_job_is_taken(cluster, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"The store file:///.*/file/store cannot be (opened|written): "):
        prepare_cluster(WorkerOptions(cluster.url, folder_url(tmp_path / "file" / "store")))


def test_an_object_that_was_changed_or_is_gone_is_not_given_out(tmp_path):
    store = Store(folder_url(tmp_path))
    name = store.put_once("results", PNG)
    assert name == f"results/{hashlib.sha256(PNG).hexdigest()}.png" and store.get_by_hash(name) == PNG
    assert store.link(name, 60) is None
    (tmp_path / name).write_bytes(PNG[:-1])
    with pytest.raises(StoreError, match="other bytes"):
        store.get_by_hash(name)
    assert store.put_once("results", PNG) == name and store.get_by_hash(name) == PNG
    store.delete(name)
    with pytest.raises(MissingObject):
        store.get(name)


def test_a_store_is_checked_by_many_at_once(tmp_path):
    errors: list[Exception] = []

    def check() -> None:
        try:
            for _ in range(20):
                Store(folder_url(tmp_path)).check()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_without_a_store_a_client_is_told_who_names_it(postgres, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATABASE", postgres.new_database())
    monkeypatch.delenv("DISTILLERY_STORE", raising=False)
    with Upscaler(cluster="env", out=tmp_path) as upscaler, pytest.raises(ClusterError, match="No store is known"):
        upscaler.upscale(ROOT / "examples" / "cat.png")


def test_a_job_survives_being_written_down(tmp_path):
    job = job_of(task_for(tmp_path, 5, preview=True), "me", "gold")
    assert read_job(json.loads(json.dumps({**job.as_dict(), "of a newer version": 1}))) == job
    assert (job.job.user, job.job.tier, job.megapixels) == ("me", "gold", 4 * 64 * 64 / 1e6)
    assert model_key("SDXL\\Juggernaut.v9.SAFETENSORS") == model_key("juggernaut.v9") == "juggernaut.v9"


def test_only_a_heartbeat_that_stood_still_while_it_was_watched_is_a_death():
    now = [0.0]
    reaper = Reaper(30, lambda: now[0])
    dead: list = []
    for step in range(16):
        now[0] = step * 2.0
        dead += reaper.look([("still", 7), ("alive", step)])
    assert dead == [("still", 7)]
    reaper = Reaper(30, lambda: now[0])
    for _ in range(10):  # the database is away in between, for longer than a worker may be silent
        now[0] += MAX_GAP + 30
        assert reaper.look([("silent", 7)]) == []


def test_webhooks_are_signed_as_the_standard_has_it():
    # The vector of the standard's own libraries.
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert (
        signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
    for bad in ("", "whsec_short", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"):
        with pytest.raises(ClusterError, match="is not a secret of Standard Webhooks"):
            signing_key(bad)
    assert [next_attempt(n) for n in (1, 7, 8)] == [SCHEDULE[0], SCHEDULE[6], None]


@pytest.mark.parametrize(
    "url",
    ["https://other.example/x", "http://hooks.example/x", "https://a:b@hooks.example/x", "file:///etc/passwd", "x"],
)
def test_webhooks_go_nowhere_else(url):
    check_target("https://hooks.example/x", ["hooks.example"])
    with pytest.raises(ClusterError, match="Webhooks do not go to"):
        check_target(url, ["hooks.example"])


@pytest.mark.slow
def test_a_webhook_is_told_once_it_listens_and_exactly_once(cluster, monkeypatch):
    monkeypatch.setattr("distillery.driver.cluster.webhooks.SCHEDULE", (0.2, 0.2, 0.2))
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    monkeypatch.setenv("DISTILLERY_WEBHOOK_SECRET", secret)
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(500 if len(heard) < 3 else 204)
            self.end_headers()

        def log_message(self, *args): ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    job = waiting_job()
    cluster.submit(job, Deliver("webhook", f"http://127.0.0.1:{server.server_port}/hook"), Deliver("bot", "somewhere"))
    worker = cluster.worker(webhook_hosts=("127.0.0.1",))
    state = "SELECT state FROM distillery_deliveries WHERE kind = 'webhook'"
    until(lambda: cluster.database.value(state) == "delivered")
    time.sleep(1)
    worker.stop()
    server.shutdown()
    assert len(heard) == 3 and len({body for _, body in heard}) == 1
    headers, body = heard[-1]
    headers = {name.lower(): value for name, value in headers.items()}
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"k" * 32, text, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    data = json.loads(body)
    assert data["type"] == "job.done" and data["data"]["job"] == job.job.id
    assert secret not in str(heard)
    # Who else is to be told has a row of its own, made with the result.
    assert cluster.database.value("SELECT state FROM distillery_deliveries WHERE kind = 'bot'") == "pending"


@pytest.mark.slow
def test_the_command_line_lists_shows_cancels_and_replays(cluster):
    cluster.database.rows("SELECT distillery_beat_v1(gen_random_uuid(), 'w', '1', 1, '{}', 'ready', NULL)")
    jobs = [waiting_job(user="me") for _ in range(3)]
    for job in jobs:
        cluster.submit(job)
    first = jobs[0].job.id
    listed = json.loads(distillery("jobs", "list", "--json", url=cluster.url).stdout)
    assert [job["id"] for job in listed] == [job.job.id for job in jobs]
    shown_job = json.loads(distillery("jobs", "show", jobs[2].job.id[:12], "--json", url=cluster.url).stdout)
    assert shown_job["place"] == 3 and shown_job["wait_seconds"] == pytest.approx(60, abs=1)
    result = distillery("jobs", "cancel", first, "ffff", url=cluster.url)
    assert result.returncode == 1 and "cancelled" in result.stdout and "No job has the id 'ffff'" in result.stdout
    assert json.loads(distillery("jobs", "retry", first, "--json", url=cluster.url).stdout) == [
        {"id": first, "state": "queued"}
    ]
    assert "No dead jobs" in distillery("jobs", "dead", url=cluster.url).stdout
    for _ in range(3):
        row = cluster.database.row("SELECT * FROM distillery_claim_v1(gen_random_uuid(), NULL, '{}', '{}')")
        cluster.database.rows(
            'SELECT distillery_fail_v1(%s, %s, \'failed\', \'{"kind": "dead", "reason": "x"}\', 1)',
            row["job_id"],
            row["run"],
        )
    assert len(json.loads(distillery("jobs", "dead", "--json", url=cluster.url).stdout)) == 3
    assert distillery("jobs", "replay", url=cluster.url).returncode == 0
    assert cluster.states() == {"queued": 3} and cluster.balances()


@pytest.mark.slow
def test_the_command_line_says_what_is_wrong_without_a_traceback(postgres):
    url = f"postgresql://owner:{postgres.password}@127.0.0.1:{postgres.port}/nothing"
    for arguments in (["jobs", "list"], ["worker", "--server", "http://127.0.0.1:1"]):
        result = distillery(*arguments, url=url)
        assert result.returncode == 1 and "does not exist" in result.stderr and "Traceback" not in result.stderr
        assert postgres.password not in result.stderr + result.stdout
    result = distillery("jobs", "list", "--cluster", url)
    assert result.returncode == 1 and "PGPASSWORD" in result.stderr and postgres.password not in result.stderr


@pytest.mark.slow
def test_health_metrics_and_overview_are_served_and_have_no_secret(cluster, tmp_path, postgres):
    worker = cluster.worker(slots=2)
    pages = Pages(worker.worker, cluster.url, listen_address("127.0.0.1:0"))

    def get(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{pages.port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    try:
        until(lambda: get("/ready") == (200, "ready\n"))
        assert get("/health") == (200, "ok\n")
        for _ in range(3):
            cluster.submit(waiting_job(20, user="very-private"))
        until(lambda: cluster.states() == {"done": 3})
        metrics = get("/metrics")[1]
        assert (
            'distillery_jobs{state="queued",tier=""} 0.0' in metrics
            and "distillery_worker_jobs_done_total 3.0" in metrics
        )
        assert 'distillery_worker_slots{state="free"} 2.0' in metrics and "distillery_database_up 1.0" in metrics
        overview = json.loads(get("/overview.json")[1])
        assert overview["workers"][0]["slots"] == 2
        page = get("/")[1]
        for text in (metrics, page):
            assert "very-private" not in text and postgres.password not in text and "--prompt" not in text
        assert get("/x")[0] == 404
    finally:
        pages.close()
        worker.stop()
    with pytest.raises(ClusterError, match="a port is needed"):
        listen_address("x")


@pytest.fixture(scope="module")
def s3():
    """An S3 on loopback."""
    pytest.importorskip("moto")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server._server.port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "geheim-s3-99", "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        urllib.request.urlopen(urllib.request.Request(f"{url}/pictures", method="PUT")).close()
        yield "s3://pictures/distillery"
    server.stop()


@pytest.mark.slow
def test_results_go_through_s3_and_can_be_given_as_signed_links(s3, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATABASE", cluster.url)
    worker = cluster.worker(store=s3)
    backend = ClusterBackend("env", user="me")  # the store is known from the database
    try:
        result = backend.run(task_for(tmp_path, 10), lambda event: None, CancelToken())
    finally:
        worker.stop()
        backend.close()
    assert result.path.is_file()
    name = cluster.database.value("SELECT object FROM distillery_results")
    link = Store(s3).link(name, 60)
    assert "geheim-s3-99" not in link
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == result.path.read_bytes()
    with pytest.raises(StoreError, match="cannot be written"):
        Store("s3://no-such-bucket/x").check()


@pytest.mark.slow
def test_a_machine_of_its_own_needs_no_url(tmp_path):
    """The embedded PostgreSQL, as this user: root too."""
    home = tmp_path / "h"
    folder = Path("/tmp") / f"dst-{uuid.uuid4().hex[:8]}" if os.name == "posix" else home
    try:
        result = distillery("jobs", "list", DISTILLERY_HOME=str(folder))
        assert (result.returncode, result.stdout) == (0, "No jobs.\n"), result.stderr
        assert (folder / "cluster" / "postgresql").stat().st_mode & 0o077 == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_backend_does_not_free_what_is_not_its_own(cluster, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATABASE", cluster.url)
    with pytest.raises(ClusterError, match="are its workers'"):
        ClusterBackend("env").free()
    with pytest.raises(Exception, match="a cluster or servers of your own, not both"):
        Upscaler("http://127.0.0.1:1", cluster="local")


@pytest.mark.slow
def test_the_roles_of_the_docs_can_do_their_work_and_no_more(cluster, monkeypatch):
    url = cluster.url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((ROOT / "docs" / "cluster" / "roles.sql").read_text())
        users = {}
        for role in ("worker", "client", "monitor"):
            name = f"{role}_{uuid.uuid4().hex[:8]}"
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'abc-def-12' IN ROLE distillery_{role}")
            users[role] = url.replace(f"owner:{cluster_password(url)}", f"{name}:abc-def-12")
    client = Cluster(users["client"], Database(users["client"]), cluster.store)
    job = waiting_job()
    client.submit(job)
    worker = client.worker(database=users["worker"])
    until(lambda: client.states() == {"done": 1})
    worker.stop()
    client.submit(waiting_job(deadline=time.time() + 500))
    assert (
        client.database.value("SELECT distillery_cancel_v1(id) FROM distillery_jobs WHERE state = 'queued'")
        == "cancelled"
    )
    for role, statement in (
        ("client", "UPDATE distillery_jobs SET state = 'done'"),
        ("client", "SELECT distillery_end_v1('x', 'done', NULL, 1)"),
        ("client", "UPDATE distillery_tiers SET weight = 99"),
        ("worker", "UPDATE distillery_tiers SET weight = 99"),
        ("worker", "DROP TABLE distillery_ledger"),
        ("monitor", "SELECT distillery_cancel_v1('x')"),
        ("monitor", "DELETE FROM distillery_jobs"),
    ):
        with psycopg.connect(users[role]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
    client.database.close()


def cluster_password(url: str) -> str:
    return url.split("owner:")[1].split("@")[0]


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_the_examples_are_yaml_without_a_secret_in_a_command(name):
    yaml = pytest.importorskip("yaml")
    documents = list(yaml.safe_load_all((ROOT / "docs" / "cluster" / name).read_text()))
    assert documents
    text = str(documents)
    assert "worker" in text and "://distillery:" not in text
