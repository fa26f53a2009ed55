"""``distillery upscale``."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ...nodes.command import format_command, parse_command
from ...nodes.errors import DistilleryError
from ..sources import label
from .options import (
    SOURCE,
    add_manifest,
    add_output,
    add_parameters,
    add_server_options,
    add_source_options,
    logged_to,
    preview_protocol,
    typed_parameters,
)
from .report import add_to_manifest, report_error, report_result
from .terminal import DONE, INTERRUPTED, combine_exit_codes, exit_code, expand_patterns, printable

if TYPE_CHECKING:
    from ..jobs.job import Item
    from ..jobs.manifest import Manifest
    from ..upscaler import Upscaler


def add_upscale_parser(commands: Any, exits: str) -> argparse.ArgumentParser:
    """Define ``upscale``."""
    upscale: argparse.ArgumentParser = commands.add_parser(
        "upscale", help="upscale images 2x, keeping their prompts, LoRAs and other parameters", epilog=exits,
        description="Upscales images 2x and regenerates them with the prompts, LoRAs and models that made them.",
        allow_abbrev=False,
    )  # fmt: skip
    upscale.add_argument("sources", nargs="+", metavar="SOURCE", help=f"{SOURCE}; or a pattern such as *.png")
    add_source_options(upscale)
    group = upscale.add_argument_group("parameters (they override what the image carries)")
    add_parameters(group, {"power": " (auto: tries several and keeps the best)"})
    add_output(upscale)
    upscale.add_argument("--json", action="store_true", help="print one JSON object for each image and nothing else")
    upscale.add_argument("--compare", action="store_true", help="also write a picture of before and after")
    many = upscale.add_argument_group("several images")
    many.add_argument("--continue-on-error", action="store_true", help="go on with the others after an error")
    many.add_argument(
        "--skip-existing", action="store_true",
        help="make nothing where DIR has a result of the same picture with the same parameters",
    )  # fmt: skip
    add_manifest(many)
    add_server_options(upscale)
    upscale.set_defaults(run=run_upscale)
    return upscale


def run_upscale(options: argparse.Namespace) -> int:
    """Run ``distillery upscale``."""
    from ..jobs.manifest import Manifest
    from ..upscaler import Upscaler  # brings Pillow and numpy along, which --help does not need

    given = typed_parameters(options)
    parameters: dict[str, Any] = {}
    if [v.strip().lower() for v in given["power"] or ()] == ["auto"]:
        parameters["power"] = "auto"
        given["power"] = None
    command = format_command(given)
    parse_command(command)
    options.sources = expand_patterns(options.sources)
    with logged_to(options.log):
        manifest = Manifest(Path(options.manifest)) if options.manifest else None
        with Upscaler(
            server=options.server, comfyui=options.comfyui, out=options.out, allow_hosts=options.allow_host,
            cluster=options.cluster,
        ) as upscaler:  # fmt: skip
            if len(options.sources) == 1:
                return _upscale_one(upscaler, options, command, parameters, manifest)
            return _upscale_many(upscaler, options, command, parameters, manifest)


def _upscale_one(
    upscaler: Upscaler, options: argparse.Namespace, command: str, parameters: dict[str, Any], manifest: Manifest | None
) -> int:
    from ..errors import JobCancelled
    from ..jobs.job import Item
    from .progress import TerminalProgress

    screen = Console(stderr=True, soft_wrap=True)
    source = options.sources[0]
    previews = preview_protocol(options, screen)
    settings = {
        "preview": previews is not None, "compare": options.compare, "skip_existing": options.skip_existing, **parameters
    }  # fmt: skip
    shortened = label(source)
    try:
        if options.json:
            result = upscaler.upscale(source, command, **settings)
        else:
            with TerminalProgress(screen, printable(Path(shortened).name), previews) as progress:
                result = upscaler.upscale(source, command, progress, **settings)
    except DistilleryError as error:
        report_error(options, screen, source, error)
        add_to_manifest(manifest, Item(0, shortened, None, error), command, parameters)
        return exit_code(error)
    except KeyboardInterrupt:
        screen.print("Interrupted; the job was cancelled on the server.")
        add_to_manifest(manifest, Item(0, shortened, None, JobCancelled("The job was cancelled.")), command, parameters)
        return INTERRUPTED
    report_result(options, source, result)
    add_to_manifest(manifest, Item(0, shortened, result, None), command, parameters)
    return DONE


def _upscale_many(
    upscaler: Upscaler, options: argparse.Namespace, command: str, parameters: dict[str, Any], manifest: Manifest | None
) -> int:
    from ..errors import JobCancelled, NotStarted
    from ..jobs.job import Item
    from .progress import TerminalProgress

    screen = Console(stderr=True, soft_wrap=True)
    sources: list[str] = options.sources
    labels = [printable(Path(label(s)).name) for s in sources]
    noted: set[int] = set()
    codes: list[int] = []
    previews = preview_protocol(options, screen)
    with contextlib.ExitStack() as stack:
        progress = None if options.json else stack.enter_context(TerminalProgress(screen, "", previews))

        def on_done(item: Item) -> None:
            if progress is not None:
                progress.done(labels[item.index])
            noted.add(item.index)
            add_to_manifest(manifest, item, command, parameters)

        items = None
        try:
            items = upscaler.upscale_many(
                sources, command,
                None if progress is None else lambda index, event: progress.show(labels[index], event),
                continue_on_error=options.continue_on_error, skip_existing=options.skip_existing,
                preview=previews is not None, compare=options.compare, on_done=on_done, **parameters,
            )  # fmt: skip
            for item in items:
                if item.result is not None:
                    report_result(options, sources[item.index], item.result)
                    codes.append(DONE)
                elif item.error is not None:
                    report_error(options, screen, sources[item.index], item.error)
                    if not isinstance(item.error, NotStarted):
                        codes.append(exit_code(item.error))
        except KeyboardInterrupt:
            if items is not None:
                items.close()
            screen.print("Interrupted; the jobs were cancelled on the server.")
            for index, source in enumerate(sources):
                if index not in noted:
                    error = JobCancelled("The job was cancelled.")
                    add_to_manifest(manifest, Item(index, label(source), None, error), command, parameters)
            return INTERRUPTED
    return combine_exit_codes(codes)
