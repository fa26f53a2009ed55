"""The whole job: an image and a command in, an upscaled file out."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from PIL import Image

from ..nodes.command import CommandError, format_command, parse_command
from ..nodes.errors import DistilleryError
from ..nodes.generation import Generation, from_dict
from ..nodes.model_files.mini import ensure_mini
from ..nodes.parameters import BY_NAME, MIN_SIDE
from ..nodes.recall import recall
from ..nodes.record import RECORD_KEY
from ..nodes.settings import settings_for
from . import paths
from .cancel import CancelToken
from .errors import (
    JobCancelled,
    JobError,
    JobLost,
    JobOutOfMemory,
    JobRefused,
    JobStuck,
    NotStarted,
    ServerError,
    SourceError,
)
from .events import Message, Preview, Progress, Stage, Step
from .jobs.contact_sheet import before_after
from .jobs.existing import existing
from .jobs.ordered_map import ordered
from .jobs.output import publish, safe_name
from .log import job_log
from .server import managed, workflow
from .server.client import ComfyClient, Event, Outcome, upload_name
from .server.pool import Member, ServerPool
from .setup.realesrgan import ensure_realesrgan
from .sources.clean_image import CleanImage, clean_image
from .sources.load import STANDARD_INPUT, load

if TYPE_CHECKING:
    from .jobs.drift import Choice

log = logging.getLogger(__name__)

OnProgress = Callable[[Progress], None]

AUTO = "auto"
"""Value of ``power`` that has it chosen by what it does to the picture."""
GONE_ELSEWHERE = 20.0
"""Seconds without an answer after which a server is given up, where there are others."""
ATTEMPTS = 3
"""Times that a job is run where servers lose it, at least; that many and one more where there are more servers."""
SMALL_TILE = 512
"""Side of the HiRes tiles, in pixels, after the server ran out of memory."""
RESTART = "Restart that ComfyUI if it goes on failing: one that ran out of main memory may not recover."
REMEMBERED = 8
"""Uploads that are remembered a server."""


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
    """URL of the server that made it; empty where it was there already (``skip_existing``)."""
    prompt_id: str
    source_hash: str = ""
    """SHA-256 of the source file."""
    executed: tuple[float, float] | None = None
    """When the server began and ended the job, by its own clock: Unix seconds."""
    compared: Path | None = None
    """The picture of before and after, where it was asked for."""
    choice: Choice | None = None
    """How the power was chosen, where that was left to the driver."""
    existed: bool = False
    """Whether it was there already."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What differs from the image's own generation, and what the user should know."""
        return self.generation.warnings


@dataclass(frozen=True)
class Item:
    """What became of one source of several: a result or an error."""

    index: int
    source: str
    """Without the query of a URL, which carries signatures."""
    result: Result | None
    error: DistilleryError | None


@dataclass(frozen=True)
class Options:
    """How a job is run, as far as that does not change its result."""

    cancel: CancelToken
    preview: bool = False
    compare: bool = False
    skip_existing: bool = False
    rank: int = 0
    """The lowest one gets a server first."""
    begin: Callable[[], None] = lambda: None
    """Called when the job has got its server."""


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
        elif kind == "preview" and isinstance(data.get("image"), bytes):
            node = str(data.get("display_node_id") or data.get("node_id"))
            self.report(Preview(self.titles.get(node, node), data["image"], str(data.get("image_type"))))

    def _switch(self, node: str | None) -> None:
        now = time.monotonic()
        if self.running is not None:
            title = self.titles.get(self.running, self.running)
            self.seconds[title] = self.seconds.get(title, 0.0) + now - self.since
            self.done.add(self.running)
        self.running, self.since = node, now
        if node is not None:
            self.report(Stage(self.titles.get(node, node), len(self.done), len(self.titles)))


@dataclass(frozen=True)
class Request:
    """One job, checked as far as that needs no server."""

    source: str
    """As it was given, without the query of a URL."""
    source_hash: str
    """SHA-256 of the source file."""
    clean: CleanImage
    """What of it goes to the server."""
    command: str
    checkpoint: str | None
    """What the server had better have; None where the job samples nothing."""
    folder: Path
    stem: str
    """Of the result's file name."""
    tile: int | None = None
    """Side of the HiRes tiles in pixels; None: what the server chooses by the model."""

    @property
    def upload(self) -> tuple[bytes, str]:
        """The image file that the server is given, and its extension."""
        return self.clean.png, "png"

    @property
    def recalled(self) -> Generation:
        """What the source says of how it was made."""
        return self.clean.generation


def prepare(source: str | Path, command: str, folder: Path, allow_hosts: Collection[str] = ()) -> Request:
    """Read or fetch the source, clean it, and check that it can be upscaled with that command.

    allow_hosts: as in :func:`driver.sources.load.load`. Raises CommandError, SourceError and NoPromptError.
    """
    parsed = parse_command(command)
    image = load(source, allow_hosts)
    if min(image.width, image.height) < MIN_SIDE:
        raise SourceError(
            f"{image.name} has {image.width}x{image.height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed."
        )
    clean = clean_image(image.data, image.name, recall(image.data))
    settings = settings_for(clean.generation, parsed)  # what cannot be run is said before a server is started
    checkpoint = settings.generation.checkpoint if settings.denoise > 0 else None
    return Request(
        source=str(source).split("?")[0],
        source_hash=hashlib.sha256(image.data).hexdigest(),
        clean=clean,
        command=command,
        checkpoint=checkpoint,
        folder=folder,
        stem=f"{safe_name(image.stem)}_2x",
    )


class Upscaler:
    """Upscales images on one or several ComfyUI servers.

    Without arguments a managed server is used and started where it is not running. ``server``: URL of a running
    ComfyUI instead, or several: each job goes to the least busy one. ``comfyui``: folder of a ComfyUI of your own
    to start instead. ``out``: where results are written. ``keep_warm``: whether a managed server stays for the next
    user (it ends by itself when it is idle), or is stopped at the end. ``allow_hosts``: exact names of hosts, beside
    Discord's, from which links are fetched. Safe for use by several threads.

        with Upscaler() as upscaler:
            result = upscaler.upscale("picture.png", power=0.2)
    """

    def __init__(
        self,
        server: str | Sequence[str] | None = None,
        comfyui: str | Path | None = None,
        out: str | Path = ".",
        instance: str = managed.DEFAULT,
        keep_warm: bool = True,
        allow_hosts: Collection[str] = (),
    ) -> None:
        urls = [server] if isinstance(server, str) else list(dict.fromkeys(server or ()))
        if urls and comfyui is not None:
            raise ServerError("Give the URL of a running server or the folder of a ComfyUI, not both.")
        self._comfyui = Path(comfyui) if comfyui is not None else None
        self._instance = instance
        self._out = Path(out)
        self._keep_warm = keep_warm
        self.allow_hosts = tuple(allow_hosts)
        """Exact names of hosts, beside Discord's, from which links are fetched."""
        self._lock = threading.RLock()
        self._clients: dict[str, ComfyClient] = {}
        self._managed: managed.RunningServer | None = None
        self._ranks = itertools.count()
        members = [Member(url, functools.partial(self._connect_url, url)) for url in urls]
        self._pool = ServerPool(members or [Member("the managed server", self._connect_managed)])

    def __enter__(self) -> Upscaler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A managed server stays warm, unless it was asked not to."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
            running, self._managed = self._managed, None
        for client in clients:
            client.close()
        if running is not None and not self._keep_warm:
            managed.stop(self._managed_name())

    @property
    def workers(self) -> int:
        """Jobs that are worth being worked on at a time: what the servers take, one more being fetched, and one
        being written."""
        return len(self._pool.members) * self._pool.depth + 2

    def recall(self, source: str | Path) -> Generation:
        """What an image says of how it was made. Needs no server."""
        return recall(load(source, self.allow_hosts).data)

    def free(self) -> None:
        """Have the servers drop their caches and unload their models."""
        for member in self._pool.members:
            member.connect(lambda text: None).free()

    def upscale(
        self,
        source: str | Path,
        command: str = "",
        on_progress: OnProgress | None = None,
        out: str | Path | None = None,
        *,
        cancel: CancelToken | None = None,
        preview: bool = False,
        compare: bool = False,
        skip_existing: bool = False,
        **parameters: Any,
    ) -> Result:
        """Upscale one image.

        source: a file, ``-`` for the standard input, or the URL of a Discord attachment. command: such as
        ``--power 0.2 --neg night``, see :mod:`distillery.nodes.command`; parameters: the same by name, ``power=0.2, neg="night"``. ``power="auto"``
        tries several and keeps the best, see :mod:`driver.jobs.drift`. on_progress: called with :mod:`.events`, in this thread.
        out: folder of the result. cancel: cancels the job from another thread. preview: have the events tell how the
        picture looks so far. compare: also write a picture of before and after. skip_existing: where ``out`` already
        has a result of this very picture with this very command, return that.

        The result is written whole or not at all, under a name that is not taken: ``<name>_2x.png``.
        Raises DistilleryError: CommandError and SourceError before any server is asked, ServerError, JobError.
        """
        report = on_progress if on_progress is not None else lambda progress: None
        options = Options(cancel or CancelToken(), preview, compare, skip_existing, next(self._ranks))
        return self._upscale(source, command, parameters, out, report, options)

    def upscale_many(
        self,
        sources: Iterable[str | Path],
        command: str = "",
        on_progress: Callable[[int, Progress], None] | None = None,
        out: str | Path | None = None,
        *,
        cancel: CancelToken | None = None,
        continue_on_error: bool = False,
        preview: bool = False,
        compare: bool = False,
        skip_existing: bool = False,
        on_done: Callable[[Item], None] | None = None,
        **parameters: Any,
    ) -> Generator[Item, None, None]:
        """Upscale images, overlapped so that no server waits; yields one Item for each source, in their order.

        The next picture is fetched and uploaded while one is sampled, and the result of the last one is written
        meanwhile. on_progress: called with the index of the source and an event, from several threads. on_done:
        called with each Item once it is done, before its turn. After an error nothing more is begun, unless
        continue_on_error; what is already on a server is finished. The others: see :meth:`upscale`.
        Closing the iterator, or Ctrl-C, cancels what is running and leaves nothing queued.
        """
        everything = cancel or CancelToken()
        given = list(sources)
        tokens = [CancelToken() for _ in given]
        ranks = self.ranks(len(given))
        begun: set[int] = set()
        lock = threading.Lock()
        stopped = False

        def cancel_all() -> None:
            for token in reversed(tokens):  # what waits first: it must not begin when the running one ends
                token.cancel()

        def begin(index: int) -> None:
            with lock:
                if not stopped or index in begun:
                    begun.add(index)
                else:
                    tokens[index].cancel()

        def work(index: int, source: str | Path) -> Item:
            nonlocal stopped

            def report(event: Progress) -> None:
                if on_progress is not None:
                    on_progress(index, event)

            token = tokens[index]
            options = Options(token, preview, compare, skip_existing, ranks[index], functools.partial(begin, index))
            result, error = None, None
            self.expect(ranks[index])
            try:
                token.check()
                result = self._upscale(source, command, parameters, out, report, options)
            except DistilleryError as raised:
                error = raised
                with lock:
                    if not continue_on_error and not everything.cancelled and not stopped:
                        stopped = True
                        for later, other in enumerate(tokens):
                            if later not in begun:
                                other.cancel()
                    if isinstance(error, JobCancelled) and not everything.cancelled and index not in begun:
                        error = NotStarted("Not started, because of an error before it.")
            item = Item(index, str(source).split("?")[0], result, error)
            if on_done is not None:
                on_done(item)
            return item

        with everything.waking(cancel_all):
            try:
                self._start(given, on_progress)
            except ServerError as error:
                for index, source in enumerate(given):
                    item = Item(index, str(source).split("?")[0], None, error)
                    if on_done is not None:
                        on_done(item)
                    yield item
                return
            yield from ordered(work, given, self.workers, everything)

    def _start(self, sources: Sequence[str | Path], on_progress: Callable[[int, Progress], None] | None) -> None:
        """Start the managed server in the caller's thread, where Ctrl-C can end the start, if there is any work."""
        first = next((i for i, source in enumerate(sources) if _may_be_there(source)), None)
        if first is None or self._pool.members[0].connect != self._connect_managed:
            return

        def say(text: str) -> None:
            if on_progress is not None:
                on_progress(first, Message(text))

        self._connect_managed(say)

    # --- one job -----------------------------------------------------------------------------------------------

    def _upscale(
        self,
        source: str | Path,
        command: str,
        parameters: Mapping[str, Any],
        out: str | Path | None,
        report: OnProgress,
        options: Options,
    ) -> Result:
        parameters = dict(parameters)
        automatic = parameters.get("power") == AUTO
        if automatic:
            del parameters["power"]
        text = command_text(command, parameters)
        folder = Path(out) if out is not None else self._out
        with job_log(str(source)):
            if automatic:
                from .jobs.sweep import upscale_at_best_power  # needs this module

                return upscale_at_best_power(self, source, text, folder, report, options)
            return self.run(prepare(source, text, folder, self.allow_hosts), report, options)

    def ranks(self, count: int) -> list[int]:
        """Ranks for so many jobs: they get servers in that order, behind all jobs before them."""
        return [next(self._ranks) for _ in range(count)]

    def expect(self, rank: int) -> None:
        """Say that the job of that rank is about to be run."""
        self._pool.expect(rank)

    def run(self, request: Request, report: OnProgress, options: Options) -> Result:
        """Run one prepared job, anew on another server where one fails it, and write its result.

        For callers that prepare many jobs of one picture, such as :mod:`driver.jobs.sweep`.
        """
        with job_log(request.source):
            return self._run_anywhere(request, report, options)

    def _run_anywhere(self, request: Request, report: OnProgress, options: Options) -> Result:
        started = time.monotonic()
        make_folder(request.folder)
        if options.skip_existing and (path := existing(request)) is not None:
            return as_it_is(path, request, time.monotonic() - started)
        log.info("begins", extra={"data": {"command": request.command}})
        watch = _Watch({}, report)
        attempts = max(ATTEMPTS, len(self._pool.members) + 1)
        for attempt in range(1, attempts + 1):
            member: Member | None = None
            client: ComfyClient | None = None
            try:
                with self._pool.slot(options.rank, request.checkpoint, options.cancel) as member:
                    options.begin()
                    options.cancel.check()
                    client = member.connect(lambda text: report(Message(text)))
                    graph, outcome = self._run(member, client, request, watch, options)
                self._pool.worked(member)
                return self._finish(client, graph, outcome, request, watch, options, started)
            except JobOutOfMemory as error:
                restarted = error.main and self._restart_managed(report, client, "ran out of main memory")
                if client is None or request.tile is not None or attempt == attempts:
                    if error.main and not restarted:
                        raise JobOutOfMemory(f"{error} {RESTART}", error.node, error.main) from None
                    raise
                log.warning("out of memory, again", extra={"data": {"attempt": attempt, "error": str(error)}})
                report(Message(f"The server ran out of memory. Trying once more with tiles of {SMALL_TILE} pixels."))
                if not restarted:
                    with contextlib.suppress(ServerError):
                        client.free()
                request = replace(request, tile=SMALL_TILE)
            except (ServerError, JobLost, JobStuck) as error:
                if member is None:
                    raise  # no server is left
                self._pool.failed(member, error)
                alone = len(self._pool.members) == 1
                # A managed server that was started is this driver's to mend; of others only a lost job is run again.
                own = self._managed is not None and client is not None
                if attempt == attempts or (alone and isinstance(error, ServerError) and not own):
                    raise
                if isinstance(error, JobStuck) or (isinstance(error, ServerError) and error.prompt_id is not None):
                    self._restart_managed(report, client, "is stuck")
                log.warning("again", extra={"data": {"attempt": attempt, "error": str(error)}})
                why = str(error).removesuffix(" Run it again.")
                report(Message(f"{why} Running it again{'' if alone else ' elsewhere'}."))
        raise AssertionError("unreachable")

    def _run(
        self, member: Member, client: ComfyClient, request: Request, watch: _Watch, options: Options
    ) -> tuple[dict[str, Any], Outcome]:
        """Upload, queue and wait; returns the graph that was run and what it left."""
        key = upload_name(*request.upload)
        for again in (False, True):
            with member.uploading:
                remembered = None if again else member.uploaded.get(key)
                name = remembered or client.upload_image(*request.upload)
                member.uploaded[key] = name
                while len(member.uploaded) > REMEMBERED:
                    del member.uploaded[next(iter(member.uploaded))]
            # Each job has a prefix of its own: a fully cached one would otherwise name an older file.
            prefix = f"distillery/{uuid.uuid4().hex}"
            graph = workflow.build(name, request.command, prefix, tile=request.tile)
            plain = workflow.editor_workflow(name, request.command, "distillery/upscale", request.tile)
            extra: dict[str, Any] = {"extra_pnginfo": {"workflow": plain}}
            if options.preview:
                extra["preview_method"] = "auto"
            watch.titles.update(workflow.titles(graph))
            gone = GONE_ELSEWHERE if len(self._pool.members) > 1 else None
            try:
                return graph, client.run(graph, extra, watch.event, options.cancel, gone)
            except JobRefused:
                if remembered is None:
                    raise
                member.uploaded.pop(key, None)  # the server has lost the picture meanwhile
            except ServerError as error:
                if error.prompt_id is None:
                    raise
                # Never run twice what may have succeeded: it is asked for once more before it goes elsewhere.
                try:
                    outcome = client.attend(error.prompt_id, graph, options.cancel)
                except ServerError:
                    member.orphans.add(error.prompt_id)
                    raise error from None
                if outcome is None:
                    raise JobLost(f"The server at {client.url} has lost the job. Run it again.") from error
                return graph, outcome
            finally:
                if self._managed is not None:
                    managed.touch(self._managed)
        raise AssertionError("unreachable")

    def _finish(
        self,
        client: ComfyClient,
        graph: Mapping[str, Any],
        outcome: Outcome,
        request: Request,
        watch: _Watch,
        options: Options,
        started: float,
    ) -> Result:
        """Download the result; nothing of this keeps the server from the next job."""
        saved, record = _saved(outcome.outputs.get(workflow.node_id(graph, workflow.SAVE_NODE)))
        path = self._download(client, saved, request.folder, request.stem)
        with Image.open(path) as result:
            width, height = result.size
        compared = before_after(request.clean.png, path) if options.compare else None
        executed = None
        if outcome.started is not None and outcome.ended is not None:
            executed = (outcome.started, outcome.ended)
        generation = from_dict(record.get("generation"))
        if request.tile is not None:
            generation = generation.warn(f"the server ran out of memory: made with tiles of {request.tile} pixels")
        made = Result(
            path=path,
            width=width,
            height=height,
            generation=generation,
            recalled=request.recalled,
            seconds=watch.seconds,
            total=time.monotonic() - started,
            cached=tuple(watch.titles[i] for i in outcome.cached if i in watch.titles),
            server=client.url,
            prompt_id=outcome.prompt_id,
            source_hash=request.source_hash,
            executed=executed,
            compared=compared,
        )
        log.info(
            "done",
            extra={"data": {"path": str(path), "prompt_id": made.prompt_id, "seconds": round(made.total, 3)}},
        )
        return made

    # --- servers -----------------------------------------------------------------------------------------------

    def _connect_url(self, url: str, say: Callable[[str], None]) -> ComfyClient:
        with self._lock:
            if url not in self._clients:
                client = ComfyClient(url)
                client.system_stats()
                if client.object_info(managed.PACK_NODE) is None:
                    raise ServerError(f"The ComfyUI at {url} does not have this pack. {managed.install_hint()}")
                self._clients[url] = client
            return self._clients[url]

    def _connect_managed(self, say: Callable[[str], None]) -> ComfyClient:
        with self._lock:
            if self._comfyui is None:
                prepare_models(say)
            # Asked each time: the server may have ended, being idle, since the last job.
            running = managed.ensure(self._instance, self._comfyui, say=say)
            self._managed = running
            if running.url not in self._clients:
                for old in self._clients.values():
                    old.close()
                self._clients = {running.url: ComfyClient(running.url, running.lives)}
                self._pool.members[0].uploaded.clear()
            return self._clients[running.url]

    def _managed_name(self) -> str:
        if self._comfyui is None:
            return self._instance
        return managed.own_instance(managed.own_comfyui(self._comfyui))

    def _restart_managed(self, report: OnProgress, client: ComfyClient | None, why: str) -> bool:
        """End a managed server; the next job starts it anew. False where there is none.

        client: of the job that tells so. why: what it does, as in "ComfyUI is stuck".
        """
        with self._lock:
            if self._managed is None or client is None:
                return False
            if client.url == self._managed.url:  # else another job has had it restarted already
                report(Message(f"ComfyUI {why} and is restarted."))
                managed.stop(self._managed_name())
            return True

    def _download(self, client: ComfyClient, saved: dict[str, str], folder: Path, stem: str) -> Path:
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".distillery-", suffix=".part", delete=False) as file:
                part = Path(file.name)
                try:
                    for attempt in range(3):
                        try:
                            file.seek(0)
                            file.truncate()
                            for block in client.view(saved):
                                file.write(block)
                            break
                        except ServerError:
                            if self._copy_of_managed(client, saved, file):
                                break
                            if attempt == 2:
                                raise
                            time.sleep(1 + attempt)  # the job has succeeded: it is worth asking again
                    file.close()
                    path = publish(part, folder, stem)
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

    def _copy_of_managed(self, client: ComfyClient, saved: Mapping[str, str], file: IO[bytes]) -> bool:
        """Read a result that the managed server can no longer give from its folder; False where it is not there."""
        running = self._managed
        if running is None or running.url != client.url or running.lives() or saved["type"] != "output":
            return False
        try:
            data = (running.output / saved["subfolder"] / saved["filename"]).read_bytes()
        except OSError:
            return False
        file.seek(0)
        file.truncate()
        file.write(data)
        return True


Driver = Upscaler
"""Its earlier name."""


def command_text(command: str, parameters: Mapping[str, Any]) -> str:
    """A command with parameters by name added. Raises CommandError."""
    if not parameters:
        return command
    text = format_command({name: value for name, value in parameters.items() if value is not None})
    parsed = parse_command(text)
    # A text with " --" in it would be read as another parameter.
    for name, value in parameters.items():
        if isinstance(value, str) and getattr(parsed, BY_NAME[name].field) not in (value.strip(), value.lower()):
            raise CommandError(f'--{name}: the text "{value[:60]}" cannot hold another parameter.')
    return f"{command} {text}".strip()


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


def as_it_is(path: Path, request: Request, seconds: float) -> Result:
    """The result of an earlier run."""
    with Image.open(path) as image:
        width, height = image.size
    log.info("is there already", extra={"data": {"path": str(path)}})
    return Result(
        path, width, height, recall(path), request.recalled, {}, seconds, (), "", "", request.source_hash, existed=True
    )


def _may_be_there(source: str | Path) -> bool:
    """Whether a source is worth starting a server for; it is read later."""
    if isinstance(source, str) and (source.strip() == STANDARD_INPUT or "://" in source):
        return True
    try:
        return Path(source).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # a NUL in the name; ~nobody
        return False


def make_folder(folder: Path) -> None:
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
