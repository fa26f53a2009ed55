"""Many jobs on the real server: overlapped, swept, moved to another server, cancelled, awaited."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import runpy
import threading
from pathlib import Path

import numpy as np
import pytest
from faulty_line import Line
from PIL import Image

from distillery.driver import AsyncUpscaler, CancelToken, JobCancelled, NotStarted, Preview, SourceError, Upscaler
from distillery.driver.cli.app import main
from distillery.driver.jobs import runner
from distillery.driver.server.client import ComfyClient
from distillery.nodes.parameters import MINI_NAME

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
DEAD = "http://127.0.0.1:9"
MINI = {"prompt": "a hill", "model": MINI_NAME}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """One picture for all tests: the server enlarges it once, and each job is quick."""
    y, x = np.mgrid[0:64, 0:64] / 64
    picture = np.stack([x, y, (np.sin(x * 9) * np.cos(y * 7) + 1) / 2], axis=-1)
    path = tmp_path_factory.mktemp("source") / "hill.png"
    Image.fromarray((picture * 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def upscaler(server, tmp_path):
    with Upscaler(server=server.url, out=tmp_path) as upscaler:
        yield upscaler


def remaining(url: str) -> int:
    client = ComfyClient(url)
    try:
        return client.queue_length()
    finally:
        client.close()


def test_several_sources_give_results_in_order_and_errors_of_their_own(upscaler, source, tmp_path):
    done = []
    items = list(
        upscaler.upscale_many(
            [source, tmp_path / "missing.png", source],
            power=0, continue_on_error=True, on_done=lambda item: done.append(item.index),
        )
    )  # fmt: skip
    assert [item.result is not None for item in items] == [True, False, True]
    assert isinstance(items[1].error, SourceError) and sorted(done) == [0, 1, 2]
    assert [item.result.path.name for item in items if item.result] == ["hill_2x.png", "hill_2x_2.png"]
    first, last = items[0].result, items[2].result
    assert first.executed[1] <= last.executed[0], "the first source is made first"


def test_jobs_follow_each_other_without_a_pause(upscaler, source):
    """Between the server's end of a job and its begin of the next, by its own clock, while others are waiting."""
    # Each a little different, so that sharpening and saving is done; the enlarged picture is in the cache.
    token = CancelToken()
    sources = [source] * 10
    times = sorted(item.result.executed for item in upscaler.upscale_many(sources, power=0, cancel=token))
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(times)]
    # Of jobs that take no time themselves: the harder case. A busy machine may delay single ones.
    assert sorted(gaps)[len(gaps) // 2] < 0.05, gaps


def test_after_an_error_nothing_more_is_begun(upscaler, source, tmp_path):
    items = list(upscaler.upscale_many([tmp_path / "missing.png", *[source] * 8], power=0))
    assert isinstance(items[0].error, SourceError)
    assert isinstance(items[-1].error, NotStarted) and len([i for i in items if i.result]) <= 4


def test_the_command_keeps_a_manifest_and_skips_what_is_there(server, source, tmp_path, capsys):
    manifest = tmp_path / "m.jsonl"
    arguments = ["upscale", str(source), "missing.png", "--power", "0", "--server", server.url, "--out", str(tmp_path)]
    arguments += ["--manifest", str(manifest), "--continue-on-error", "--skip-existing", "--compare"]
    assert main([*arguments, "--log", str(tmp_path / "log.jsonl")]) == 1
    assert main([*arguments, "--json"]) == 1
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    assert sorted(line["status"] for line in lines) == ["done", "failed", "failed", "skipped"]
    done = next(line for line in lines if line["status"] == "done")
    assert (
        Path(done["path"]).is_file()
        and done["generation"]["hires"]["denoise"] == 0
        and len(done["source_sha256"]) == 64
    )
    assert Path(done["compare"]).is_file()
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["hill_2x.png", "hill_2x_compare.png"]
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    by_message = {line["message"]: line for line in log if "job" in line}
    assert by_message["done"]["job"] == by_message["begins"]["job"]
    assert "Traceback" not in "".join(capsys.readouterr())


def test_a_sweep_runs_the_shared_stages_once(server, source, tmp_path, capsys, monkeypatch):
    uploads = []
    real = ComfyClient.upload_image
    monkeypatch.setattr(
        ComfyClient, "upload_image", lambda self, data, kind: uploads.append(len(data)) or real(self, data, kind)
    )
    code = main(
        [
            "sweep", str(source), "--power", "0.1,0.9", "--seed", "5", "--prompt", "a hill", "--model", MINI_NAME,
            "--server", server.url, "--out", str(tmp_path), "--json", "--manifest", str(tmp_path / "m.jsonl"),
        ]
    )  # fmt: skip
    assert code == 0
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(line["command"].partition("--power ")[2] for line in lines) == ["0", "0.1 --seed 5", "0.9 --seed 5"]
    assert all(line["status"] == "done" and Path(line["path"]).is_file() for line in lines)
    made = json.loads(capsys.readouterr().out)
    assert len(uploads) == 1
    for result in made["results"]:
        assert {"Load Image + Recall", "Load UltraSharp", "Upscale 2x"} <= set(result["cached"])
        assert "HiRes pass (KSampler)" not in result["cached"] and Path(result["path"]).is_file()
    low, high = made["results"]
    assert low["path"].endswith("hill_2x_power0.1_seed5.png") and low["seed"] == 5
    assert low["structure"] < high["structure"]
    with Image.open(made["sheet"]) as sheet:
        assert sheet.width > 3 * 128


def test_the_best_power_is_chosen_and_only_its_picture_is_kept(upscaler, source, tmp_path):
    events: list = []
    result = upscaler.upscale(source, on_progress=events.append, power="auto", preview=True, **MINI)
    assert [p.name for p in tmp_path.iterdir()] == ["hill_2x.png"]
    assert result.generation.hires.denoise == result.choice.power and result.choice.measured
    assert any("Chosen: --power" in getattr(event, "text", "") for event in events)
    previews = [event for event in events if isinstance(event, Preview)]
    assert previews and previews[0].title == "HiRes pass (KSampler)" and previews[0].image[:2] == b"\xff\xd8"


def test_cancelling_leaves_nothing_queued_and_nothing_written(upscaler, server, source, tmp_path):
    token = CancelToken()
    sampling = threading.Event()

    def report(index, event):
        if getattr(event, "title", "") == "HiRes pass (KSampler)":
            sampling.set()

    def cancel():
        sampling.wait(120)
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    items = list(upscaler.upscale_many([source] * 5, "--seed 77", report, cancel=token, power=0.9, **MINI))
    thread.join()
    assert sampling.is_set() and all(isinstance(item.error, JobCancelled) for item in items)
    assert remaining(server.url) == 0 and not list(tmp_path.iterdir())


def test_a_server_that_is_down_gets_no_jobs(server, source, tmp_path):
    with Upscaler(server=[DEAD, server.url], out=tmp_path) as upscaler:
        items = list(upscaler.upscale_many([source] * 2, power=0))
    assert [item.result.server for item in items] == [server.url] * 2


def test_a_job_of_a_server_that_goes_silent_is_run_elsewhere_once(server, source, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "UNREACHABLE_WITH_FALLBACK", 1.0)
    line = Line(server.url)
    events: list = []

    def report(event):
        events.append(event)
        if getattr(event, "title", "") == "HiRes pass (KSampler)" and not line.cut:
            line.sever()

    with Upscaler(server=[line.url, server.url], out=tmp_path) as upscaler:
        result = upscaler.upscale(source, "--seed 31", report, power=0.2, **MINI)
        silent = upscaler.backend.pool.servers[0]
        assert silent.failures == 1 and len(silent.orphaned_jobs) == 1
    assert result.server == server.url and [p.name for p in tmp_path.iterdir()] == ["hill_2x.png"]
    assert any("elsewhere" in getattr(event, "text", "") for event in events)
    line.close()


def test_a_job_that_ended_behind_a_broken_line_is_not_run_again(server, source, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "UNREACHABLE_WITH_FALLBACK", 1.0)
    line = Line(server.url)
    queued: list[str] = []
    real = ComfyClient.resume

    def attend(self, prompt_id, *rest):
        queued.append(prompt_id)
        line.cut = False  # the line is back by the time it is asked once more
        return real(self, prompt_id, *rest)

    monkeypatch.setattr(ComfyClient, "resume", attend)

    def report(event):
        if getattr(event, "title", "") == "HiRes pass (KSampler)" and not queued:
            line.sever()

    with Upscaler(server=[line.url, server.url], out=tmp_path) as upscaler:
        result = upscaler.upscale(source, "--seed 32", report, power=0.2, **MINI)
    assert queued == [result.prompt_id] and result.server == line.url
    line.close()


def test_asyncio_awaits_jobs_together_and_cancels_them(server, source, tmp_path):
    async def main() -> None:
        events: list = []
        async with AsyncUpscaler(server=server.url, out=tmp_path) as upscaler:
            results = await asyncio.gather(*(upscaler.upscale(source, power=0, sharpen=s) for s in (0.1, 0.2)))
            assert [r.generation.sharpen for r in results] == [0.1, 0.2]
            items = [item async for item in upscaler.upscale_many([source, source], power=0)]
            assert [item.index for item in items] == [0, 1] and all(item.result for item in items)
            before = len(list(tmp_path.iterdir()))
            task = asyncio.create_task(upscaler.upscale(source, "--seed 78", events.append, power=0.9, **MINI))
            while not any(getattr(event, "title", "") == "HiRes pass (KSampler)" for event in events):
                await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(list(tmp_path.iterdir())) == before

    asyncio.run(main())
    assert remaining(server.url) == 0


def test_the_readmes_examples_run(server, source, tmp_path, monkeypatch):
    """With this server and this picture in the place of the managed one and the reader's own."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.png").write_bytes(source.read_bytes())
    for example in examples:
        code = re.sub(r"Upscaler\(\)", f'Upscaler(server="{server.url}")', example)
        assert code != example
        code = re.sub(r"power=[\d.]+", "power=0", code)  # the picture has no prompt
        script = tmp_path / "example.py"
        script.write_text(code, encoding="utf-8")
        runpy.run_path(str(script), run_name="__main__")
    assert list(tmp_path.glob("picture_2x*.png"))
