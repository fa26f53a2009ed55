"""The bot's configuration: a TOML file, every key of it optional. See docs/bot.md for one with comments."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import ServerError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MEMBER = "member"
"""Tier of those who have no other."""


class BotError(ServerError):
    """The bot cannot be started: its configuration, its token, its application."""


@dataclass(frozen=True)
class Tier:
    """What its members may have at a time. ``None``: no limit."""

    name: str
    roles: tuple[int, ...] = ()
    """Ids of the roles that make a member."""
    weight: float = 1.0
    """Share of the workers while others wait, relative to other tiers'."""
    running: int | None = 2
    """Jobs of one user at a time."""
    queued: int | None = 20
    """Waiting jobs of one user."""
    daily: int | None = None
    """Jobs of one user from midnight to midnight UTC."""
    cooldown: float = 0.0
    """Seconds between two requests of one user."""


@dataclass(frozen=True)
class BotConfig:
    """The configuration."""

    owners: tuple[int, ...] = ()
    """Ids of the users who may use /admin, beside the application's owner."""
    tiers: tuple[Tier, ...] = (Tier(MEMBER),)
    """The first one whose roles a user has is the user's; ``member`` is everybody's else."""
    free: str | None = None
    """Name of the tier of /upscale-free; None: there is no such command."""
    guild_queued: int | None = 200
    """Waiting jobs of one guild."""
    max_pixels: int = 16_000_000
    """Width times height of a picture that is taken."""
    allow_hosts: tuple[str, ...] = ()
    """Exact names of hosts, beside Discord's, from which links are fetched."""
    sweep_powers: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4)
    """Powers of the button Sweep."""
    link_hours: float = 72.0
    """Hours for which the link to a result is good that is too large for Discord."""
    deadline_hours: float = 24.0
    """Hours after which a job that was not run is dropped."""
    test_guild: int | None = None
    """Id of a guild in which changes of commands show at once: elsewhere they take an hour."""

    def tier(self, name: str) -> Tier:
        """Return a tier by its name."""
        return next(tier for tier in self.tiers if tier.name == name)

    def tier_of(self, roles: Collection[int]) -> Tier:
        """Return the tier of a user with these roles."""
        found = (t for t in self.tiers if t.name not in (MEMBER, self.free) and set(t.roles) & set(roles))
        return next(found, self.tier(MEMBER))


def read_config(path: str | Path | None) -> BotConfig:
    """Read the file; None: all as it is by default. Raises BotError."""
    if path is None:
        return BotConfig()
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BotError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BotError(f"The configuration {path} is no TOML: {error}.") from None
    return parse_config(data, str(path))


def parse_config(data: Mapping[str, Any], where: str = "configuration") -> BotConfig:
    """Check what was read. Raises BotError, which names the key, what it has and what it takes."""
    data = dict(data)
    listed = data.pop("tiers", {})
    if not isinstance(listed, Mapping):
        raise BotError(f"{where}: tiers are tables, [tiers.NAME].")
    config = replace(BotConfig(), **_values(BotConfig, data, where, {"tiers"}))
    tiers = []
    for name, table in listed.items():
        if not re.fullmatch(r"[a-z0-9_-]{1,30}", name) or not isinstance(table, Mapping):
            raise BotError(
                f"{where}: [tiers.{name}]: a tier is a table whose name has small letters, digits, - and _ alone."
            )
        tiers.append(Tier(name, **_values(Tier, table, f"{where}, [tiers.{name}]", {"name"})))
    if not any(tier.name == MEMBER for tier in tiers):
        tiers.append(Tier(MEMBER))
    config = replace(config, tiers=tuple(tiers))
    if config.free is not None and config.free not in {tier.name for tier in tiers}:
        raise BotError(
            f'{where}: free = "{config.free}" names no tier; there are {", ".join(t.name for t in tiers)}. Give it a table '
            f"[tiers.{config.free}]."
        )
    return config


_RANGES: dict[str, tuple[float, float]] = {
    "weight": (0.01, 1000),
    "running": (1, 1000),
    "queued": (1, 100_000),
    "daily": (1, 1_000_000),
    "cooldown": (0, 86_400),
    "guild_queued": (1, 1_000_000),
    "max_pixels": (4096, 64_000_000),
    "sweep_powers": (0.01, 1),
    "link_hours": (0.1, 168),
    "deadline_hours": (0.1, 168),
}


def _values(kind: type, data: Mapping[str, Any], where: str, without: set[str]) -> dict[str, Any]:
    known = {f.name: f for f in fields(kind) if f.name not in without}
    values = {}
    for key, value in data.items():
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else f" There are {', '.join(known)}."
            raise BotError(f"{where}: unknown key {key}.{hint}")
        default = known[key].default
        values[key] = _value(key, value, str(known[key].type), default if default is not MISSING else None, where)
    return values


def _value(key: str, value: Any, kind: str, default: Any, where: str) -> Any:
    if kind.startswith("tuple"):
        if not isinstance(value, list):
            raise BotError(f"{where}: {key} is a list, [ … ], not {value!r}.")
        return tuple(_value(key, item, kind[6:].split(",")[0], None, where) for item in value)
    low, high = _RANGES.get(key, (0, 2**63))
    number = not isinstance(value, bool) and isinstance(value, int | float if "float" in kind else int)
    if "str" in kind:
        if not isinstance(value, str):
            raise BotError(f"{where}: {key} is a text in quotes, not {value!r}.")
    elif not number or not low <= value <= high:
        what = "a number" if "float" in kind else "a whole number"
        raise BotError(f"{where}: {key} = {value!r} is not taken: it is {what} from {low:g} to {high:g}.")
    return float(value) if "float" in kind else value
