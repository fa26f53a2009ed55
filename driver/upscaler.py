"""The public way in: an image and a command in, an upscaled file out."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..nodes.errors import DistilleryError
from ..nodes.generation import Generation
from ..nodes.image_formats import MAX_PIXELS
from ..nodes.recall import recall
from .cancel import CancelToken
from .errors import ServerError, SourceError
from .events import Progress
from .jobs import auto_power
from .jobs.backend import Backend
from .jobs.batch import Batch
from .jobs.job import AUTO, Item, OnProgress, Options, Result
from .jobs.output import Output, output_for
from .jobs.prepare import command_text, prepare
from .jobs.runner import LocalBackend
from .jobs.sweep import Sweep, Variant, count, first_command, sweep
from .log import job_log
from .server import managed
from .server.endpoint import endpoint
from .server.servers import GivenServer, ManagedServer, Server
from .sources import label
from .sources.fetch import environment_proxy
from .sources.load import Rules, Source, load


class Upscaler:
    """Upscales images on one or several ComfyUI servers.

    Without arguments a managed server is used and started where it is not running. ``server``: URL of a running
    ComfyUI instead, or several: each job goes to the least busy one. ``comfyui``: folder of a ComfyUI of your own
    to start instead. ``out``: where results are written. ``keep_warm``: whether a managed server stays for the next
    user (it ends by itself when it is idle), or is stopped at the end. ``allow_hosts``: exact names of hosts, beside
    Discord's, from which links are fetched. ``headers``: sent along with every request to the servers given, such as
    ``{"Authorization": "Bearer …"}``; ``ca``: file of certificates to trust there. ``max_pixels``: width times height of a
    picture that is taken. ``use_proxy``: links are fetched through the proxy of HTTPS_PROXY. ``cluster``: URL of a cluster's PostgreSQL, or ``local``: its workers run the
    jobs (needs the extra ``[cluster]``, see docs/cluster.md). Safe for use by several threads; not by a
    forked process, which needs one of its own.

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
        headers: Mapping[str, str] | None = None,
        ca: str | Path | None = None,
        max_pixels: int = MAX_PIXELS,
        use_proxy: bool = False,
        cluster: str | None = None,
    ) -> None:
        urls = [server] if isinstance(server, str) else list(dict.fromkeys(server or ()))
        if urls and comfyui is not None:
            raise ServerError("Give the URL of a running server or the folder of a ComfyUI, not both.")
        if cluster is not None and (urls or comfyui is not None):
            raise ServerError("Give a cluster or servers of your own, not both.")
        own = Path(comfyui) if comfyui is not None else None
        servers: list[Server] = [GivenServer(endpoint(url, headers, ca)) for url in urls]
        self.backend: Backend
        """Runs the jobs."""
        if cluster is not None:
            self.backend = _cluster(cluster)
        else:
            self.backend = LocalBackend(servers or [ManagedServer(instance, own, keep_warm)])
        self._out = out
        self._tickets = itertools.count()
        self._pid = os.getpid()
        self.rules = Rules(tuple(allow_hosts), max_pixels, environment_proxy() if use_proxy else None)
        """What is taken, and from where."""

    def __enter__(self) -> Upscaler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A managed server stays warm, unless it was asked not to."""
        if self._pid == os.getpid():  # a forked child would cut the sockets of its parent
            self.backend.close()

    def recall(self, source: Source) -> Generation:
        """Recall how an image was made. Needs no server."""
        return recall(load(source, self.rules).data)

    def free(self) -> None:
        """Have the servers drop their caches and unload their models."""
        self._refuse_after_fork()
        self.backend.free()

    def upscale(
        self,
        source: Source,
        command: str = "",
        on_progress: OnProgress | None = None,
        out: str | Path | None = None,
        *,
        cancel: CancelToken | None = None,
        preview: bool = False,
        compare: bool = False,
        skip_existing: bool = False,
        format: str | None = None,
        quality: int | None = None,
        **parameters: Any,
    ) -> Result:
        """Upscale one image.

        source: a file, ``-`` for the standard input, the URL of a Discord attachment, bytes, a binary file or a Pillow image. command: such as
        ``--power 0.2 --neg night``, see :mod:`distillery.nodes.command`; parameters: the same by name, ``power=0.2, neg="night"``. ``power="auto"``
        tries several and keeps the best, see :mod:`driver.jobs.drift`. on_progress: called with :mod:`.events`, in this thread.
        out: folder of the result, or the very file, which is replaced. format: ``png`` (default), ``webp``, ``jpeg`` or ``avif``;
        quality: 1 to 100, of WebP 100 is lossless; each keeps the record. cancel: cancels the job from another thread. preview: have the events tell how the
        picture looks so far. compare: also write a picture of before and after. skip_existing: where ``out`` already
        has a result of this very picture with this very command, return that.

        The result is written whole or not at all, under a name that is not taken: ``<name>_2x.png``.
        Raises DistilleryError: CommandError and SourceError before any server is asked, ServerError, JobError.
        """
        self._refuse_after_fork()
        report = on_progress if on_progress is not None else lambda progress: None
        options = Options(preview, compare, skip_existing, ticket=next(self._tickets))
        output = self._output(out, format, quality)
        return self._upscale(source, command, parameters, output, report, options, cancel or CancelToken())

    def upscale_bytes(
        self,
        source: Source,
        command: str = "",
        on_progress: OnProgress | None = None,
        *,
        cancel: CancelToken | None = None,
        preview: bool = False,
        format: str = "png",
        quality: int | None = None,
        **parameters: Any,
    ) -> tuple[bytes, Result]:
        """Upscale one image and return the bytes of the result's file; its ``path`` is a name and no file. See :meth:`upscale`."""
        with tempfile.TemporaryDirectory(prefix="distillery-") as folder:
            result = self.upscale(
                source,
                command,
                on_progress,
                folder,
                cancel=cancel,
                preview=preview,
                format=format,
                quality=quality,
                **parameters,
            )
            return result.path.read_bytes(), replace(result, path=Path(result.path.name))

    def upscale_many(
        self,
        sources: Iterable[Source],
        command: str = "",
        on_progress: Callable[[int, Progress], None] | None = None,
        out: str | Path | None = None,
        *,
        cancel: CancelToken | None = None,
        continue_on_error: bool = False,
        preview: bool = False,
        compare: bool = False,
        skip_existing: bool = False,
        format: str | None = None,
        quality: int | None = None,
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
        self._refuse_after_fork()
        given = list(sources)
        output = self._output(out, format, quality)
        if output.file is not None and len(given) > 1:
            raise SourceError(f"{output.file.name} is one file, and there are {len(given)} images: give a folder.")
        options = Options(preview, compare, skip_existing)

        def run_one(
            source: Source,
            ticket: int,
            token: CancelToken,
            report: OnProgress,
            on_begin: Callable[[], None],
        ) -> Result:
            own = Options(options.preview, options.compare, options.skip_existing, ticket=ticket)
            return self._upscale(source, command, parameters, output, report, own, token, on_begin)

        batch = Batch(
            self.backend,
            given,
            self._take_tickets(len(given)),
            run_one,
            cancel or CancelToken(),
            continue_on_error,
            on_progress if on_progress is not None else lambda index, event: None,
            on_done if on_done is not None else lambda item: None,
        )
        yield from batch.run()

    def sweep(
        self,
        source: Source,
        rows: Sequence[Sequence[Variant]],
        command: str = "",
        on_progress: Callable[[str, Progress], None] | None = None,
        out: str | Path | None = None,
        *,
        cancel: CancelToken | None = None,
        preview: bool = False,
        on_done: Callable[[str, Result | DistilleryError], None] = lambda command, result: None,
    ) -> Sweep:
        """Upscale one image with each variant and lay the results on a contact sheet: see :mod:`driver.jobs.sweep`.

        rows: of :func:`driver.jobs.sweep.variants`. command: what all have in common. on_progress: called with a
        variant's name and an event, from several threads. on_done: called likewise with the command of each picture and
        its result or error. Raises DistilleryError at the first that fails.
        """
        self._refuse_after_fork()
        report = on_progress if on_progress is not None else lambda variant, event: None
        output = self._output(out, None, None)
        if output.file is not None:
            raise SourceError(f"{output.file.name} is one file, and a sweep makes several: give a folder.")
        task = prepare(source, first_command(command, rows), output, self.rules, Options(preview))
        tickets = self._take_tickets(count(rows))
        return sweep(self.backend, task, tickets, rows, command, report, cancel or CancelToken(), on_done)

    def _refuse_after_fork(self) -> None:
        """Raise ServerError in a forked child: it shares sockets with its parent, and has copies of locks that are held."""
        if self._pid != os.getpid():
            raise ServerError(
                "This Upscaler belongs to the process that made it, and this is a fork of that one. Make an Upscaler in "
                'each process, or start processes with multiprocessing\'s method "spawn".'
            )

    def _output(self, out: str | Path | None, format: str | None, quality: int | None) -> Output:
        """Return the output that a call asks for. Raises SourceError, FormatError."""
        return output_for(out if out is not None else self._out, format, quality)

    def _take_tickets(self, number: int) -> list[int]:
        """Tickets for so many jobs: they get servers in that order, behind all jobs before them."""
        return [next(self._tickets) for _ in range(number)]

    def _upscale(
        self,
        source: Source,
        command: str,
        parameters: Mapping[str, Any],
        output: Output,
        report: OnProgress,
        options: Options,
        cancel: CancelToken,
        on_begin: Callable[[], None] = lambda: None,
    ) -> Result:
        parameters = dict(parameters)
        automatic = parameters.get("power") == AUTO
        if automatic:
            del parameters["power"]
        text = command_text(command, parameters)
        with job_log(label(source), options.job_id):
            first = auto_power.first_command(text) if automatic else text
            task = prepare(source, first, output, self.rules, options)
            if automatic:
                return auto_power.upscale_at_best_power(self.backend, task, text, report, cancel, on_begin)
            return self.backend.run(task, report, cancel, on_begin)


def _cluster(url: str) -> Backend:
    """Return the backend of a cluster. Raises ServerError."""
    try:
        from .cluster.backend import ClusterBackend  # imported here: most users have no need of what it needs
    except ImportError as error:
        raise ServerError(
            f"A cluster needs packages that are not installed ({error.name}): pip install 'distillery-upscale[cluster]'. "
            "The launcher installs them for --cluster, worker and jobs."
        ) from error
    return ClusterBackend(url)
