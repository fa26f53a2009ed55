"""Workers whose jobs only wait, in this process or in ones that can be killed, and jobs for them.

A job waits for as many milliseconds as its seed says, and longer where another checkpoint has to be "loaded".
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from job_images import picture, plain_graph, write_image
from PIL import Image

from distillery.driver.cancel import CancelToken
from distillery.driver.cluster.slots import Slot
from distillery.driver.cluster.values import ClusterJob
from distillery.driver.cluster.worker import ClusterWorker, WorkerOptions, prepare_cluster
from distillery.driver.errors import JobCancelled
from distillery.driver.events import Preview, Stage, Step
from distillery.driver.jobs.job import Job, Options, Result, new_job_id
from distillery.driver.jobs.output import Output, publish
from distillery.driver.jobs.prepare import Task, prepare
from distillery.nodes.command import parse_command
from distillery.nodes.generation import Generation
from distillery.nodes.parameters import MINI_NAME

if TYPE_CHECKING:
    from cluster_database import Cluster

ROOT = Path(__file__).resolve().parents[2]


def small_png(colour: tuple[int, int, int] = (10, 20, 30)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(data, "PNG")
    return data.getvalue()


PNG = small_png()
PNG_NAME = f"sources/{hashlib.sha256(PNG).hexdigest()}.png"


def waiting_job(milliseconds: int = 10, user: str = "u", checkpoint: str | None = None, **values: object) -> ClusterJob:
    """A job that waits; its picture is PNG."""
    given = {"id": new_job_id(), "created": time.time(), **values}
    job = Job(
        source="waiting.png", source_hash="0" * 64, command=f"--prompt x --seed {milliseconds}", checkpoint=checkpoint,
        stem="waiting_2x", user=user, **given,
    )  # fmt: skip
    return ClusterJob(job, hashlib.sha256(PNG).hexdigest(), 64, 64)


def task_for(tmp_path, milliseconds, **options):
    source = write_image(tmp_path / "a.png", picture(64, 64), plain_graph())
    command = f"--seed {milliseconds} --model {MINI_NAME}"
    return prepare(source, command, Output(tmp_path / "out"), options=Options(**options))


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


class WaitingBackend:
    """A backend that waits in place of sampling. fail: called with each task, may raise.

    by_image: it waits as long as the seed in the image says, whatever the command's.
    """

    concurrency = 1

    def __init__(
        self, load: float = 0.0, fail: Callable[[Task], None] = lambda task: None, by_image: bool = False
    ) -> None:
        self.load, self.fail, self.by_image = load, fail, by_image
        self.loaded: str | None = None
        self.ran: list[str] = []

    def start(self, say) -> None: ...

    def announce(self, ticket: int) -> None: ...

    def free(self) -> None: ...

    def close(self) -> None: ...

    def run(self, task: Task, report, cancel: CancelToken, on_begin=lambda: None) -> Result:
        started = time.monotonic()
        woken = threading.Event()
        self.fail(task)
        seed = task.image.generation.seed if self.by_image else parse_command(task.job.command).seed
        seconds = (seed or 0) / 1000
        if task.job.checkpoint is not None and task.job.checkpoint != self.loaded:
            seconds += self.load
            self.loaded = task.job.checkpoint
        report(Stage("Waiting", 0, 2))
        if task.job.preview:
            report(Preview("Waiting", task.image.png, "image/png"))
        with cancel.waking(woken.set):
            for part in range(4):
                report(Step("Waiting", part, 4))
                if woken.wait(seconds / 4):
                    raise JobCancelled("The job was cancelled.")
        report(Stage("Saving", 1, 2))
        part = task.folder / ".part"
        part.write_bytes(task.image.png)
        path = publish(part, task.folder, task.job.stem)
        self.ran.append(task.job.id)
        total = time.monotonic() - started
        return Result(
            path, 64, 64, Generation(positive="x"), task.image.generation, {"Waiting": total}, total, (), "http://waiting",
            task.job.id, job_id=task.job.id,
        )  # fmt: skip


def waiting_slot(backend: WaitingBackend, models: tuple[str, ...] = ()) -> Slot:
    return Slot("waiting", backend, lambda: models)


class WorkerThread:
    """A worker in a thread of this process."""

    def __init__(self, options: WorkerOptions, *slots: Slot) -> None:
        self.options, self.slots = options, slots
        self.error: BaseException | None = None
        self._made = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._made.wait(30), self.error
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        async def work() -> None:
            conninfo, store = prepare_cluster(self.options)
            self.worker = ClusterWorker(self.options, conninfo, store, self.slots)
            self.loop = asyncio.get_running_loop()
            self._made.set()
            await self.worker.run()

        try:
            asyncio.run(work())
        except BaseException as error:
            self.error = error
            traceback.print_exc()
        finally:
            self._made.set()

    def stop(self, timeout: float = 30) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.worker.stop)
        self.join(timeout)

    def join(self, timeout: float = 30) -> None:
        self._thread.join(timeout)
        assert not self._thread.is_alive()


class WorkerProcess:
    """A worker in a process of its own, which can be killed."""

    def __init__(self, database: str, store: str, slots: int = 1, *more: str) -> None:
        environment = {**os.environ, "DISTILLERY_DATABASE": database, "DISTILLERY_STORE": store}
        environment["DISTILLERY_CHECKOUT"] = str(ROOT)
        command = [sys.executable, __file__, "--slots", str(slots), *more]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self, timeout: float = 30) -> int:
        """End it by SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def two_workers(cluster: Cluster, job: ClusterJob, dead_after: float) -> tuple[WorkerProcess, WorkerProcess]:
    """Start two workers and submit a job; returns the one that runs it, and the other."""
    both = {
        name: WorkerProcess(cluster.url, cluster.store.url, 1, "--dead-after", str(dead_after), "--name", name)
        for name in ("one", "other")
    }
    until(lambda: cluster.database.value("SELECT count(*) FROM distillery_workers WHERE state = 'ready'") == 2, 90)
    cluster.submit(job)
    at = "SELECT w.name FROM distillery_jobs j JOIN distillery_workers w ON w.id = j.worker WHERE j.state = 'running'"
    until(lambda: cluster.database.value(at) is not None)
    busy = both.pop(cluster.database.value(at))
    return busy, next(iter(both.values()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--load", type=float, default=0.0)
    parser.add_argument("--name", default="")
    parser.add_argument("--models", default="")
    parser.add_argument("--grace", type=float, default=30.0)
    parser.add_argument("--dead-after", type=float, default=28.0)
    parser.add_argument("--by-image", action="store_true")
    options = parser.parse_args()
    chosen = WorkerOptions(
        os.environ["DISTILLERY_DATABASE"],
        name=options.name,
        grace=options.grace,
        dead_after=options.dead_after,
        warm_up=False,
    )
    models = tuple(filter(None, options.models.split(",")))

    async def work() -> None:
        conninfo, store = prepare_cluster(chosen)
        slots = [
            waiting_slot(WaitingBackend(options.load, by_image=options.by_image), models) for _ in range(options.slots)
        ]
        await ClusterWorker(chosen, conninfo, store, slots).run()

    asyncio.run(work())


if __name__ == "__main__":
    main()
