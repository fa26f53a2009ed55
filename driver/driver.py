"""The whole job: an image and a command in, an upscaled file out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..nodes.command import parse_command
from ..nodes.generation import Generation, from_dict
from ..nodes.mini import ensure_mini
from ..nodes.parameters import MIN_SIDE
from ..nodes.recall import recall
from ..nodes.record import RECORD_KEY
from ..nodes.settings import settings_for
from . import paths, workflow
from . import server as managed
from .client import ComfyClient, Event
from .errors import JobError, ServerError, SourceError
from .events import Message, Progress, Stage, Step
from .realesrgan import ensure_realesrgan
from .source import load

log = logging.getLogger(__name__)

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Result:
    """A finished upscale."""

    path: Path
    """The file that was written."""
    width: int
    height: int
    generation: Generation
    """What it was made with, its warnings included."""
    recalled: Generation
    """What the source said."""
    seconds: dict[str, float]
    """Stage (title of the node) to seconds, in the order in which the stages ran."""
    total: float
    """Seconds from the call to the written file."""
    cached: tuple[str, ...]
    """Stages whose result the server still had."""
    server: str
    prompt_id: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """What differs from the image's own generation, and what the user should know."""
        return self.generation.warnings


@dataclass
class _Watch:
    """Turns a job's events into progress and seconds per stage."""

    titles: dict[str, str]
    report: OnProgress
    seconds: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    running: str | None = None
    since: float = 0.0

    def event(self, event: Event) -> None:
        kind, data = event["type"], event.get("data") or {}
        if kind == "execution_cached":
            self.done.update(str(node) for node in data.get("nodes", []))
        elif kind == "executing":
            self._switch(data.get("display_node") or data.get("node"))
        elif kind == "progress" and self.running is not None:
            value, maximum = data.get("value"), data.get("max")
            if isinstance(value, int | float) and isinstance(maximum, int | float) and maximum:
                self.report(Step(self.titles.get(self.running, self.running), int(value), int(maximum)))

    def _switch(self, node: str | None) -> None:
        now = time.monotonic()
        if self.running is not None:
            title = self.titles.get(self.running, self.running)
            self.seconds[title] = self.seconds.get(title, 0.0) + now - self.since
            self.done.add(self.running)
        self.running, self.since = node, now
        if node is not None:
            self.report(Stage(self.titles.get(node, node), len(self.done), len(self.titles)))


class Driver:
    """Upscales images on one ComfyUI server.

    Without arguments a managed server is used and started where it is not running; it stays warm for the next
    driver. ``server``: URL of a running ComfyUI instead. ``comfyui``: folder of a ComfyUI of your own to start
    instead. ``out``: where results are written. Not for use by several threads at once.

        with Driver() as driver:
            result = driver.upscale("picture.png", "--power 0.2")
    """

    def __init__(
        self,
        server: str | None = None,
        comfyui: str | Path | None = None,
        out: str | Path = ".",
        instance: str = managed.DEFAULT,
    ) -> None:
        if server is not None and comfyui is not None:
            raise ServerError("Give the URL of a running server or the folder of a ComfyUI, not both.")
        self._url = server
        self._comfyui = Path(comfyui) if comfyui is not None else None
        self._instance = instance
        self._out = Path(out)
        self._client: ComfyClient | None = None
        self._managed: managed.RunningServer | None = None

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. A managed server stays warm."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def recall(self, source: str | Path) -> Generation:
        """What an image says of how it was made. Needs no server."""
        return recall(load(source).data)

    def free(self) -> None:
        """Have the server drop its caches and unload its models."""
        self._connect(lambda progress: None).free()

    def upscale(
        self,
        source: str | Path,
        command: str = "",
        on_progress: OnProgress | None = None,
        out: str | Path | None = None,
    ) -> Result:
        """Upscale one image.

        source: a file, or the URL of a Discord attachment. command: such as ``--power 0.2 --neg night``, see
        :mod:`distillery.nodes.command`. on_progress: called with :mod:`.events`. out: folder of the result.
        The result is written whole or not at all, under a name that is not taken: ``<name>_2x.png``.
        Raises DistilleryError: CommandError and SourceError before any server is asked, ServerError, JobError.
        """
        started = time.monotonic()
        report = on_progress or (lambda progress: None)
        parsed = parse_command(command)
        image = load(source)
        if min(image.width, image.height) < MIN_SIDE:
            raise SourceError(
                f"{image.stem} has {image.width}x{image.height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed."
            )
        recalled = recall(image.data)
        settings_for(recalled, parsed)  # what cannot be run is said before a server is started
        folder = Path(out) if out is not None else self._out
        _make_folder(folder)

        client = self._connect(report)
        name = client.upload_image(image.data, image.extension)
        # Each job has a prefix of its own: a fully cached one would otherwise name an older file.
        prefix = f"distillery/{uuid.uuid4().hex}"
        graph = workflow.build(name, command, prefix)
        extra = {"extra_pnginfo": {"workflow": workflow.editor_workflow(name, command, "distillery/upscale")}}
        titles = workflow.titles(graph)
        watch = _Watch(titles, report)
        try:
            outcome = client.run(graph, extra, watch.event)
        finally:
            if self._managed is not None:
                managed.touch(self._managed)
        saved, record = _saved(outcome.outputs.get(workflow.node_id(graph, workflow.SAVE_NODE)))
        path = self._download(client, saved, folder, image.stem)
        with Image.open(path) as result:
            width, height = result.size
        return Result(
            path=path,
            width=width,
            height=height,
            generation=from_dict(record.get("generation")),
            recalled=recalled,
            seconds=watch.seconds,
            total=time.monotonic() - started,
            cached=tuple(titles[i] for i in outcome.cached if i in titles),
            server=client.url,
            prompt_id=outcome.prompt_id,
        )

    def _connect(self, report: OnProgress) -> ComfyClient:
        """The client of a server that is known to answer and to have this pack."""
        if self._url is not None:
            if self._client is None:
                client = ComfyClient(self._url)
                client.system_stats()
                if client.object_info(managed.PACK_NODE) is None:
                    raise ServerError(f"The ComfyUI at {self._url} does not have this pack. {managed.install_hint()}")
                self._client = client
            return self._client

        def say(text: str) -> None:
            report(Message(text))

        if self._comfyui is None:
            prepare_models(say)
        # Asked each time: the server may have ended, being idle, since the last job.
        running = managed.ensure(self._instance, self._comfyui, say=say)
        if self._client is None or self._client.url != running.url:
            self.close()
            self._client = ComfyClient(running.url)
        self._managed = running
        return self._client

    def _download(self, client: ComfyClient, saved: dict[str, str], folder: Path, stem: str) -> Path:
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".distillery-", suffix=".part", delete=False) as file:
                part = Path(file.name)
                try:
                    for block in client.view(saved):
                        file.write(block)
                    file.close()
                    path = _publish(part, folder, _safe(stem))
                finally:
                    with contextlib.suppress(OSError):
                        part.unlink()
        except OSError as error:
            raise JobError(f"The result cannot be written to {folder}: {error.strerror or error}.") from error
        if self._managed is not None and self._comfyui is None:
            # The user has the file now; a managed server's own copy would only fill the disk.
            with contextlib.suppress(OSError):
                (self._managed.output / saved["subfolder"] / saved["filename"]).unlink()
        return path


def prepare_models(say: Callable[[str], None]) -> None:
    """Put the models that the default job needs into the managed server's models folder.

    What cannot be fetched is only told: the user's own models may do without it, and otherwise the node that
    needs it says what to do.
    """
    models = paths.models_dir()
    for ensure, folder in ((ensure_realesrgan, models), (ensure_mini, models / "checkpoints")):
        try:
            ensure(folder, say)
        except Exception as error:
            log.warning("%s", error)
            say(str(error))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"Results cannot be written to {folder}: {error.strerror or error}.") from error


def _saved(output: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """The saved image and the record that the Save node returned."""
    try:
        image = output["images"][0]
        return {k: str(image[k]) for k in ("filename", "subfolder", "type")}, json.loads(output[RECORD_KEY][0])
    except (KeyError, IndexError, TypeError, ValueError):
        raise JobError(
            "The job ended, but the Save node returned no image. Is the server's pack an older one?"
        ) from None


def _safe(stem: str) -> str:
    """A file name that every system takes, from one that a stranger chose."""
    cleaned = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", stem).strip(". ")[:120]
    return cleaned or "image"


def _publish(part: Path, folder: Path, stem: str) -> Path:
    """Give a finished file its name, the first that is not taken."""
    os.chmod(part, 0o644)  # a temporary file is its owner's alone
    for number in range(1, 10_000):
        path = folder / (f"{stem}_2x.png" if number == 1 else f"{stem}_2x_{number}.png")
        try:
            os.link(part, path)  # fails where the name is taken, unlike a rename
            return path
        except FileExistsError:
            continue
        except OSError:
            if not path.exists():  # a file system without hard links
                part.replace(path)
                return path
    raise OSError(f"all names {stem}_2x_….png are taken")
