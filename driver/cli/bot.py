"""``distillery bot``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import Any

from ..errors import ServerError
from .terminal import DONE
from .worker import say_warnings

TOKEN = "DISTILLERY_DISCORD_TOKEN"


def add_bot_parser(commands: Any) -> None:
    """Define ``bot``."""
    parser = commands.add_parser(
        "bot", help="the Discord bot",
        description=f"Runs the Discord bot with the token in {TOKEN}. Without --cluster it does everything on this machine: a "
        "database of its own, one worker, a managed ComfyUI. docs/bot.md says how an application is made.",
    )  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="TOML file with tiers, limits and owners; see docs/bot.md")
    parser.add_argument(
        "--cluster", metavar="URL",
        help="have the workers of a cluster run the jobs: URL of its PostgreSQL, env (the URL is in DISTILLERY_DATABASE) or local",
    )  # fmt: skip
    parser.add_argument(
        "--store", metavar="URL", help="of pictures and results, as for worker; default: the cluster's own"
    )
    group = parser.add_argument_group("this machine's ComfyUI (without --cluster; default: a managed one)")
    group.add_argument(
        "--server", metavar="URL", action="append", default=[], help="a running ComfyUI; can be repeated"
    )
    group.add_argument("--comfyui", metavar="DIR", help="start the ComfyUI in this folder")
    parser.add_argument(
        "--shards", metavar="IDS/COUNT", help="of a bot in thousands of servers: those of this process, such as 0-3/8"
    )
    parser.add_argument(
        "--check", action="store_true", help="read the configuration, say what is wrong with it, and end"
    )
    parser.add_argument("--verbose", action="store_true", help="show the log on the terminal")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        from ..bot.client import Bot, run_bot
        from ..bot.config import BotError, read_config
        from ..bot.database import BotDatabase
        from ..bot.own_worker import keep_worker
        from ..bot.schema import BOT
        from ..cluster.addresses import LOCAL, database_url, shown
        from ..cluster.schema import ensure_schema
        from ..cluster.worker import WorkerOptions, prepare_cluster
    except ImportError as error:
        raise ServerError(
            f"The bot needs packages that are not installed ({error.name}): pip install 'distillery-upscale[bot]'. The launcher "
            "installs them for its command bot."
        ) from error

    config = read_config(options.config)
    shards = parse_shards(options.shards)
    if options.check:
        print("The configuration can be used.")
        return DONE
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise BotError(
            f"{TOKEN} is not set. It is the token of your application: discord.com/developers, Bot, Reset Token; see docs/bot.md."
        )
    database = database_url(options.cluster) if options.cluster else LOCAL
    conninfo, store = prepare_cluster(WorkerOptions(database, options.store))
    ensure_schema(conninfo, BOT)
    if not options.verbose:
        say_warnings()
    where = f"the cluster {shown(database)}" if options.cluster else "this machine"
    print(f"Bot with the workers of {where}. Ctrl-C ends it.", file=sys.stderr, flush=True)

    async def work() -> None:
        bot = Bot(config, BotDatabase(conninfo, config), store, token, shards=shards)
        helper: asyncio.Task[None] | None = None
        if not options.cluster:
            arguments = ["--database", LOCAL, *(a for url in options.server for a in ("--server", url))]
            arguments += ["--comfyui", options.comfyui] if options.comfyui else []
            arguments += ["--store", options.store] if options.store else []
            helper = asyncio.create_task(keep_worker(arguments))
        running = asyncio.create_task(run_bot(bot, token))
        for name in ("SIGTERM", "SIGINT"):
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # Windows
                asyncio.get_running_loop().add_signal_handler(getattr(signal, name), running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            logging.getLogger(__name__).warning("ending; what is in the queue goes on with the next start")
        finally:
            if helper is not None:
                helper.cancel()
                await asyncio.gather(helper, return_exceptions=True)

    if sys.platform == "win32":  # psycopg does without the other loop
        asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())
    asyncio.run(work())
    return DONE


def parse_shards(text: str | None) -> tuple[list[int], int] | None:
    """Read ``0-3/8`` or ``2/8``; None: none are given. Raises ServerError."""
    if text is None:
        return None
    ids, _, count = text.partition("/")
    first, _, last = ids.partition("-")
    numbers = (first, last or first, count)
    if all(number.isdecimal() and len(number) < 6 for number in numbers):
        low, high, number = map(int, numbers)
        if low <= high < number:
            return list(range(low, high + 1)), number
    raise ServerError(
        f"--shards {text[:40]} is not understood: write first-last/count, such as 0-3/8, or one of them: 2/8."
    )
