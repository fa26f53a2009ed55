"""``distillery server start|open|stop|status|logs``."""

from __future__ import annotations

import argparse
import html
import sys
import webbrowser
from pathlib import Path
from typing import Any

from ..errors import ServerError
from ..server import managed
from ..server.access import write_private
from ..server.own import own_comfyui, own_instance
from ..server.process import RunningServer


def add_server_parser(commands: Any) -> None:
    """Define ``server`` and its actions."""
    parser = commands.add_parser("server", help="the managed ComfyUI: start, open, stop, status, logs")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    start = actions.add_parser("start", help="start it, or say that it runs")
    start.add_argument(
        "--idle", type=_from_one, default=managed.IDLE_TIMEOUT, metavar="SECONDS",
        help=f"end it after so many seconds without a job (default {managed.IDLE_TIMEOUT:.0f})",
    )  # fmt: skip
    start.set_defaults(run=_start)
    opening = actions.add_parser("open", help="open its editor in the browser; it is started if need be")
    opening.set_defaults(run=_open, idle=managed.IDLE_TIMEOUT)
    stop = actions.add_parser("stop", help="stop it, and any job with it")
    stop.add_argument("--all", action="store_true", help="stop every server that this project manages")
    stop.set_defaults(run=_stop)
    actions.add_parser("status", help="which servers run, where, how much memory they take").set_defaults(run=_status)
    logs = actions.add_parser("logs", help="the end of its log")
    logs.add_argument("--lines", type=_from_one, default=50, metavar="N", help="how many lines (default 50)")
    logs.set_defaults(run=_logs)
    for action in (start, opening, stop, logs):
        action.add_argument(
            "--name", default=managed.DEFAULT, help=f"which server, if there are several (default {managed.DEFAULT})"
        )
        action.add_argument("--comfyui", metavar="DIR", help="the server of the ComfyUI in this folder instead")


def _from_one(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} given; a whole number from 1 up is needed")
    return value


def _name(options: argparse.Namespace) -> str:
    if options.comfyui is None:
        return str(options.name)
    return own_instance(own_comfyui(Path(options.comfyui)))


def _start(options: argparse.Namespace) -> int:
    running = _ensure(options)
    print(f"{running.editor_url}  (pid {running.pid}, log {running.log})")
    return 0


def _open(options: argparse.Namespace) -> int:
    running = _ensure(options)
    # Through a file of the user's own: the arguments of a browser's process can be read by every user of the machine.
    page = running.log.parent / "state" / "open.html"
    write_private(page, f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(running.editor_url)}">')
    if not webbrowser.open(page.as_uri()):
        print("No browser can be opened from here. Open this link, which holds the server's token:", file=sys.stderr)
        print(running.editor_url)
    return 0


def _ensure(options: argparse.Namespace) -> RunningServer:
    from ..setup.models import prepare_models

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    comfyui = Path(options.comfyui) if options.comfyui else None
    if comfyui is None:
        prepare_models(say)
    return managed.ensure(options.name, comfyui, float(options.idle), say)


def _stop(options: argparse.Namespace) -> int:
    names = list(managed.instances()) if options.all else [_name(options)]
    stopped = [name for name in names if managed.stop(name)]
    print(f"Stopped: {', '.join(stopped)}." if stopped else "It was not running.")
    return 0


def _status(options: argparse.Namespace) -> int:
    running = [status for name in managed.instances() if (status := managed.status(name))]
    for s in running:
        state = "answers" if s.answers else "does not answer"
        print(f"{s.instance}: {s.url}  pid {s.pid}, {state}, idle {s.seconds_idle:.0f} s, {s.memory / 2**20:.0f} MiB")
    if not running:
        print("Not running; a job starts it.")
    return 0


def _logs(options: argparse.Namespace) -> int:
    name = _name(options)
    text = managed.logs(name, options.lines)
    if not text:
        raise ServerError(f"There is no log: no server named {name} was started. Servers are listed by: server status.")
    print(text)
    return 0
