"""``distillery worker``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

from ..log import Plain
from .jobs import missing
from .terminal import DONE


def add_worker_parser(commands: Any) -> None:
    """Define ``worker``."""
    parser = commands.add_parser(
        "worker", help="run the jobs of a cluster on this machine's ComfyUIs",
        description="Takes jobs from a cluster's PostgreSQL and runs them, one at a time on each ComfyUI. Ctrl-C or SIGTERM "
        "lets running jobs end and takes no others.",
    )  # fmt: skip
    parser.add_argument(
        "--database", metavar="URL",
        help="URL of the PostgreSQL, without a password (default: DISTILLERY_DATABASE, else one of this machine's own)",
    )  # fmt: skip
    parser.add_argument(
        "--store", metavar="URL",
        help="of pictures and results: file:///folder, s3://bucket/prefix, gs://…, az://… (default: DISTILLERY_STORE, "
        "else the one that the cluster knows)",
    )  # fmt: skip
    group = parser.add_argument_group("ComfyUIs (default: a managed one)")
    group.add_argument(
        "--server", metavar="URL", action="append", default=[], help="a running ComfyUI; can be repeated"
    )
    group.add_argument("--comfyui", metavar="DIR", help="start the ComfyUI in this folder")
    parser.add_argument("--name", default="", help="shown in lists (default: name of this host)")
    parser.add_argument(
        "--grace", type=float, default=900.0, metavar="SECONDS",
        help="that running jobs are given to end after SIGTERM; then they go back into the queue (default 900)",
    )  # fmt: skip
    parser.add_argument(
        "--http",
        metavar="[HOST:]PORT",
        help="serve /health, /ready, /metrics and a page with the queue; off by default",
    )
    parser.add_argument(
        "--webhook-host", metavar="HOST", action="append", default=[],
        help="exact name of a host that webhooks may go to; signed with DISTILLERY_WEBHOOK_SECRET; can be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--keep-days", type=float, default=7.0, metavar="DAYS", help="keep ended jobs so long (default 7)"
    )
    parser.add_argument("--migrate", action="store_true", help="make or update the schema, and end")
    parser.add_argument("--verbose", action="store_true", help="show the log on the terminal")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        from ..cluster.addresses import database_url, shown
        from ..cluster.database import resolve
        from ..cluster.pages import Pages, listen_address
        from ..cluster.schema import ensure_schema
        from ..cluster.slots import server_slot
        from ..cluster.worker import ClusterWorker, WorkerOptions, prepare_cluster
    except ImportError as error:
        raise missing(error) from error
    from ..server.endpoint import endpoint
    from ..server.servers import GivenServer, ManagedServer, Server

    database = database_url(options.database)
    if options.migrate:
        ensure_schema(resolve(database))
        print("The schema is up to date.")
        return DONE
    address = listen_address(options.http) if options.http else None
    chosen = WorkerOptions(
        database, options.store, options.name, options.grace, options.keep_days, webhook_hosts=options.webhook_host
    )
    conninfo, store = prepare_cluster(chosen)
    servers: list[Server] = [GivenServer(endpoint(url)) for url in dict.fromkeys(options.server)]
    if not servers or options.comfyui:
        servers.append(ManagedServer(comfyui=Path(options.comfyui) if options.comfyui else None))
    if not options.verbose:
        say_warnings()
    print(f"Worker of {shown(database)}, {len(servers)} ComfyUI. Ctrl-C ends it.", file=sys.stderr, flush=True)

    async def work() -> None:
        slots = [server_slot(server) for server in servers]
        worker = ClusterWorker(chosen, conninfo, store, slots)
        pages = Pages(worker, conninfo, address) if address else None
        try:
            await worker.run()
        finally:
            if pages is not None:
                pages.close()
            for slot in slots:
                slot.backend.close()

    if sys.platform == "win32":  # psycopg does without the other loop
        asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())
    asyncio.run(work())
    return DONE


def say_warnings() -> None:
    """Show warnings of the cluster on the terminal: a worker has nobody else to tell."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(Plain("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger(__name__.rpartition(".cli")[0]).addHandler(handler)
