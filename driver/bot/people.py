"""Who may do what: settings of guilds, bans, whether requests are taken, and what a user has had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .database import BotDatabase
from .values import USER

BUTTONS = ("owner", "all")
PICTURES = ("shown", "spoiler", "adult")


@dataclass(frozen=True)
class GuildSettings:
    """What the managers of a guild chose."""

    buttons: str = "owner"
    """Whose the buttons of a result are: ``owner`` (who asked for it) or ``all``."""
    pictures: str = "shown"
    """``shown``; ``spoiler``: behind a click outside of age-restricted channels; ``adult``: in those channels alone."""

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready data."""
        return dict(vars(self))


def read_settings(data: Mapping[str, Any]) -> GuildSettings:
    """Read what was kept; what is not known is as it is by default."""
    buttons, pictures = data.get("buttons"), data.get("pictures")
    return GuildSettings(
        buttons if buttons in BUTTONS else GuildSettings.buttons,
        pictures if pictures in PICTURES else GuildSettings.pictures,
    )


@dataclass(frozen=True)
class Ban:
    """A user or a guild whose requests are refused."""

    kind: str
    id: int
    reason: str
    until: datetime | None


class People:
    """The bot's tables of settings and bans. database: an open one."""

    def __init__(self, database: BotDatabase) -> None:
        self._database = database

    async def settings(self, guild_id: int | None) -> GuildSettings:
        """Return the settings of a guild; those by default outside of one."""
        if guild_id is None:
            return GuildSettings(buttons="owner")
        return read_settings(await self.kept(f"guild:{guild_id}"))

    async def change_settings(self, guild_id: int, settings: GuildSettings) -> None:
        """Keep the settings of a guild."""
        await self.keep(f"guild:{guild_id}", settings.as_dict())

    async def mode(self) -> str:
        """Return whether requests are taken: ``open``, ``paused`` or ``draining``."""
        return str((await self.kept("bot")).get("mode", "open"))

    async def set_mode(self, mode: str) -> None:
        """Set what :meth:`mode` returns."""
        await self.keep("bot", {"mode": mode})

    async def kept(self, scope: str) -> Mapping[str, Any]:
        """Return what is kept under a name, nothing where nothing is."""
        data = await self._database.value("SELECT data FROM distillery_bot_settings WHERE scope = %s", scope)
        return dict(data or {})

    async def keep(self, scope: str, data: Mapping[str, Any]) -> None:
        """Keep data under a name, in place of what is there."""
        await self._database.rows(
            "INSERT INTO distillery_bot_settings (scope, data) VALUES (%s, %s) "
            "ON CONFLICT (scope) DO UPDATE SET data = EXCLUDED.data",
            scope, json.dumps(dict(data)),
        )  # fmt: skip

    async def ban_of(self, user_id: int, guild_id: int | None) -> Ban | None:
        """Return the ban that a request falls under."""
        row = await self._database.row(
            "SELECT kind, id, reason, until FROM distillery_bot_bans WHERE ((kind = 'user' AND id = %s) OR "
            "(kind = 'guild' AND id = %s)) AND (until IS NULL OR until > now()) LIMIT 1",
            user_id, guild_id,
        )  # fmt: skip
        return None if row is None else Ban(**row)

    async def ban(self, kind: str, banned: int, by: int, reason: str, days: float | None) -> None:
        """Ban a user or a guild. days: None: for ever."""
        await self._database.rows(
            "INSERT INTO distillery_bot_bans (kind, id, reason, banned_by, until) "
            "VALUES (%s, %s, %s, %s, now() + make_interval(secs => %s)) ON CONFLICT (kind, id) DO UPDATE SET "
            "reason = EXCLUDED.reason, banned_by = EXCLUDED.banned_by, until = EXCLUDED.until, created = now()",
            kind, banned, reason, by, None if days is None else days * 86400,
        )  # fmt: skip

    async def unban(self, kind: str, banned: int) -> bool:
        """Lift a ban; False where there is none."""
        return bool(
            await self._database.rows(
                "DELETE FROM distillery_bot_bans WHERE kind = %s AND id = %s RETURNING id", kind, banned
            )
        )

    async def usage(self, user_id: int) -> Mapping[str, Any]:
        """Return what a user has now, had today and altogether: numbers of jobs, seconds, megapixels."""
        row = await self._database.row(
            "SELECT count(*) FILTER (WHERE event = 'accepted' AND at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME "
            "ZONE 'UTC') AS today, count(*) FILTER (WHERE event = 'accepted') AS accepted, "
            "count(*) FILTER (WHERE event = 'done') AS done, count(*) FILTER (WHERE event = 'failed') AS failed, "
            "count(*) FILTER (WHERE event = 'cancelled') AS cancelled, "
            "COALESCE(sum(seconds) FILTER (WHERE event = 'done'), 0)::float AS seconds, "
            "avg(waited) FILTER (WHERE event = 'done')::float AS waited, min(at) AS since "
            "FROM distillery_ledger WHERE user_id = %s",
            f"{USER}{user_id}",
        )
        now = await self._database.row(
            "SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state = 'running') AS running "
            "FROM distillery_jobs WHERE user_id = %s AND state IN ('queued', 'running')",
            f"{USER}{user_id}",
        )
        return {**(row or {}), **(now or {})}

    async def stats(self) -> Mapping[str, Any]:
        """Return what the bot and its workers do: for its owners."""
        row = await self._database.row(
            "SELECT (SELECT count(*) FROM distillery_jobs WHERE state = 'queued') AS queued, "
            "(SELECT count(*) FROM distillery_jobs WHERE state = 'running') AS running, "
            "(SELECT count(*) FROM distillery_workers WHERE state = 'ready') AS workers, "
            "(SELECT COALESCE(sum(slots), 0) FROM distillery_workers WHERE state = 'ready') AS slots, "
            "(SELECT count(*) FROM distillery_bot_requests WHERE state = 'kept') AS kept, "
            "(SELECT count(DISTINCT user_id) FROM distillery_bot_requests WHERE created > now() - interval '1 day') AS users, "
            "(SELECT count(*) FROM distillery_bot_requests WHERE created > now() - interval '1 day') AS requests, "
            "(SELECT count(*) FROM distillery_deliveries WHERE state = 'pending' AND kind = 'discord') AS undelivered, "
            "(SELECT count(*) FROM distillery_ledger WHERE event = 'done' AND at > now() - interval '1 day') AS done, "
            "(SELECT count(*) FROM distillery_ledger WHERE event = 'failed' AND at > now() - interval '1 day') AS failed"
        )
        return row or {}
