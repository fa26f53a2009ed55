"""The bot's tables: every step of a request is one statement or one transaction."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from ..cluster.database import CONNECT, OUTAGE, Row
from ..cluster.errors import LimitReached
from ..cluster.submission import Accepted, submit_async
from ..cluster.values import ClusterJob, Deliver
from .config import BotConfig
from .values import KIND, Request, job_id, read_request

__all__ = ["OUTAGE", "BotDatabase", "Cooldown"]

MODELS_FRESH = 10.0
"""Seconds for which the names of checkpoints are known."""


class Cooldown(LimitReached):
    """The user's last request was too short a time ago. ``seconds``: to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The next request can be made in {seconds:.0f} s.")
        self.seconds = seconds


class BotDatabase:
    """The connections of a bot. conninfo: of the cluster's database. What :data:`OUTAGE` names is raised where it is away."""

    def __init__(self, conninfo: str, config: BotConfig, size: int = 8) -> None:
        self.conninfo = conninfo
        self._config = config
        self._models: tuple[float, list[str]] = (-1e9, [])
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Row]] = AsyncConnectionPool(
            conninfo,
            kwargs={"row_factory": dict_row, "autocommit": True, **CONNECT},
            min_size=1,
            max_size=size,
            timeout=2,  # whoever asked is answered within three seconds
            reconnect_timeout=3,  # then whoever asks anew has it begin anew
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

    async def open(self) -> None:
        """Connect, and write the tiers of the configuration into the cluster's table."""
        await self._pool.open()
        for tier in self._config.tiers:
            await self.rows(
                "INSERT INTO distillery_tiers (name, weight, max_running, max_queued, max_daily) VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT (name) DO UPDATE SET weight = EXCLUDED.weight, max_running = EXCLUDED.max_running, "
                "max_queued = EXCLUDED.max_queued, max_daily = EXCLUDED.max_daily",
                tier.name, tier.weight, tier.running, tier.queued, tier.daily,
            )  # fmt: skip

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def rows(self, query: str, *arguments: Any) -> list[Row]:
        """Run one statement and return its rows, none where it is one without."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, arguments)  # type: ignore[arg-type]
            return await cursor.fetchall() if cursor.description else []

    async def row(self, query: str, *arguments: Any) -> Row | None:
        """Run one statement and return its first row."""
        rows = await self.rows(query, *arguments)
        return rows[0] if rows else None

    async def value(self, query: str, *arguments: Any) -> Any:
        """Run one statement and return the first column of its first row."""
        row = await self.row(query, *arguments)
        return None if row is None else next(iter(row.values()))

    # --- requests ---

    async def receive(self, request: Request) -> bool:
        """Write a request down before anything is done for it; False where it is there: Discord has sent it again."""
        found = await self.rows(
            "INSERT INTO distillery_bot_requests (id, kind, user_id, guild_id, channel_id, application_id, in_guild, token, "
            "token_until, message_id, size_limit, source, command, tier, data) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING id",
            request.id, request.kind, request.user_id, request.guild_id, request.channel_id, request.application_id,
            request.in_guild, request.token, request.token_until, request.message_id, request.size_limit,
            json.dumps(request.source.as_dict()), request.command, request.tier, json.dumps(dict(request.data)),
        )  # fmt: skip
        return bool(found)

    async def request(self, request_id: str) -> Request | None:
        """Return a request."""
        row = await self.row("SELECT * FROM distillery_bot_requests WHERE id = %s", request_id)
        return None if row is None else read_request(row)

    async def requests(self, *states: str) -> list[Request]:
        """Return the requests in these states, the oldest first."""
        rows = await self.rows(
            "SELECT * FROM distillery_bot_requests WHERE state = ANY (%s) ORDER BY created", list(states)
        )
        return [read_request(row) for row in rows]

    async def jobs(self, request_id: str) -> list[Row]:
        """Return the jobs of a request in their order: id, number, command, state, stage, error, times."""
        return await self.rows(
            "SELECT b.job_id, b.number, b.command, j.state, j.stage, j.error, j.run, j.created, j.started, j.finished, "
            "r.result, r.object FROM distillery_bot_jobs b LEFT JOIN distillery_jobs j ON j.id = b.job_id "
            "LEFT JOIN distillery_results r ON r.job_id = b.job_id WHERE b.request_id = %s ORDER BY b.number",
            request_id,
        )

    async def submit(
        self, request: Request, jobs: Sequence[tuple[ClusterJob, str]], data: Mapping[str, Any]
    ) -> Accepted:
        """Put the jobs of a request into the queue, all or none, and note what its card shows.

        jobs: each with its command; numbered on from those that are there. Raises LimitReached, ClusterError.
        """
        async with self._pool.connection() as connection, connection.transaction():
            found = await (
                await connection.execute(
                    "UPDATE distillery_bot_requests SET state = 'waiting', data = %s WHERE id = %s RETURNING "
                    "(SELECT count(*) FROM distillery_bot_jobs WHERE request_id = id) AS there",
                    (json.dumps(dict(data)), request.id),
                )
            ).fetchone()
            assert found is not None
            if found["there"] == 0:
                await self._check_limits(connection, request)
            answers = []
            for at, (job, command) in enumerate(jobs):
                deliver = (Deliver(KIND, request.id),)
                answers.append(await submit_async(connection, job, deliver, estimate=at == 0))
                await connection.execute(
                    "INSERT INTO distillery_bot_jobs (job_id, request_id, number, command) VALUES (%s, %s, %s, %s) "
                    "ON CONFLICT DO NOTHING",
                    (job.job.id, request.id, found["there"] + at, command),
                )
        return answers[0]

    async def _check_limits(self, connection: psycopg.AsyncConnection[Row], request: Request) -> None:
        tier = self._config.tier(request.tier)
        if tier.cooldown:
            cursor = await connection.execute(
                "SELECT extract(epoch FROM now() - max(created))::float AS ago FROM distillery_bot_requests "
                "WHERE user_id = %s AND id <> %s AND state <> 'refused'",
                (request.user_id, request.id),
            )
            row = await cursor.fetchone()
            if row is not None and row["ago"] is not None and row["ago"] < tier.cooldown:
                raise Cooldown(tier.cooldown - row["ago"])
        most = self._config.guild_queued
        if most is not None and request.guild_id is not None:
            # One after the other, so that two do not both find the last place.
            await connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (41, request.guild_id % 2**31))
            cursor = await connection.execute(
                "SELECT count(*) AS n FROM distillery_bot_requests q JOIN distillery_bot_jobs b ON b.request_id = q.id "
                "JOIN distillery_jobs j ON j.id = b.job_id WHERE q.guild_id = %s AND q.state = 'waiting' AND j.state = 'queued'",
                (request.guild_id,),
            )
            row = await cursor.fetchone()
            if row is not None and row["n"] >= most:
                raise LimitReached(
                    f"This server has {row['n']} jobs waiting, and {most} is its limit. Wait until some of them have started."
                )

    async def update(self, request_id: str, **columns: Any) -> None:
        """Set columns of a request; ``data`` is merged into what is there. One that was deleted stays so."""
        sets, values = [], []
        for name, value in columns.items():
            sets.append(f"{name} = {'data || %s::jsonb' if name == 'data' else '%s'}")
            values.append(json.dumps(value) if name == "data" else value)
        if columns.get("state") in ("delivered", "kept", "refused", "deleted"):
            sets.append("ended = now()")
        await self.rows(
            f"UPDATE distillery_bot_requests SET {', '.join(sets)} WHERE id = %s AND state <> 'deleted'",
            *values,
            request_id,
        )

    async def forget_tokens(self) -> None:
        """Delete the tokens that are of no use any more."""
        await self.rows(
            "UPDATE distillery_bot_requests SET token = NULL WHERE token IS NOT NULL AND token_until < now() "
            "- interval '1 minute'"
        )

    async def cancel(self, request_id: str) -> int:
        """Have the jobs of a request cancelled; returns how many were waiting or running."""
        rows = await self.rows(
            "SELECT distillery_cancel_v1(j.id) FROM distillery_bot_jobs b JOIN distillery_jobs j ON j.id = b.job_id "
            "WHERE b.request_id = %s AND j.state IN ('queued', 'running')",
            request_id,
        )
        return len(rows)

    async def replay(self, request: Request) -> None:
        """Put the first job of a request that ended without a result back into the queue."""
        await self.rows("SELECT distillery_replay_v1(%s)", job_id(request.id))
        await self.update(request.id, state="waiting", delivered_by=None)

    async def place(self, job: str) -> Row | None:
        """Return place, seconds and slots of a waiting job."""
        return await self.row("SELECT * FROM distillery_place_v1(%s)", job)

    async def models(self) -> list[str]:
        """Return the names of the checkpoints that workers have."""
        if time.monotonic() - self._models[0] > MODELS_FRESH:
            rows = await self.rows(
                "SELECT DISTINCT m FROM distillery_workers, unnest(models) AS m WHERE state <> 'draining' ORDER BY m"
            )
            self._models = (time.monotonic(), [row["m"] for row in rows])
        return self._models[1]

    # --- deliveries ---

    async def take_delivery(self, lease: float) -> Row | None:
        """Take the next delivery that is due; it is this bot's for so many seconds."""
        return await self.row("SELECT * FROM distillery_take_delivery_v1(%s, %s)", [KIND], lease)

    async def end_delivery(self, delivery_id: int, error: str | None = None) -> None:
        """Mark a delivery as made; with an error: as given up."""
        await self.rows(
            "UPDATE distillery_deliveries SET state = CASE WHEN %s::text IS NULL THEN 'delivered' ELSE 'failed' END, error = %s, "
            "delivered = CASE WHEN %s::text IS NULL THEN now() END WHERE id = %s AND state = 'pending'",
            error, error, error, delivery_id,
        )  # fmt: skip

    async def put_off_delivery(self, delivery_id: int, seconds: float, error: str) -> None:
        """Have a delivery tried again later."""
        await self.rows(
            "UPDATE distillery_deliveries SET next_at = now() + make_interval(secs => %s), error = %s "
            "WHERE id = %s AND state = 'pending'",
            seconds, error[:300], delivery_id,
        )  # fmt: skip

    # --- the bot's own results ---

    async def remember(
        self,
        request_id: str,
        file_hash: str,
        pixel_hash: str,
        attachment: int | None,
        generation: Mapping[str, Any],
    ) -> None:
        """Note a picture that was sent, so that it is recalled without its metadata."""
        await self.rows(
            "INSERT INTO distillery_bot_pictures (request_id, file_hash, pixel_hash, attachment_id, generation) "
            "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (file_hash) DO UPDATE SET attachment_id = EXCLUDED.attachment_id",
            request_id, file_hash, pixel_hash, attachment, json.dumps(dict(generation)),
        )  # fmt: skip

    async def recall(self, file_hash: str, pixel_hash: str, attachment: int | None) -> Mapping[str, Any] | None:
        """Return the generation of a picture that was sent: by its file, its pixels or its attachment."""
        for column, value in (
            ("file_hash", file_hash), ("pixel_hash", pixel_hash), ("attachment_id", attachment)
        ):  # fmt: skip
            if value is not None:
                row = await self.row(
                    f"SELECT generation FROM distillery_bot_pictures WHERE {column} = %s ORDER BY id DESC LIMIT 1",
                    value,
                )
                if row is not None:
                    return dict(row["generation"])
        return None
