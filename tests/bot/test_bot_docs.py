"""docs/bot.md and what lies beside it say what the code does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import discord
import pytest
import yaml
from discord import app_commands

from distillery.driver.bot import cards, refusals
from distillery.driver.bot.admin import Admin, add_settings
from distillery.driver.bot.commands import Commands
from distillery.driver.bot.config import BotConfig, Tier, parse_config, read_config, tomllib
from distillery.driver.bot.schema import BOT
from distillery.driver.bot.values import Request, SourceRef
from distillery.driver.cli.app import make_parser
from distillery.driver.cluster.schema import ensure_schema
from distillery.tools import make_bot_pictures

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "bot.md").read_text(encoding="utf-8")
CONFIG = DOCS / "bot" / "bot.toml"
REQUEST = Request("1", "one", 7, 1, 10**7, SourceRef(), "", "member")


def test_the_commented_configuration_is_the_default_one() -> None:
    assert read_config(CONFIG) == BotConfig()


@pytest.mark.parametrize(("kind", "table"), [(BotConfig, ""), (Tier, "tiers.member")])
def test_the_commented_configuration_has_every_key(kind: type, table: str) -> None:
    tables = re.split(r"(?m)^\[(.+)\]$", CONFIG.read_text(encoding="utf-8"))
    text = dict(zip(["", *tables[1::2]], tables[::2], strict=True))[table]
    without_value = {f.name for f in fields(kind) if f.default is None}
    wanted = {f.name for f in fields(kind)} - {"name", "tiers"}
    assert set(re.findall(r"(?m)^(\w+) = ", text)) == wanted - without_value
    assert without_value <= set(re.findall(r"(?m)^# (\w+) = ", text))
    assert all(f.default is not MISSING for f in fields(kind) if f.name != "name")


def test_what_the_configuration_has_in_comments_can_be_used() -> None:
    text = re.sub(r"(?m)^# (?=\w+ = |\[)", "", CONFIG.read_text(encoding="utf-8"))
    config = parse_config(tomllib.loads(text))
    assert [tier.name for tier in config.tiers] == ["member", "supporter", "free"]
    assert config.free == "free" and config.test_guild and config.tier("member").daily


def command_names() -> set[str]:
    service: Any = SimpleNamespace(config=BotConfig(free="free"))
    tree = app_commands.CommandTree(discord.Client(intents=discord.Intents.none()))
    Commands(service).add_to(tree)
    add_settings(tree, service)
    tree.add_command(Admin(service, set()))
    slash = {f"`/{c.qualified_name}`" for c in tree.walk_commands() if isinstance(c, app_commands.Command)}
    return slash | {f"**{menu.name}**" for menu in tree.get_commands(type=discord.AppCommandType.message)}


def test_the_page_has_every_command() -> None:
    names = command_names()
    assert len(names) >= 14
    assert {name for name in names if name not in PAGE} == set()


def labels(components: list[Any]) -> Iterator[str]:
    for component in components:
        if component["type"] == discord.ComponentType.button.value:
            yield component["label"]
        yield from labels(component.get("components", []))


async def button_labels() -> set[str]:
    made = cards.Finished(2, 2, 1.0)
    ways = tuple(value for name, value in vars(refusals).items() if name.isupper() and value in cards._WAYS)
    assert len(ways) == len(cards._WAYS)
    views = [
        cards.waiting(REQUEST, cards.Wait()), cards.running(REQUEST, cards.Running()), cards.cancelled(REQUEST),
        cards.result(REQUEST, made, ["a.png"]), cards.sweep(REQUEST, ["power 0", "power 0.1"], "sweep.webp", 1.0),
        cards.failed(REQUEST, "text", ()),
    ]  # fmt: skip
    found = {label for view in views for label in labels(view.to_components())}
    return found | {str(button.label) for button in cards.ways_out("1", ways)}


def test_the_page_has_every_button() -> None:
    found = asyncio.run(button_labels())
    assert {"Cancel", "Sweep", "Send an image…"} <= found
    assert {label for label in found if label not in PAGE} == set()


def test_the_permissions_are_the_sum_of_those_that_are_named() -> None:
    names = ("View Channel", "Send Messages", "Send Messages in Threads", "Attach Files")
    assert all(f"| {name} |" in PAGE for name in names)
    value = discord.Permissions(**{name.lower().replace(" ", "_"): True for name in names}).value
    assert f"Together they are {value}." in PAGE and f"permissions={value}\n" in PAGE


def test_links_lead_somewhere_and_pictures_are_small() -> None:
    targets = {target.split("#")[0] for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGE)}
    assert {target for target in targets if not (DOCS / target).exists()} == set()
    pictures = sorted((DOCS / "bot").glob("*.webp"))
    assert {f"bot/{picture.name}" for picture in pictures} <= targets
    assert max(picture.stat().st_size for picture in pictures) < 120_000
    assert sum(file.stat().st_size for file in (DOCS / "bot").iterdir()) < 600_000


def test_unit_and_compose_file_start_the_bot() -> None:
    unit = (DOCS / "bot" / "distillery-bot.service").read_text(encoding="utf-8")
    compose = yaml.safe_load((DOCS / "bot" / "compose.yaml").read_text(encoding="utf-8"))
    assert set(compose["services"]) == {"postgres", "store", "bucket", "worker", "bot"}
    command = compose["services"]["bot"]["command"]
    start = re.search(r"(?m)^ExecStart=(.+)$", unit)
    assert start is not None
    for line in (command, start[1]):
        options = make_parser().parse_args(line.split()[1:])
        assert options.config == "/etc/distillery/bot.toml"


def test_the_statements_that_forget_leave_others_alone(cluster) -> None:
    ensure_schema(cluster.url, BOT)
    database = cluster.database
    for number, (user, state, ended) in enumerate(
        [(123456789012345678, "delivered", "now()"), (123456789012345678, "waiting", "NULL"), (7, "delivered", "now()"),
         (8, "delivered", "now() - interval '91 days'")]
    ):  # fmt: skip
        database.rows(
            "INSERT INTO distillery_bot_requests (id, kind, state, user_id, application_id, size_limit, source, command, tier, "
            f"ended) VALUES (%s, 'one', %s, %s, 1, 1, '{{}}', '', 'member', {ended})",
            str(number), state, user,
        )  # fmt: skip
        database.rows("INSERT INTO distillery_bot_jobs VALUES (%s, %s, 0, '')", str(number), str(number))
        database.rows(
            "INSERT INTO distillery_bot_pictures (file_hash, pixel_hash, request_id, generation) VALUES (%s, '', %s, '{}')",
            str(number), str(number),
        )  # fmt: skip
    found = re.search(r"```sql\n(.+?)```", PAGE, re.DOTALL)
    assert found is not None
    for line in found[1].splitlines():
        database.rows(line.split("--")[0])
    assert [row["id"] for row in database.rows("SELECT id FROM distillery_bot_requests ORDER BY id")] == ["1", "2"]
    assert [
        row["request_id"] for row in database.rows("SELECT request_id FROM distillery_bot_pictures ORDER BY id")
    ] == ["2", "3"]
    assert len(database.rows("SELECT 1 FROM distillery_bot_jobs")) == 2


# --- the pictures ---


def test_every_card_can_be_drawn() -> None:
    picture = make_bot_pictures.SOURCE.read_bytes()
    pages = asyncio.run(make_bot_pictures.pages(dict.fromkeys(make_bot_pictures.POWERS, picture)))
    assert {file.stem for file in (DOCS / "bot").glob("*.webp")} == set(pages)
    assert "Only you can see this" in pages["refused"] and "Only you" not in pages["result"]
    assert '<span class="time">in 45 seconds</span>' in pages["waiting"]


def test_what_cannot_be_drawn_is_an_error() -> None:
    draw, markdown = make_bot_pictures.draw, make_bot_pictures.markdown
    assert markdown("### a\n-# **b** <@7> \\*c\\_") == (
        '<h3>a</h3><small><b>b</b> <span class="mention">@Ada</span> *c_</small>'
    )
    with pytest.raises(KeyError):
        draw({"type": 3, "custom_id": "choice", "options": []}, {})
    for text in ("~~gone~~", "> said", "||hidden||", "<#5>", "🦊", "<t:1:D>"):
        with pytest.raises(ValueError, match="does not draw"):
            markdown(text)


async def enlarged_only() -> tuple[str, str]:
    view = cards.result(replace(REQUEST, command="--power 0"), cards.Finished(2, 2, 1.0, power=0.0), ["a.png"])
    scene = make_bot_pictures.Scene(view, {"a.png": make_bot_pictures.SOURCE.read_bytes()})
    return make_bot_pictures.page(scene), str(view.to_components())


def test_a_button_that_cannot_be_pressed_looks_so() -> None:
    text, payload = asyncio.run(enlarged_only())
    assert text.count('class="button secondary off"') == payload.count("'disabled': True") == 2
