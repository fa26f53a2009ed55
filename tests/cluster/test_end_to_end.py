"""A cluster with a real ComfyUI: what comes back is what comes without one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from cluster_workers import ROOT, until
from job_images import picture, plain_graph, write_image
from PIL import Image

from distillery.driver import AsyncUpscaler, Message, Stage, Step, Upscaler

pytestmark = [pytest.mark.server, pytest.mark.slow]

START = ROOT / "driver" / "setup" / "start.py"


@pytest.fixture
def worker(cluster, server, tmp_path):
    environment = {**os.environ, "DISTILLERY_CHECKOUT": str(ROOT), "DISTILLERY_DATABASE": cluster.url}
    command = [sys.executable, str(START), "distillery.driver", "worker", "--verbose", "--store", cluster.store.url]
    with (tmp_path / "worker.log").open("w") as log:
        process = subprocess.Popen([*command, "--server", server.url], env=environment, stderr=log)
        ready = "SELECT count(*) FROM distillery_workers WHERE state = 'ready'"
        until(lambda: process.poll() is not None or cluster.database.value(ready) == 1, 300)
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (tmp_path / "worker.log").read_text()
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def test_the_result_is_the_same_as_without_a_cluster(cluster, worker, server, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATABASE", cluster.url)
    source = write_image(tmp_path / "a.png", picture(64, 64), plain_graph())
    with Upscaler(server=server.url, out=tmp_path / "alone") as upscaler:
        alone = upscaler.upscale(source, "--seed 7 --power 0.1", compare=True)
    events = []
    with Upscaler(cluster="env", out=tmp_path / "cluster") as upscaler:
        result = upscaler.upscale(source, "--seed 7 --power 0.1", events.append, compare=True)
    with Image.open(alone.path) as one, Image.open(result.path) as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))
        assert set(one.info) == set(other.info)
    assert result.path.name == alone.path.name and result.compared is not None and result.compared.is_file()
    for name in ("width", "height", "generation", "recalled", "source_hash"):
        assert getattr(result, name) == getattr(alone, name), name
    assert result.seconds and all(seconds >= 0 for seconds in result.seconds.values())
    assert any(isinstance(event, Stage) for event in events)
    assert all(isinstance(event, Message | Stage | Step) for event in events)
    assert cluster.states() == {"done": 1}


def test_many_at_once_awaited(cluster, worker, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_DATABASE", cluster.url)
    sources = [write_image(tmp_path / f"{n}.png", picture(64, 64), plain_graph()) for n in range(3)]

    async def work():
        async with AsyncUpscaler(cluster="env", out=tmp_path / "out") as upscaler:
            return [item async for item in upscaler.upscale_many(sources, power=0.2)]

    items = asyncio.run(work())
    assert [item.error for item in items] == [None] * 3
    assert [item.result.path.name for item in items] == ["0_2x.png", "1_2x.png", "2_2x.png"]
    until(lambda: cluster.balances())
