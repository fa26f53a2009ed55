"""``distillery server start|stop|status|logs``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from . import paths, server


def add_server_parser(commands: Any) -> None:
    """Add the ``server`` command to argparse's subparsers."""
    parser = commands.add_parser("server", help="the managed ComfyUI: start, stop, status, logs")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    start = actions.add_parser("start", help="start it, or say that it runs")
    start.add_argument(
        "--idle", type=float, default=server.IDLE_TIMEOUT, metavar="SECONDS",
        help=f"end it after so many seconds without a job (default {server.IDLE_TIMEOUT:.0f})",
    )  # fmt: skip
    start.add_argument("--comfyui", metavar="DIR", help="start the ComfyUI in this folder instead")
    start.set_defaults(run=_start)
    actions.add_parser("stop", help="stop it, and any job with it").set_defaults(run=_stop)
    actions.add_parser("status", help="whether it runs, where, how much memory it takes").set_defaults(run=_status)
    logs = actions.add_parser("logs", help="the end of its log")
    logs.add_argument("--lines", type=int, default=50, metavar="N", help="how many lines (default 50)")
    logs.set_defaults(run=_logs)


def _start(options: argparse.Namespace) -> int:
    from .driver import prepare_models

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if options.comfyui is None:
        prepare_models(say)
    running = server.ensure(comfyui=Path(options.comfyui) if options.comfyui else None, idle_timeout=options.idle, say=say)
    print(f"{running.url}  (pid {running.pid}, log {running.log})")
    return 0


def _stop(options: argparse.Namespace) -> int:
    stopped = [name for name in server.instances() if server.stop(name)]
    print("Stopped." if stopped else "It was not running.")
    return 0


def _status(options: argparse.Namespace) -> int:
    running = [status for name in server.instances() if (status := server.status(name))]
    for s in running:
        state = "answers" if s.answers else "does not answer"
        print(f"{s.instance}: {s.url}  pid {s.pid}, {state}, idle {s.seconds_idle:.0f} s, {s.memory / 2**20:.0f} MiB")
    if not running:
        print("Not running; a job starts it.")
    return 0


def _logs(options: argparse.Namespace) -> int:
    shown = False
    for name in server.instances():
        text = server.logs(name, options.lines)
        if text:
            print(f"--- {name} ({paths.servers_dir() / name / 'server.log'})\n{text}")
            shown = True
    if not shown:
        print("There is no log yet: no server was started.")
    return 0
