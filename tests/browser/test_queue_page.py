"""The page with the queue of a cluster, in a real browser: what it shows, and that a job's texts stay texts."""

from __future__ import annotations

import pytest

pytest.importorskip("procrastinate", reason="the extra [cluster] is not installed")

from cluster_database import new_cluster
from cluster_workers import until, waiting_job
from postgres import Postgres

from distillery.driver.cluster.pages import Pages

pytestmark = pytest.mark.slow


def test_queue_workers_and_failures_are_shown_and_kept_up_to_date(browser, tmp_path):
    server = Postgres("fsync = off")
    cluster = new_cluster(server, tmp_path)
    worker = cluster.worker()
    pages = Pages(worker.worker, cluster.url, ("127.0.0.1", 0))
    page = browser.new_page()
    try:
        bad = waiting_job(user="<img src=x onerror=alert(1)>")
        cluster.submit(type(bad)(bad.job, "f" * 64, 64, 64))
        until(lambda: cluster.states() == {"failed": 1})
        cluster.submit(waiting_job(60_000))
        cluster.submit(waiting_job(60_000))
        until(lambda: cluster.states() == {"failed": 1, "running": 1, "queued": 1})
        page.goto(f"http://127.0.0.1:{pages.port}/")
        page.wait_for_selector("#failures td")
        assert "(no name)\t1\t1" in page.inner_text("#queue")
        assert "ready\t1\t1" in page.inner_text("#workers")
        failures = page.inner_text("#failures")
        assert bad.job.id[:12] in failures and "<img src=x onerror=alert(1)>" in failures and "is gone" in failures
        assert page.query_selector("#failures img") is None
        server.stop("immediate")
        page.wait_for_selector("#said:not(:empty)", timeout=60_000)
        assert "may be old" in page.inner_text("#said")
        server.start()
        page.wait_for_selector("#said:empty", state="attached", timeout=60_000)
        assert page.evaluate("document.querySelectorAll('form, button, input').length") == 0
    finally:
        page.close()
        pages.close()
        for row in cluster.database.rows("SELECT id FROM distillery_jobs WHERE state IN ('queued', 'running')"):
            cluster.database.value("SELECT distillery_cancel_v1(%s)", row["id"])
        worker.stop()
        cluster.database.close()
        server.remove()
