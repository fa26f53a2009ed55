"""The command line: ``distillery upscale``, ``checkmetadata``, ``server``, ``doctor``."""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import logging.handlers
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .. import __version__
from ..nodes.command import CommandError, format_command, parse_command, parse_value
from ..nodes.errors import DistilleryError
from ..nodes.generation import Generation, to_dict
from ..nodes.parameters import BY_NAME, PARAMETERS
from ..nodes.settings import NoPromptError
from . import doctor, paths, server_cli
from .errors import SourceError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all done; a job failed; it cannot be run as given; Ctrl-C."""

_EXITS = "exit codes: 0 done, 1 a job failed, 2 it cannot be run as given (bad command, no such file, no prompt), 130 interrupted"

# What a stranger's image must not send to a terminal: control characters, and those that turn the text around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_OPTION = re.compile(r"(?:--|[‐‑‒–—―−⸺⸻]+-?)([A-Za-z][\w-]*)(=.*)?$", re.DOTALL)
_OWN_OPTIONS = ("out", "json", "server", "comfyui", "verbose", "help")

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = normalised(sys.argv[1:] if arguments is None else list(arguments))
    parser = make_parser()
    try:
        options, unknown = parser.parse_known_args(given)
    except SystemExit as stop:
        return int(stop.code or 0)
    errors = Console(stderr=True, soft_wrap=True)
    try:
        if unknown:
            _refuse(options, unknown, parser)
        _log_to_file(getattr(options, "verbose", False))
        return int(options.run(options))
    except DistilleryError as error:
        errors.print(f"[red]{shown(str(error))}[/red]", highlight=False)
        return exit_code(error)
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        return DONE
    except Exception:
        log.exception("unexpected error")
        errors.print(
            f"[red]Something unexpected went wrong; the details are in {escape(str(paths.log_file()))}.[/red]",
            highlight=False,
        )
        return FAILED


_MISSING = "\0"
"""Stands for a value that was not given; no argument of a process can hold it."""


class _Usage(DistilleryError):
    """What was typed cannot be run."""


def exit_code(error: DistilleryError) -> int:
    """Whether it cannot be run as given, or failed."""
    return USAGE if isinstance(error, CommandError | SourceError | NoPromptError | _Usage) else FAILED


def normalised(arguments: Sequence[str]) -> list[str]:
    """Arguments with the command's freedoms: typographic dashes, names in any case, aliases."""
    result: list[str] = []
    open_parameter = False
    for argument in arguments:
        match = _OPTION.match(argument)
        if match:
            parameter = BY_NAME.get(match[1].lower().replace("-", "_"))
            name = match[1].lower() if match[1].lower() in _OWN_OPTIONS else match[1]
            result.append(f"--{parameter.name if parameter else name}{match[2] or ''}")
            open_parameter = parameter is not None and not match[2]
        elif open_parameter:
            # Joined, so that a value such as -foo or -.5 is not taken for an option.
            result[-1] += f"={argument}"
            open_parameter = False
        else:
            result.append(argument)
    return result


def shown(text: str) -> str:
    """Text from elsewhere, fit for a terminal and for rich."""
    return escape(_CONTROL.sub("\ufffd", text))


def make_parser() -> argparse.ArgumentParser:
    """The command line's definition; the parameters come from the one table."""
    parser = argparse.ArgumentParser(prog="distillery", description="Distillery's /upscale on ComfyUI.", epilog=_EXITS)
    parser.add_argument("--version", action="version", version=f"distillery-upscale {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    upscale = commands.add_parser(
        "upscale", help="upscale images 2x, keeping their prompts, LoRAs and other parameters", epilog=_EXITS,
        description="Upscales images 2x and regenerates them with the prompts, LoRAs and models that made them.",
        allow_abbrev=False,
    )  # fmt: skip
    upscale.add_argument("sources", nargs="+", metavar="SOURCE", help="image file, or URL of a Discord attachment")
    group = upscale.add_argument_group("parameters (they override what the image carries)")
    for parameter in PARAMETERS:
        group.add_argument(
            f"--{parameter.name}", dest=f"parameter_{parameter.name}", action="append", nargs="?", const=_MISSING,
            metavar="X" if parameter.kind == "float" else "N" if parameter.kind == "int" else parameter.name.upper(),
            help=f"{parameter.meaning}; {parameter.accepts}; default {parameter.default}".replace("%", "%%"),
        )  # fmt: skip
    upscale.add_argument("--out", metavar="DIR", default=".", help="folder of the results (default: this one)")
    upscale.add_argument("--json", action="store_true", help="print one JSON object for each image and nothing else")
    _add_server_options(upscale)
    upscale.set_defaults(run=run_upscale)

    check = commands.add_parser(
        "checkmetadata", help="show what an image says of how it was made", epilog=_EXITS, allow_abbrev=False
    )
    check.add_argument("source", metavar="SOURCE", help="image file, or URL of a Discord attachment")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=run_checkmetadata)

    server_cli.add_server_parser(commands)
    doctor.add_doctor_parser(commands)
    for name, text in (
        ("test", "run the tests (pytest's options); by the launcher"),
        ("python", "the environment's Python; by the launcher"),
    ):
        commands.add_parser(name, help=text).set_defaults(run=_only_by_launcher)
    return parser


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("server (default: a managed ComfyUI, started when needed)")
    group.add_argument("--server", metavar="URL", help="use this running ComfyUI, such as http://127.0.0.1:8188")
    group.add_argument("--comfyui", metavar="DIR", help="start the ComfyUI in this folder")
    group.add_argument("--verbose", action="store_true", help="show the log on the terminal")


def _refuse(options: argparse.Namespace, unknown: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Say what is wrong with arguments that argparse does not know."""
    named = next((u for u in unknown if u.startswith("--")), None)
    if named is not None and options.run is run_upscale:
        name = named[2:].split("=")[0].lower()
        close = difflib.get_close_matches(name, [*BY_NAME, *_OWN_OPTIONS], n=1, cutoff=0.5)
        if close and close[0] in _OWN_OPTIONS:
            raise _Usage(f"unknown option --{name}. Did you mean --{close[0]}?")
        parse_command(f"{named.split('=')[0]} x")  # raises, with a did-you-mean
    raise _Usage(f"unknown option {' '.join(unknown)}; see --help.")


def _only_by_launcher(options: argparse.Namespace) -> int:
    raise _Usage("This command belongs to the launcher: run ./distillery (on Windows: python distillery).")


# --- upscale -----------------------------------------------------------------------------------------------------


def run_upscale(options: argparse.Namespace) -> int:
    """``distillery upscale``."""
    from .driver import Driver  # brings Pillow and numpy along, which --help does not need
    from .progress import TerminalProgress

    for parameter in PARAMETERS:
        if _MISSING in (getattr(options, f"parameter_{parameter.name}") or ()):
            parse_value(parameter, "")  # raises, with what is accepted
    command = format_command({p.name: getattr(options, f"parameter_{p.name}") for p in PARAMETERS})
    parse_command(command)
    screen = Console(stderr=True, soft_wrap=True)
    codes = []
    with Driver(server=options.server, comfyui=options.comfyui, out=options.out) as driver:
        for source in options.sources:
            label = Path(source.split("?")[0]).name
            try:
                if options.json:
                    result = driver.upscale(source, command)
                    print(json.dumps(as_json(source, result), ensure_ascii=False), flush=True)
                else:
                    with TerminalProgress(screen, shown(label)) as progress:
                        result = driver.upscale(source, command, progress)
                    show_result(result)
                codes.append(DONE)
            except DistilleryError as error:
                _report(options, screen, source, error)
                codes.append(exit_code(error))
            except KeyboardInterrupt:
                screen.print("Interrupted; the job was cancelled on the server.")
                return INTERRUPTED
    if not any(codes):
        return DONE
    return USAGE if set(codes) == {USAGE} else FAILED


def _report(options: argparse.Namespace, screen: Console, source: str, error: DistilleryError) -> None:
    if options.json:
        print(json.dumps({"source": source.split("?")[0], "error": str(error)}, ensure_ascii=False), flush=True)
    else:
        screen.print(f"[red]{shown(source.split('?')[0])}: {shown(str(error))}[/red]", highlight=False)


def as_json(source: str, result: Any) -> dict[str, Any]:
    """A result as ``upscale --json`` prints it."""
    return {
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


def show_result(result: Any) -> None:
    """Where the result is, what was recalled, warnings, seconds."""
    console = Console(soft_wrap=True)
    console.print(f"[bold]{shown(str(result.path))}[/bold]  {result.width}x{result.height}", highlight=False)
    console.print(_table(result.generation))
    for warning in result.warnings:
        console.print(f"[yellow]! {shown(warning)}[/yellow]", highlight=False)
    slow = [f"{title} {seconds:.1f}" for title, seconds in result.seconds.items() if seconds >= 0.05]
    cached = f"; {len(result.cached)} stages from the cache" if result.cached else ""
    console.print(
        f"[dim]{result.total:.1f} s: {', '.join(slow) or 'all from the cache'}{cached}[/dim]", highlight=False
    )


def _table(generation: Generation) -> Table:
    from ..nodes.recall.report import as_rows

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for name, value, where in as_rows(generation):
        if value:
            table.add_row(shown(name), shown(value), shown(where))
    return table


# --- checkmetadata -----------------------------------------------------------------------------------------------


def run_checkmetadata(options: argparse.Namespace) -> int:
    """``distillery checkmetadata``: an image without data is an answer and no error."""
    from ..nodes.recall import recall
    from ..nodes.recall.report import carried_rows
    from .source import load

    generation = recall(load(options.source).data)
    if options.json:
        print(json.dumps(to_dict(generation), ensure_ascii=False, indent=2))
        return DONE
    console = Console(soft_wrap=True)
    if generation.empty:
        console.print("No generation data. To upscale it give --prompt and --model, or --power 0.", highlight=False)
    else:
        console.print(_table(generation))
    for warning in generation.warnings:
        console.print(f"[yellow]! {shown(warning)}[/yellow]", highlight=False)
    carried = list(carried_rows(generation))
    if carried:
        table = Table(
            title="what the image carries", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False
        )
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in carried:
            table.add_row(shown(name), shown(value))
        console.print(table)
    return DONE


def _log_to_file(verbose: bool) -> None:
    """The driver's log: rotated, without secrets. A folder that cannot be written is no reason not to work."""
    handlers: list[logging.Handler] = [logging.StreamHandler()] if verbose else []
    try:
        paths.log_file().parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(paths.log_file(), maxBytes=1 << 20, backupCount=3, encoding="utf-8")
        )
    except OSError:
        pass
    logging.basicConfig(
        level=logging.INFO,
        handlers=handlers or [logging.NullHandler()],
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
