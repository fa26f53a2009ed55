"""What the bot says: harmless, short enough, with the way out."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone

import pytest

pytest.importorskip("discord", reason="the extra [bot] is not installed")

from hypothesis import given
from hypothesis import strategies as st

from distillery.driver.bot import cards, follow, refusals, texts
from distillery.driver.bot.database import Cooldown
from distillery.driver.bot.values import Request, SourceRef, job_id, power_of, with_values
from distillery.driver.cluster.errors import LimitReached, StoreError
from distillery.driver.errors import JobError, JobOutOfMemory, SourceError
from distillery.nodes.command import CommandError, parse_command
from distillery.nodes.settings import NO_DATA, NoPromptError

EVIL = "@everyone <@123> [x](https://evil.example) # **bold** `code` ||spoiler|| \u202egnp.exe ```\n> quote"


def request(**more) -> Request:
    values = {
        "id": "1234567890", "kind": "one", "user_id": 7, "application_id": 1, "size_limit": 10_000_000,
        "source": SourceRef("https://cdn.discordapp.com/attachments/1/2/a.png", "a.png"), "command": "", "tier": "member",
        "data": {"name": EVIL, "width": 512, "height": 768, "checkpoint": EVIL, "seed": "5", "origin": "a1111", "prompt": EVIL,
                 "negative": EVIL * 40, "warnings": [EVIL] * 9, "loras": [EVIL] * 20},
    }  # fmt: skip
    return Request(**{**values, **more})


def parts(view) -> list[dict]:
    found = []

    def walk(component):
        found.append(component)
        for child in [
            *component.get("components", ()),
            *([component["accessory"]] if "accessory" in component else ()),
        ]:
            walk(child)

    for component in view.to_components():
        walk(component)
    return found


def made(build) -> list[dict]:
    async def run():
        return parts(build())

    return asyncio.run(run())


RESULT = cards.Finished(1024, 1536, 31.4, "5", 0.3, "", "because", (EVIL,) * 9, 7)
ALL = {
    "waiting": lambda: cards.waiting(request(), cards.Wait(7, 95.0, 2)),
    "running": lambda: cards.running(request(), cards.Running(EVIL, 0.4, EVIL, EVIL), "preview.png"),
    "result": lambda: cards.result(request(), RESULT, ["a.png", "before.webp"]),
    "sweep": lambda: cards.sweep(request(kind="sweep"), [f"power {n}" for n in range(10)], "sweep.webp", 40.0, 7),
    "failed": lambda: cards.failed(request(), EVIL * 30, (refusals.AGAIN, refusals.POWER_ZERO, refusals.COMMAND), 7),
    "cancelled": lambda: cards.cancelled(request()),
    "texts": lambda: cards.texts(request(command="--neg " + "x" * 3000)),
    "refused": lambda: cards.refused(refusals.Refusal("no", (refusals.PICTURE,)), "5"),
}


@pytest.mark.parametrize("name", ALL)
def test_every_card_is_within_discords_limits(name) -> None:
    found = made(ALL[name])
    assert len(found) <= 40
    assert sum(len(part["content"]) for part in found if part["type"] == 10) <= 4000
    ids = [part["custom_id"] for part in found if "custom_id" in part]
    assert len(ids) == len(set(ids)) and all(len(i) <= 100 for i in ids)
    for row in (part for part in found if part["type"] == 1):
        assert 1 <= len(row["components"]) <= 5
    assert all(0 < len(part["label"]) <= 80 for part in found if part["type"] == 2)


@pytest.mark.parametrize("name", ALL)
def test_texts_of_others_mention_nobody_and_link_nowhere(name) -> None:
    for part in made(ALL[name]):
        text = part.get("content", "")
        outside = "".join(text.split("```")[::2])  # a block of code shows what is in it as it is
        assert (
            "https://evil" not in outside and "<@123>" not in outside and "@everyone" not in outside.replace("\\@", "")
        )
        assert "\u202e" not in text


@given(st.text(max_size=300))
def test_a_harmless_text_has_no_sign_that_means_something(text) -> None:
    plain = texts.plain(text)
    for sign in "*_~`|<@#[":
        assert all(plain[i - 1] == "\\" for i, c in enumerate(plain) if c == sign)
    assert "\n" not in plain and len(texts.plain(text, 50)) <= 100 + 10 * text.count("http")


@given(st.text(max_size=3000))
def test_a_block_cannot_be_left(text) -> None:
    assert texts.block(text).count("```") == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "60 s"), (125, "2 min 5 s"), (180, "3 min"), (4260, "1 h 11 min"), (-3, "0 s")],
)
def test_durations(seconds, text) -> None:
    assert texts.seconds(seconds) == text


@pytest.mark.parametrize(
    ("error", "said", "ways"),
    [
        (NoPromptError(NO_DATA), "no generation data", (refusals.PROMPT, refusals.POWER_ZERO, refusals.PICTURE)),
        (CommandError("unknown parameter --pwoer. Did you mean --power?"), "Did you mean --power", (refusals.COMMAND,)),
        (Cooldown(12.2), "next request", (refusals.AGAIN,)),
        (LimitReached("The job was not accepted: user discord:7 has 3 jobs waiting, and 3 is the limit of the tier member."),
         "You have 3 jobs waiting", ()),
        (SourceError("This Discord link has expired (x). Copy the image's link again in Discord (new links work for a day), or "
                     "set DISTILLERY_DISCORD_TOKEN to the token of a bot, which can renew it."), "Copy the image's link", (refusals.PICTURE,)),
        (StoreError("The store s3://secret/bucket cannot be written"), "cannot be stored", (refusals.AGAIN,)),
        (ZeroDivisionError("/home/jane/x.py"), "unexpected", (refusals.AGAIN,)),
    ],
)  # fmt: skip
def test_each_error_is_told_with_its_way_out(error, said, ways) -> None:
    refusal = refusals.refusal_of(error)
    assert said in refusal.text and refusal.ways == ways
    assert "DISTILLERY" not in refusal.text and "secret" not in refusal.text and "/home" not in refusal.text


def test_failures_of_jobs_have_ways_out() -> None:
    assert refusals.POWER_ZERO in refusals.failure_text(JobOutOfMemory("Out of memory."))[1]
    text, ways = refusals.failure_text(JobError("The LoRA x is not installed.", advice="Use --missing_lora skip."))
    assert refusals.COMMAND in ways and "missing_lora skip" in text


def test_ids_of_jobs_are_those_of_interactions() -> None:
    assert int(job_id("1234567890"), 16) == 1234567890 and len(job_id("1234567890")) == 32
    assert len({job_id("5", n) for n in range(9)}) == 9 and job_id("5", 3) == job_id("5", 3)


def test_commands_with_other_values() -> None:
    command = with_values("--neg night --seed 5", power=0.4)
    assert parse_command(command).negative == "night" and power_of(command) == 0.4
    assert parse_command(with_values(command, power=None)).power is None


def test_tokens_are_used_for_as_long_as_they_live() -> None:
    now = datetime.now(timezone.utc)
    assert request(token="t", token_until=now + timedelta(seconds=5)).token_lives()
    assert not request(token="t", token_until=now - timedelta(seconds=5)).token_lives()
    assert not request().token_lives() and "token=" not in repr(request(token="secret"))


def test_cards_are_edited_at_once_for_a_stage_and_then_less_and_less() -> None:
    followed = follow.Followed(request(), shown=("queued",), stage_shown=("queued",), edited=100.0)
    assert not follow.is_due(followed, 104.0)
    followed.wait = cards.Wait(3, 30.0, 1)
    assert not follow.is_due(followed, 104.0) and follow.is_due(followed, 105.0)
    follow.hear(followed, {"stage": ["Sampling", 3, 10]})
    assert not follow.is_due(followed, 101.0) and follow.is_due(followed, 102.0)
    followed.shown, followed.stage_shown, followed.edited = follow.shown(followed), follow.stage_of(followed), 102.0
    follow.hear(followed, {"step": ["Sampling", 5, 15], "preview": ["Sampling", "previews/x", "image/png"]})
    assert follow.now_of(followed).detail == "5 of 15" and 0.3 < follow.now_of(followed).share < 0.4
    followed.edits = 2
    assert not follow.is_due(followed, 131.0) and follow.is_due(followed, 132.0)
    follow.hear(followed, {"state": "queued", "why": "death"})
    assert followed.state == "queued" and "machine died" in followed.now.note and followed.preview is None
    followed.dead = True
    assert not follow.is_due(followed, 1e9)
