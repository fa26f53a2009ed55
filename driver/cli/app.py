"""The command line: ``distillery upscale``, ``sweep``, ``checkmetadata``, ``server``, ``doctor``."""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import logging.handlers
import math
import re
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ... import __version__
from ...nodes.command import parse_command
from ...nodes.errors import DistilleryError
from ...nodes.generation import Generation, to_dict
from ...nodes.parameters import BY_NAME
from .. import paths
from ..log import JsonLines, Plain
from . import doctor
from . import server as server_cli
from . import upscale as jobs_cli
from .terminal import DONE, FAILED, INTERRUPTED, UsageError, code_of_all, exit_code, expanded, shown
from .upscale import JOB_OPTIONS, add_source_options, generation_table, report_error

_EXITS = "exit codes: 0 done, 1 a job failed, 2 it cannot be run as given (bad command, no such file, no prompt), 130 interrupted"

_JSON_KEYS = """--json prints one object for each image, in a line of its own:
  source        as it was given, without the query of a URL
  error         why it cannot be read; then there is nothing else
  origin        the format that was read, "none" without generation data
  positive, negative, seed, cfg, steps, sampler, scheduler, denoise, guidance, checkpoint, checkpoint_hash, vae,
  vae_hash, clip_skip, width, height, family, sharpen
                null where the image does not tell
  loras         in order: objects of name, strength_model, strength_clip, hash
  hires         an object with those of steps, denoise, tile, scale, upscaler, keep that the image tells
  fields        where each value was found, by key
  warnings      a list of texts
  carried       what else the image carries"""

_OPTION = re.compile(r"(?:--|[‐‑‒–—―−⸺⸻]+-?)([A-Za-z][\w-]*)(=.*)?$", re.DOTALL)
_QUOTED = re.compile(r"--([A-Za-z][\w-]*)\s+(.+)", re.DOTALL)
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
        _refuse_quoted_options(given)
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


def normalised(arguments: Sequence[str]) -> list[str]:
    """Arguments with the command's freedoms: typographic dashes, names in any case, aliases."""
    result: list[str] = []
    open_parameter = False
    for argument in arguments:
        match = _OPTION.match(argument)
        if match:
            parameter = BY_NAME.get(match[1].lower().replace("-", "_"))
            name = match[1].lower() if match[1].lower() in JOB_OPTIONS else match[1]
            result.append(f"--{parameter.name if parameter else name}{match[2] or ''}")
            open_parameter = parameter is not None and not match[2]
        elif open_parameter:
            # Joined, so that a value such as -foo or -.5 is not taken for an option.
            result[-1] += f"={argument}"
            open_parameter = False
        else:
            result.append(argument)
    return result


def make_parser() -> argparse.ArgumentParser:
    """The command line's definition; the parameters come from the one table."""
    parser = argparse.ArgumentParser(prog="distillery", description="Distillery's /upscale on ComfyUI.", epilog=_EXITS)
    parser.add_argument("--version", action="version", version=f"distillery-upscale {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    jobs_cli.add_upscale_parser(commands, _EXITS)
    jobs_cli.add_sweep_parser(commands, _EXITS)

    check = commands.add_parser(
        "checkmetadata", help="show what images say of how they were made", epilog=f"{_JSON_KEYS}\n\n{_EXITS}", allow_abbrev=False,
        description="Shows what images say of how they were made: every field, where it was found, and the warnings.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    check.add_argument("sources", nargs="+", metavar="SOURCE", help=f"{jobs_cli.SOURCE}; or a pattern such as *.png")
    add_source_options(check)
    check.add_argument(
        "--json", action="store_true",
        help="print one JSON object for each image, in a line of its own: source, and error or the fields of the generation",
    )  # fmt: skip
    check.set_defaults(run=run_checkmetadata)

    server_cli.add_server_parser(commands)
    doctor.add_doctor_parser(commands)
    for name, text in (
        ("test", "run the tests (pytest's options); by the launcher"),
        ("python", "the environment's Python; by the launcher"),
    ):
        commands.add_parser(name, help=text).set_defaults(run=_only_by_launcher)
    return parser


def _refuse_quoted_options(arguments: Sequence[str]) -> None:
    """An option and its value in one pair of quotes would be taken for the name of a file."""
    for argument in arguments:
        match = _QUOTED.match(argument)
        if match and (match[1] in BY_NAME or match[1] in JOB_OPTIONS):
            raise UsageError(f'"{argument}" came as one argument. Quote the value alone: --{match[1]} "{match[2]}".')


def _refuse(options: argparse.Namespace, unknown: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Say what is wrong with arguments that argparse does not know."""
    named = next((u for u in unknown if u.startswith("--")), None)
    if named is not None and options.run in (jobs_cli.run_upscale, jobs_cli.run_sweep):
        name = named[2:].split("=")[0].lower()
        close = difflib.get_close_matches(name, [*BY_NAME, *JOB_OPTIONS], n=1, cutoff=0.5)
        if close and close[0] in JOB_OPTIONS:
            raise UsageError(f"unknown option --{name}. Did you mean --{close[0]}?")
        parse_command(f"{named.split('=')[0]} x")  # raises, with a did-you-mean
    raise UsageError(f"unknown option {' '.join(unknown)}; see --help.")


def _only_by_launcher(options: argparse.Namespace) -> int:
    raise UsageError("This command belongs to the launcher: run ./distillery (on Windows: python distillery).")


# --- checkmetadata -----------------------------------------------------------------------------------------------


def run_checkmetadata(options: argparse.Namespace) -> int:
    """``distillery checkmetadata``: an image without data is an answer and no error."""
    from ...nodes.recall import recall
    from ..sources.load import load

    screen = Console(stderr=True, soft_wrap=True)
    sources = expanded(options.sources)
    codes = []
    for source in sources:
        try:
            image = load(source, options.allow_host)
            generation = recall(image.data)
        except DistilleryError as error:
            report_error(options, screen, source, error)
            codes.append(exit_code(error))
            continue
        if options.json:
            print(json_line({"source": source.split("?")[0], **to_dict(generation)}), flush=True)
        else:
            if len(sources) > 1:
                size = f"{image.width}x{image.height}"
                Console(soft_wrap=True).print(f"[bold]{shown(source.split('?')[0])}[/bold]  {size}", highlight=False)
            show_generation(generation)
        codes.append(DONE)
    return code_of_all(codes)


def json_line(data: Any) -> str:
    """JSON in one line. NaN and Infinity, which JSON does not have and some images do, as texts."""
    try:
        return json.dumps(data, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(data), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def show_generation(generation: Generation) -> None:
    """The fields with their places, what else the image carries, the warnings."""
    from ...nodes.report import NO_DATA, carried_rows

    console = Console(soft_wrap=True)
    if generation.empty:
        console.print(NO_DATA, highlight=False)
    else:
        console.print(generation_table(generation))
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
    for warning in generation.warnings:
        console.print(f"[yellow]! {shown(warning)}[/yellow]", highlight=False)


def _log_to_file(verbose: bool) -> None:
    """The driver's log: JSON lines, rotated. A folder that cannot be written is no reason not to work."""
    handlers: list[logging.Handler] = []
    if verbose:
        handlers.append(logging.StreamHandler())
        handlers[0].setFormatter(Plain("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    try:
        paths.log_file().parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(paths.log_file(), maxBytes=1 << 20, backupCount=3, encoding="utf-8")
        )
        handlers[-1].setFormatter(JsonLines())
    except OSError:
        pass
    logging.captureWarnings(True)  # Pillow's, of files that are not quite right
    logging.basicConfig(
        level=logging.INFO,
        handlers=handlers or [logging.NullHandler()],
    )
