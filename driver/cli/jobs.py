"""``distillery jobs list|show|cancel|retry|dead|replay``."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .terminal import DONE, FAILED, UsageError, printable

if TYPE_CHECKING:
    from ..cluster.database import Database

STATES = ("queued", "running", "done", "failed", "cancelled", "expired")


def add_jobs_parser(commands: Any) -> None:
    """Define ``jobs`` and its actions."""
    parser = commands.add_parser("jobs", help="the jobs of a cluster: list, show, cancel, retry, dead, replay")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="the jobs: those that run, those that wait in their order, the others")
    listed.add_argument("--state", choices=STATES, help="only those of that state")
    listed.add_argument("--user", metavar="ID", help="only those of that user")
    dead = actions.add_parser(
        "dead", help="jobs that failed through no fault of their own: their workers died or failed"
    )
    for action in (listed, dead):
        action.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default 50)")
    listed.set_defaults(run=_list, dead=False)
    dead.set_defaults(run=_list, dead=True, state=None, user=None)
    show = actions.add_parser("show", help="one job: its place, the estimate, what became of it")
    show.set_defaults(run=_show)
    cancel = actions.add_parser("cancel", help="cancel jobs, waiting or running")
    cancel.set_defaults(run=_cancel)
    retry = actions.add_parser("retry", help="put jobs that failed, were cancelled or expired back into the queue")
    retry.set_defaults(run=_retry)
    replay = actions.add_parser("replay", help="put dead jobs back into the queue: those given, or all")
    replay.set_defaults(run=_replay)
    for action in (show, cancel, retry, replay):
        needed = {"nargs": "*"} if action is replay else {"nargs": 1 if action is show else "+"}
        action.add_argument("ids", metavar="ID", help="id of a job, or its beginning", **needed)
    for action in (listed, dead, show, cancel, retry, replay):
        action.add_argument(
            "--cluster", metavar="URL",
            help="URL of the cluster's PostgreSQL, env or local (default: DISTILLERY_DATABASE, else local)",
        )  # fmt: skip
        action.add_argument("--json", action="store_true", help="print JSON and nothing else")


@contextlib.contextmanager
def _database(options: argparse.Namespace) -> Iterator[Database]:
    try:
        import psycopg

        from ..cluster.addresses import database_url
        from ..cluster.database import Database, resolve, statement_error
        from ..cluster.schema import ensure_schema
    except ImportError as error:
        raise missing(error) from error
    conninfo = resolve(database_url(options.cluster))
    ensure_schema(conninfo)
    database = Database(conninfo)
    try:
        yield database
    except psycopg.Error as error:
        raise statement_error(conninfo, error) from None
    finally:
        database.close()


def missing(error: ImportError) -> UsageError:
    """Return the error where the cluster's packages are not installed."""
    return UsageError(
        f"This command needs packages that are not installed ({error.name}): pip install 'distillery-upscale[cluster]'."
    )


def _list(options: argparse.Namespace) -> int:
    with _database(options) as database:
        from ..cluster.queries import list_jobs

        jobs = list_jobs(database, options.state, options.user, options.dead, options.limit)
    if options.json:
        print(json.dumps(jobs))
    for job in () if options.json else jobs:
        what = job.get("stage") or job.get("error") or ""
        line = f"{job['id'][:12]}  {job['state']:9}  {job['user_id'] or '-':12}  {job['source']}  {what}"
        print(printable(line).rstrip())
    if not jobs and not options.json:
        print("No dead jobs." if options.dead else "No jobs.")
    return DONE


def _show(options: argparse.Namespace) -> int:
    with _database(options) as database:
        from ..cluster.queries import find_job, show_job

        job = show_job(database, find_job(database, options.ids[0]))
    if options.json:
        print(json.dumps(job))
        return DONE
    for name, value in job.items():
        if name == "wait_seconds":
            value = f"about {value:.0f} s" if value is not None else "no worker is there"
        for line in value if isinstance(value, list) else [value]:
            text = " ".join(str(v) for v in line.values() if v is not None) if isinstance(line, dict) else line
            print(printable(f"{name:18} {text}"))
    return DONE


def _each(options: argparse.Namespace, ids: list[str] | None, action: str) -> int:
    """Do something with each job; says what, and of which that was not possible."""
    from ..cluster.errors import ClusterError

    said: list[dict[str, str]] = []
    failed = False
    with _database(options) as database:
        from ..cluster.queries import cancel_job, find_job, ids_of_dead, replay_job

        for given in ids if ids is not None else list(ids_of_dead(database)):
            try:
                job_id = find_job(database, given)
            except ClusterError as error:
                said.append({"id": given, "error": str(error)})
                failed = True
                continue
            if action == "cancel":
                state = cancel_job(database, job_id)
                good, text = state in ("cancelled", "running"), "cancelling" if state == "running" else state
            else:
                state = replay_job(database, job_id)
                good = state in ("failed", "cancelled", "expired")
                text = "queued" if good else f"is {state}, and was left so"
            failed = failed or not good
            said.append({"id": job_id, "state": text})
    if options.json:
        print(json.dumps(said))
    for one in () if options.json else said:
        print(printable(f"{one['id'][:12]}  {one.get('error') or one['state']}"))
    if not said and not options.json:
        print("No dead jobs.")
    return FAILED if failed else DONE


def _cancel(options: argparse.Namespace) -> int:
    return _each(options, options.ids, "cancel")


def _retry(options: argparse.Namespace) -> int:
    return _each(options, options.ids, "retry")


def _replay(options: argparse.Namespace) -> int:
    return _each(options, options.ids or None, "replay")
