"""The commands that make pictures: ``upscale`` and ``sweep``."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ...nodes.command import CommandError, format_command, parse_command, parse_value
from ...nodes.errors import DistilleryError
from ...nodes.generation import Generation, to_dict
from ...nodes.parameters import BY_NAME, PARAMETERS
from .terminal import DONE, INTERRUPTED, MISSING, code_of_all, exit_code, expanded, shown

if TYPE_CHECKING:
    from ..jobs.manifest import Manifest
    from ..upscaler import Item, Result, Upscaler

_POWER = BY_NAME["power"]
JOB_OPTIONS = (
    "out", "json", "allow-host", "server", "comfyui", "verbose", "help", "continue-on-error", "skip-existing", "manifest", "log",
    "preview", "compare",
)  # fmt: skip
SOURCE = "image file, - for the standard input, or URL of a Discord attachment"


def add_upscale_parser(commands: Any, exits: str) -> argparse.ArgumentParser:
    """Define ``upscale``."""
    upscale = commands.add_parser(
        "upscale", help="upscale images 2x, keeping their prompts, LoRAs and other parameters", epilog=exits,
        description="Upscales images 2x and regenerates them with the prompts, LoRAs and models that made them.",
        allow_abbrev=False,
    )  # fmt: skip
    upscale.add_argument("sources", nargs="+", metavar="SOURCE", help=f"{SOURCE}; or a pattern such as *.png")
    add_source_options(upscale)
    group = upscale.add_argument_group("parameters (they override what the image carries)")
    _add_parameters(group, {"power": " (auto: tries several and keeps the best)"})
    _add_output(upscale)
    upscale.add_argument("--json", action="store_true", help="print one JSON object for each image and nothing else")
    upscale.add_argument("--compare", action="store_true", help="also write a picture of before and after")
    many = upscale.add_argument_group("several images")
    many.add_argument("--continue-on-error", action="store_true", help="go on with the others after an error")
    many.add_argument(
        "--skip-existing", action="store_true",
        help="make nothing where DIR has a result of the same picture with the same parameters",
    )  # fmt: skip
    _add_manifest(many)
    _add_server_options(upscale)
    upscale.set_defaults(run=run_upscale)
    return upscale


def add_sweep_parser(commands: Any, exits: str) -> None:
    """Define ``sweep``."""
    sweep = commands.add_parser(
        "sweep", help="upscale one image with several values, side by side on a contact sheet", epilog=exits,
        description="Upscales one image with each of the values and writes all results and a contact sheet, which "
        "marks the best power. Several values are separated by commas.",
        allow_abbrev=False,
    )  # fmt: skip
    sweep.add_argument("source", metavar="SOURCE", help=SOURCE)
    add_source_options(sweep)
    group = sweep.add_argument_group("parameters (--power, --cfg and --seed take several values)")
    lists = dict.fromkeys(("power", "cfg", "seed"), "; several with commas")
    _add_parameters(group, lists, power="0.1,0.2,0.3,0.4,0.5")
    _add_output(sweep)
    sweep.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    _add_manifest(sweep)
    _add_server_options(sweep)
    sweep.set_defaults(run=run_sweep)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Define what every command that reads images takes."""
    parser.add_argument(
        "--allow-host", metavar="HOST", action="append", default=[],
        help="fetch links of this host too, by its exact name; can be given more than once",
    )  # fmt: skip


def _add_parameters(group: Any, more: dict[str, str], **defaults: str) -> None:
    for parameter in PARAMETERS:
        group.add_argument(
            f"--{parameter.name}", dest=f"parameter_{parameter.name}", action="append", nargs="?", const=MISSING,
            metavar="X" if parameter.kind == "float" else "N" if parameter.kind == "int" else parameter.name.upper(),
            help=f"{parameter.meaning}; {parameter.accepts}{more.get(parameter.name, '')}; "
            f"default {defaults.get(parameter.name, parameter.default)}".replace("%", "%%"),
        )  # fmt: skip


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", default=".", help="folder of the results (default: this one)")
    parser.add_argument(
        "--preview", action="store_true",
        help="show the picture while it is made, where the terminal can (iTerm2's and kitty's protocols)",
    )  # fmt: skip
    parser.add_argument("--log", metavar="FILE", help="append what happens as JSON lines, with ids of the jobs")


def _add_manifest(parser: Any) -> None:
    parser.add_argument(
        "--manifest", metavar="FILE", help="append a JSON line for each picture: what was made, and how"
    )


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("server (default: a managed ComfyUI, started when needed)")
    group.add_argument(
        "--server", metavar="URL", action="append",
        help="use this running ComfyUI, such as http://127.0.0.1:8188; repeated: each image goes to the least busy",
    )  # fmt: skip
    group.add_argument("--comfyui", metavar="DIR", help="start the ComfyUI in this folder")
    group.add_argument("--verbose", action="store_true", help="show the log on the terminal")


def _given(options: argparse.Namespace) -> dict[str, list[str] | None]:
    """The parameters as they were typed. Raises CommandError where a value is missing."""
    given = {p.name: getattr(options, f"parameter_{p.name}") for p in PARAMETERS}
    for parameter in PARAMETERS:
        if MISSING in (given[parameter.name] or ()):
            parse_value(parameter, "")  # raises, with what is accepted
    return given


@contextlib.contextmanager
def _logged(file: str | None) -> Iterator[None]:
    if file is None:
        yield
        return
    from ..log import log_to

    handler = log_to(Path(file))
    package = logging.getLogger(__name__.partition(".")[0])
    package.setLevel(logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()


def _pictures(options: argparse.Namespace, screen: Console) -> Any:
    from .terminal_image import protocol

    return protocol(terminal=screen.is_terminal) if options.preview and not options.json else None


# --- upscale -----------------------------------------------------------------------------------------------------


def run_upscale(options: argparse.Namespace) -> int:
    """``distillery upscale``."""
    from ..jobs.manifest import Manifest
    from ..upscaler import Upscaler  # brings Pillow and numpy along, which --help does not need

    given = _given(options)
    parameters: dict[str, Any] = {}
    if [v.strip().lower() for v in given["power"] or ()] == ["auto"]:
        parameters["power"] = "auto"
        given["power"] = None
    command = format_command(given)
    parse_command(command)
    options.sources = expanded(options.sources)
    with _logged(options.log):
        manifest = Manifest(Path(options.manifest)) if options.manifest else None
        with Upscaler(
            server=options.server, comfyui=options.comfyui, out=options.out, allow_hosts=options.allow_host
        ) as upscaler:
            if len(options.sources) == 1:
                return _upscale_one(upscaler, options, command, parameters, manifest)
            return _upscale_many(upscaler, options, command, parameters, manifest)


def _note(manifest: Manifest | None, item: Item, command: str, parameters: dict[str, Any]) -> None:
    from ..jobs.manifest import entry

    if manifest is not None:
        power = f" --power {parameters['power']}" if parameters else ""
        manifest.add(entry(item, f"{command}{power}".strip()))


def _upscale_one(
    upscaler: Upscaler, options: argparse.Namespace, command: str, parameters: dict[str, Any], manifest: Manifest | None
) -> int:
    from ..errors import JobCancelled
    from ..upscaler import Item
    from .progress import TerminalProgress

    screen = Console(stderr=True, soft_wrap=True)
    source = options.sources[0]
    pictures = _pictures(options, screen)
    settings = {
        "preview": pictures is not None, "compare": options.compare, "skip_existing": options.skip_existing, **parameters
    }  # fmt: skip
    shortened = source.split("?")[0]
    try:
        if options.json:
            result = upscaler.upscale(source, command, **settings)
        else:
            with TerminalProgress(screen, shown(Path(shortened).name), pictures) as progress:
                result = upscaler.upscale(source, command, progress, **settings)
    except DistilleryError as error:
        report_error(options, screen, source, error)
        _note(manifest, Item(0, shortened, None, error), command, parameters)
        return exit_code(error)
    except KeyboardInterrupt:
        screen.print("Interrupted; the job was cancelled on the server.")
        _note(manifest, Item(0, shortened, None, JobCancelled("The job was cancelled.")), command, parameters)
        return INTERRUPTED
    _show(options, source, result)
    _note(manifest, Item(0, shortened, result, None), command, parameters)
    return DONE


def _upscale_many(
    upscaler: Upscaler, options: argparse.Namespace, command: str, parameters: dict[str, Any], manifest: Manifest | None
) -> int:
    from ..errors import JobCancelled, NotStarted
    from ..upscaler import Item
    from .progress import TerminalProgress

    screen = Console(stderr=True, soft_wrap=True)
    sources: list[str] = options.sources
    labels = [shown(Path(s.split("?")[0]).name) for s in sources]
    noted: set[int] = set()
    codes: list[int] = []
    pictures = _pictures(options, screen)
    with contextlib.ExitStack() as stack:
        progress = None if options.json else stack.enter_context(TerminalProgress(screen, "", pictures))

        def on_done(item: Item) -> None:
            if progress is not None:
                progress.done(labels[item.index])
            noted.add(item.index)
            _note(manifest, item, command, parameters)

        items = None
        try:
            items = upscaler.upscale_many(
                sources, command,
                None if progress is None else lambda index, event: progress.show(labels[index], event),
                continue_on_error=options.continue_on_error, skip_existing=options.skip_existing,
                preview=pictures is not None, compare=options.compare, on_done=on_done, **parameters,
            )  # fmt: skip
            for item in items:
                if item.result is not None:
                    _show(options, sources[item.index], item.result)
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
                    _note(manifest, Item(index, source.split("?")[0], None, error), command, parameters)
            return INTERRUPTED
    return code_of_all(codes)


def report_error(options: argparse.Namespace, screen: Console, source: str, error: DistilleryError) -> None:
    """Say that a source could not be done, as the options want it said."""
    if options.json:
        print(json.dumps({"source": source.split("?")[0], "error": str(error)}, ensure_ascii=False), flush=True)
    else:
        screen.print(f"[red]{shown(source.split('?')[0])}: {shown(str(error))}[/red]", highlight=False)


def _show(options: argparse.Namespace, source: str, result: Result) -> None:
    if options.json:
        print(json.dumps(as_json(source, result), ensure_ascii=False), flush=True)
    else:
        show_result(result)


def as_json(source: str, result: Result) -> dict[str, Any]:
    """A result as ``upscale --json`` prints it."""
    data: dict[str, Any] = {
        "source": source.split("?")[0],
        "path": str(result.path),
        "width": result.width,
        "height": result.height,
        "generation": to_dict(result.generation, carried=False),
        "recalled": to_dict(result.recalled, carried=False),
        "warnings": list(result.warnings),
        "seconds": {k: round(v, 3) for k, v in result.seconds.items()},
        "total": round(result.total, 3),
        "cached": list(result.cached),
        "server": result.server,
        "prompt_id": result.prompt_id,
    }
    if result.existed:
        data["skipped"] = True
    if result.choice is not None:
        data["power"] = result.choice.as_json()
    if result.compared is not None:
        data["compare"] = str(result.compared)
    return data


def show_result(result: Result) -> None:
    """Where the result is, what was recalled, warnings, seconds."""
    console = Console(soft_wrap=True)
    console.print(f"[bold]{shown(str(result.path))}[/bold]  {result.width}x{result.height}", highlight=False)
    if result.existed:
        console.print("[dim]is there already, made from the same picture with the same parameters[/dim]")
        return
    if result.compared is not None:
        console.print(f"[bold]{shown(str(result.compared))}[/bold]  before and after", highlight=False)
    console.print(generation_table(result.generation))
    if result.choice is not None:
        console.print(f"[green]{shown(result.choice.reason)}[/green]", highlight=False)
    for warning in result.warnings:
        console.print(f"[yellow]! {shown(warning)}[/yellow]", highlight=False)
    slow = [f"{title} {seconds:.1f}" for title, seconds in result.seconds.items() if seconds >= 0.05]
    cached = f"; {len(result.cached)} stages from the cache" if result.cached else ""
    console.print(
        f"[dim]{result.total:.1f} s: {', '.join(slow) or 'all from the cache'}{cached}[/dim]", highlight=False
    )


def generation_table(generation: Generation) -> Table:
    """What is known of a generation, with where it was found."""
    from ...nodes.report import as_rows

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for name, value, where in as_rows(generation):
        if value:
            table.add_row(shown(name), shown(value), shown(where))
    return table


# --- sweep -------------------------------------------------------------------------------------------------------


def values(name: str, given: list[str] | None) -> list[Any]:
    """The values of ``--power 0.1,0.2``. Raises CommandError."""
    if not given:
        return []
    if len(given) > 1:
        raise CommandError(f"--{name} is given twice; give it once, its values separated by commas.")
    return [parse_value(BY_NAME[name], text)[0] for text in re.split(r"[,\s]+", given[0].strip(", "))]


def run_sweep(options: argparse.Namespace) -> int:
    """``distillery sweep``."""
    from ..cancel import CancelToken
    from ..jobs.drift import POWERS
    from ..jobs.manifest import Manifest
    from ..jobs.sweep import sweep, variants
    from ..upscaler import Item, Options, Result, Upscaler
    from .progress import TerminalProgress

    given = _given(options)
    automatic = [v.strip().lower() for v in given["power"] or ()] in ([], ["auto"])
    powers = list(POWERS) if automatic else values("power", given["power"])
    rows = variants(powers, values("cfg", given["cfg"]), values("seed", given["seed"]))
    command = format_command({k: v for k, v in given.items() if k not in ("power", "cfg", "seed")})
    parse_command(command)
    screen = Console(stderr=True, soft_wrap=True)
    pictures = _pictures(options, screen)
    shortened = options.source.split("?")[0]
    name = shown(Path(shortened).name)
    manifest = Manifest(Path(options.manifest)) if options.manifest else None

    def on_done(text: str, made: Result | DistilleryError) -> None:
        result, error = (made, None) if isinstance(made, Result) else (None, made)
        _note(manifest, Item(0, shortened, result, error), text, {})

    with (
        _logged(options.log),
        Upscaler(
            server=options.server, comfyui=options.comfyui, out=options.out, allow_hosts=options.allow_host
        ) as upscaler,
        contextlib.ExitStack() as stack,
    ):
        progress = None if options.json else stack.enter_context(TerminalProgress(screen, "", pictures))
        try:
            made = sweep(
                upscaler, options.source, rows, command, Path(options.out),
                lambda variant, event: progress.show(f"{name} {variant}", event) if progress is not None else None,
                Options(CancelToken(), preview=pictures is not None), on_done,
            )  # fmt: skip
        except DistilleryError as error:
            report_error(options, screen, options.source, error)
            return exit_code(error)
        except KeyboardInterrupt:
            screen.print("Interrupted; the jobs were cancelled on the server.")
            return INTERRUPTED
    if options.json:
        data = {
            "source": options.source.split("?")[0],
            "sheet": str(made.sheet),
            "upscaled": str(made.upscaled.path),
            "power": made.choice.as_json(),
            "results": [
                {
                    "power": variant.power, "cfg": result.generation.cfg, "seed": result.generation.seed,
                    "path": str(result.path), "structure": round(made.drifts[variant].structure, 4),
                    "novelty": round(made.drifts[variant].novelty, 4), "warnings": list(result.warnings),
                    "cached": list(result.cached), "total": round(result.total, 3),
                }
                for variant, result in made.results.items()
            ],
        }  # fmt: skip
        print(json.dumps(data, ensure_ascii=False), flush=True)
        return DONE
    console = Console(soft_wrap=True)
    for variant, result in made.results.items():
        console.print(f"{shown(str(result.path))}  {made.drifts[variant]}", highlight=False)
    console.print(f"[bold]{shown(str(made.sheet))}[/bold]", highlight=False)
    console.print(f"[green]{shown(made.choice.reason)}[/green]", highlight=False)
    return DONE
