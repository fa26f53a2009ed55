"""The command line: ``distillery upscale``, ``sweep``, ``checkmetadata``, ``server``, ``worker``, ``jobs``, ``doctor``."""

from __future__ import annotations

import argparse
import difflib
import logging
import logging.handlers
import re
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from ... import __version__
from ...nodes.command import parse_command
from ...nodes.errors import DistilleryError
from ...nodes.parameters import BY_NAME
from .. import paths
from ..log import JsonLines, Plain
from ..server.access import private_folder
from .bot import add_bot_parser
from .checkmetadata import add_checkmetadata_parser
from .doctor import add_doctor_parser
from .jobs import add_jobs_parser
from .options import JOB_OPTIONS
from .server import add_server_parser
from .signals import ended_by_signals, interrupted
from .streams import harden, output_error
from .sweep import add_sweep_parser, run_sweep
from .terminal import DONE, FAILED, UsageError, exit_code, printable
from .upscale import add_upscale_parser, run_upscale
from .worker import add_worker_parser

_EXITS = "exit codes: 0 done, 1 a job failed, 2 it cannot be run as given (bad command, no such file, no prompt), 130 interrupted (143 by SIGTERM, 129 by SIGHUP)"

_OPTION = re.compile(r"(?:--|[‐‑‒–—―−⸺⸻]+-?)([A-Za-z][\w-]*)(=.*)?$", re.DOTALL)
_QUOTED = re.compile(r"--([A-Za-z][\w-]*)\s+(.+)", re.DOTALL)
log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    harden()
    with ended_by_signals():
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
    lost = output_error()
    if lost is not None and code == DONE:
        Console(stderr=True, soft_wrap=True).print(f"[red]The output could not be written: {lost.strerror}.[/red]")
        return FAILED
    return code


def _run(arguments: list[str]) -> int:
    given = canonical_args(arguments)
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
        errors.print(f"[red]{printable(str(error))}[/red]", highlight=False)
        return exit_code(error)
    except KeyboardInterrupt as stop:
        errors.print("Interrupted.")
        return interrupted(stop)
    except Exception:
        log.exception("unexpected error")
        errors.print(
            f"[red]Something unexpected went wrong; the details are in {escape(str(paths.log_file()))}.[/red]",
            highlight=False,
        )
        return FAILED


def canonical_args(arguments: Sequence[str]) -> list[str]:
    """Return the arguments in the form that argparse knows: plain dashes, canonical names, values joined by ``=``."""
    result: list[str] = []
    open_parameter = False
    for index, argument in enumerate(arguments):
        if argument == "--" and not open_parameter:
            return [*result, *arguments[index:]]  # names of files from here on
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
    """Define the command line. The parameters come from the table in :mod:`nodes.parameters`."""
    parser = argparse.ArgumentParser(prog="distillery", description="Distillery's /upscale on ComfyUI.", epilog=_EXITS)
    parser.add_argument("--version", action="version", version=f"distillery-upscale {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_upscale_parser(commands, _EXITS)
    add_sweep_parser(commands, _EXITS)
    add_checkmetadata_parser(commands, _EXITS)
    add_server_parser(commands)
    add_worker_parser(commands)
    add_jobs_parser(commands)
    add_bot_parser(commands)
    add_doctor_parser(commands)
    for name, text in (
        ("test", "run the tests (pytest's options); by the launcher"),
        ("check", "lint, types, import rules and the quick tests; by the launcher"),
        ("python", "the environment's Python; by the launcher"),
    ):
        commands.add_parser(name, help=text).set_defaults(run=_only_by_launcher)
    return parser


def _refuse_quoted_options(arguments: Sequence[str]) -> None:
    """Reject an option and its value in one pair of quotes, which would be taken for a file name."""
    for argument in arguments:
        match = _QUOTED.match(argument)
        if match and (match[1] in BY_NAME or match[1] in JOB_OPTIONS):
            raise UsageError(f'"{argument}" came as one argument. Quote the value alone: --{match[1]} "{match[2]}".')


def _refuse(options: argparse.Namespace, unknown: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Raise for arguments that argparse does not know, with the nearest name that it does."""
    named = next((u for u in unknown if u.startswith("--")), None)
    if named is not None and options.run in (run_upscale, run_sweep):
        name = named[2:].split("=")[0].lower()
        close = difflib.get_close_matches(name, [*BY_NAME, *JOB_OPTIONS], n=1, cutoff=0.5)
        if close and close[0] in JOB_OPTIONS:
            raise UsageError(f"unknown option --{name}. Did you mean --{close[0]}?")
        parse_command(f"{named.split('=')[0]} x")  # raises, with a did-you-mean
    raise UsageError(f"unknown option {' '.join(unknown)}; see --help.")


def _only_by_launcher(options: argparse.Namespace) -> int:
    raise UsageError("This command belongs to the launcher: run ./distillery (on Windows: python distillery).")


def _log_to_file(verbose: bool) -> None:
    """Set up the driver's log: rotated JSON lines. Without a writable folder the command runs unlogged."""
    handlers: list[logging.Handler] = []
    if verbose:
        handlers.append(logging.StreamHandler())
        handlers[0].setFormatter(Plain("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    try:
        private_folder(paths.log_file().parent)  # prompts stand in it
        handlers.append(
            logging.handlers.RotatingFileHandler(
                paths.log_file(), maxBytes=1 << 20, backupCount=3, encoding="utf-8", errors="backslashreplace"
            )
        )
        handlers[-1].setFormatter(JsonLines())
    except OSError:
        pass
    logging.captureWarnings(True)  # Pillow's, of files that are not quite right
    logging.basicConfig(
        level=logging.INFO,
        handlers=handlers or [logging.NullHandler()],
    )
