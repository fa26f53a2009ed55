"""From a command to its result: cards, buttons, forms, menus. discord.py unmodified, PostgreSQL, workers whose jobs wait."""

from __future__ import annotations

import time

import pytest
from bot_scene import opened, png, scene

from distillery.driver.bot.config import BotConfig, Tier
from distillery.nodes.command import parse_command
from distillery.nodes.recall import recall

pytestmark = pytest.mark.slow


@pytest.fixture
def there(discord_, cluster):
    with scene(discord_, cluster) as made:
        yield made


def test_from_the_command_to_the_result_in_one_message(there) -> None:
    call = there.upscale(png(5000), power="0.2")
    assert call.latency < 1.5 and not call.ephemeral
    card = there.card(call)
    text = there.text(card)
    assert "hill.png" in text and "96×96" in text and "192×192" in text and "5000" in text and "0.2" in text
    assert "painted hill" not in text  # prompts are their owner's
    assert set(there.buttons(card)) == {"Cancel", "Prompt"}
    there.discord.wait(lambda: "▰" in there.text(card) or "Waiting" in there.text(card), 10, "progress")
    there.result(call)
    text = there.text(card)
    assert "64×64" in text and "power 0.2" in text and "painted hill" not in text
    assert list(there.buttons(card)) == [
        "Less power", "More power", "No sharpen", "Another seed", "Sweep", "Original file", "Prompt", "Delete",
    ]  # fmt: skip
    assert [message.id for message in there.discord.messages(there.channel)] == [card.id]
    files = [there.discord.download(attachment) for attachment in card.attachments]
    assert [opened(file).format for file in files] == ["PNG", "WEBP"]
    (row,) = there.rows("SELECT * FROM distillery_bot_requests")
    assert (row["state"], row["delivered_by"], row["message_id"]) == ("delivered", "token", card.id)
    assert (
        int(there.rows("SELECT id FROM distillery_jobs")[0]["id"], 16) == call.id
    )  # the interaction's id is the job's
    there.until(lambda: there.rows("SELECT 1 FROM distillery_deliveries WHERE state = 'delivered'"))
    assert len(there.rows("SELECT 1 FROM distillery_bot_pictures")) == 1
    log = [r for r in there.discord.requests if r.status >= 400]
    assert not log and there.discord.invalid == 0


@pytest.mark.parametrize(
    ("label", "changed"),
    [
        ("Less power", {"power": 0.2}), ("More power", {"power": 0.4}), ("No sharpen", {"sharpen": 0.0}), ("Another seed", {}),
    ],
)  # fmt: skip
def test_a_button_makes_another_request_of_the_same_picture(there, label, changed) -> None:
    first = there.result(there.upscale(png(50), neg="night"))
    call = there.press(label, first)
    second = there.result(call)
    assert second.id != first.id
    parsed = parse_command(there.command(second))
    assert parsed.negative == "night"
    for name, value in changed.items():
        assert getattr(parsed, name) == value
    if label == "Another seed":
        assert parsed.seed not in (None, 50)
    images = {row["image"] for row in there.rows("SELECT job->>'image' AS image FROM distillery_jobs")}
    assert len(images) == 1


def test_buttons_are_their_owners_unless_the_server_says_otherwise(there) -> None:
    card = there.result(there.upscale(png(50)))
    call = there.press("More power", card, there.other)
    assert call.ephemeral and "Apps → Upscale" in there.text(there.card(call))
    manager = there.manager()
    told = there.discord.slash(manager, there.channel, "settings", {"buttons": "all"}).answered()
    assert told.ephemeral and "everybody's" in there.text(there.card(told))
    assert not there.press("More power", card, there.other).ephemeral
    for label in ("Prompt", "Delete"):  # these stay the owner's
        assert there.press(label, card, there.other).ephemeral
    assert there.discord.message(there.channel, card.id) is not None


def test_the_prompt_is_shown_to_its_owner_alone(there) -> None:
    card = there.result(there.upscale(png(50)))
    call = there.press("Prompt", card)
    assert (
        call.ephemeral and "a painted hill" in there.text(there.card(call)) and "ugly" in there.text(there.card(call))
    )


def test_cancel_and_try_again(there) -> None:
    call = there.upscale(png(20_000))
    card = there.card(call)
    there.until(lambda: there.cluster.states() == {"running": 1})
    there.press("Cancel", card)
    there.discord.wait(lambda: "Cancelled" in there.text(card), 10, "the end")
    assert there.cluster.states() == {"cancelled": 1}
    again = there.press("Try again", card)
    there.press("Cancel", there.card(again))


def test_delete_ends_the_job_and_takes_the_card_away(there) -> None:
    card = there.result(there.upscale(png(50)))
    there.press("Delete", card)
    there.discord.wait(lambda: there.discord.message(there.channel, card.id) is None, 5, "the end of the card")
    assert there.states() == {"deleted": 1}


def test_a_sweep_has_a_button_for_each_of_its_pictures(there) -> None:
    card = there.result(there.upscale(png(50)))
    sheet = there.result(there.press("Sweep", card), 60)
    labels = list(there.buttons(sheet))
    assert labels[:5] == ["power 0", "power 0.1", "power 0.2", "power 0.3", "power 0.4"]
    assert opened(there.discord.download(sheet.attachments[0])).format == "WEBP"
    cell = there.press("power 0.2", sheet)
    shown = there.result(cell)
    assert "power 0.2" in there.text(shown) and len(there.rows("SELECT 1 FROM distillery_jobs")) == 6
    more = there.result(there.press("More power", shown))
    assert parse_command(there.command(more)).power == 0.3


def test_power_auto_tries_powers_and_shows_the_best(there) -> None:
    card = there.result(there.upscale(png(50), power="auto"), 60)
    assert "was chosen" in there.text(card)
    powers = [
        parse_command(r["c"]).power for r in there.rows("SELECT command AS c FROM distillery_bot_jobs ORDER BY number")
    ]
    assert powers[0] == 0 and len(powers) >= 3 and len(set(powers)) == len(powers)
    assert parse_command(there.command(card)).power in powers[1:]


def test_the_original_file(there) -> None:
    card = there.result(there.upscale(png(50)))
    call = there.press("Original file", card)
    answer = there.card(call)
    assert call.ephemeral and opened(there.discord.download(answer.attachments[0])).format == "PNG"


def test_menus_on_messages(there) -> None:
    message = there.discord.post(there.other, there.channel, "look", attachments=[there.upload(png(50))])
    card = there.result(there.discord.menu(there.user, there.channel, "Upscale", message).answered(5))
    assert "hill.png" in there.text(card)
    told = there.discord.menu(there.other, there.channel, "How was this made?", message).answered(5)
    answer = there.card(told)
    assert told.ephemeral and "a painted hill" in there.text(answer)
    assert b'"positive": "a painted hill"' in there.discord.download(answer.attachments[0])
    # The bot's own result, whose picture hangs in a gallery.
    again = there.result(there.discord.menu(there.user, there.channel, "Upscale", card).answered(5))
    assert again.id != card.id
    empty = there.discord.post(there.other, there.channel, "no picture here")
    call = there.discord.menu(there.user, there.channel, "Upscale", empty).answered(5)
    assert call.ephemeral and "No image" in there.text(there.card(call))


def test_a_form_takes_the_image_where_none_was_given(there) -> None:
    call = there.discord.slash(there.user, there.channel, "upscale", {"power": "0.1"}).answered()
    assert call.modal is not None
    sent = there.discord.submit(there.user, call, {"image": there.upload(png(50)), "params": "--power 0.15"}).answered(
        5
    )
    assert parse_command(there.command(there.result(sent))).power == 0.15


def test_an_image_without_data_goes_on_with_a_prompt_or_without_the_pass(there) -> None:
    call = there.upscale(png(None))
    answer = there.card(call)
    assert call.ephemeral and "no generation data" in there.text(answer)
    form = there.press("Give a prompt…", answer)
    sent = there.discord.submit(there.user, form, {"prompt": "a hill", "neg": "", "model": ""}).answered(5)
    assert parse_command(there.command(there.result(sent))).prompt == "a hill"
    assert parse_command(there.command(there.result(there.press("Go on without the HiRes pass", answer)))).power == 0


def test_a_command_that_is_not_understood_can_be_changed(there) -> None:
    call = there.upscale(png(50), params="--pwoer 0.2")
    answer = there.card(call)
    assert call.ephemeral and "--power" in there.text(answer)
    form = there.press("Change the command…", answer)
    sent = there.discord.submit(there.user, form, {"params": "--power 0.2"}).answered(5)
    assert parse_command(there.command(there.result(sent))).power == 0.2


def test_what_is_offered_while_one_types(there) -> None:
    there.until(lambda: there.rows("SELECT 1 FROM distillery_workers WHERE state = 'ready'"))
    assert there.offered("model", "dist") == ["distillery-mini"]
    assert "auto" in there.offered("power", "")
    assert there.offered("power", "0.35")[0] == "0.35"


def test_queue_usage_and_infos(there) -> None:
    first = there.upscale(png(20_000))
    second = there.upscale(png(20_000, shade=1))
    there.card(second)
    there.until(lambda: there.cluster.states() == {"running": 1, "queued": 1})
    call = there.discord.slash(there.user, there.channel, "queue", {}).answered()
    text = there.text(there.card(call))
    assert call.ephemeral and "Running" in text and ("Place" in text or "Next" in text)
    usage = there.text(there.card(there.discord.slash(there.user, there.channel, "usage", {}).answered()))
    assert "Running: **1** of 2" in usage and "Today: **2**" in usage
    infos = there.text(there.card(there.discord.slash(there.user, there.channel, "command-infos", {}).answered()))
    assert "--power" in infos and "--missing_lora" in infos.replace("\\", "")
    stats = there.text(there.card(there.discord.slash(there.user, there.channel, "user-stats", {}).answered()))
    assert "0" in stats
    listing = there.card(there.discord.slash(there.user, there.channel, "queue", {}).answered())
    for custom_id in there.custom_ids(listing):
        there.discord.press(there.user, listing, custom_id).answered()
    there.discord.wait(lambda: all("Cancelled" in there.text(there.card(c)) for c in (first, second)), 15, "both ends")


def test_admins_pause_ban_and_drain(discord_, cluster) -> None:
    with scene(discord_, cluster) as there:
        call = there.discord.slash(there.manager(1 << 3), there.channel, "admin", {}, subcommand="stats").answered()
        assert call.ephemeral and "owners" in there.text(there.card(call))
        owner = there.owner()

        def admin(name: str, **options):
            return there.text(
                there.card(there.discord.slash(owner, there.channel, "admin", options, subcommand=name).answered())
            )

        assert "Queue" in admin("stats")
        assert "No requests" in admin("pause")
        assert "no requests at the moment" in there.text(there.card(there.upscale(png(50))))
        assert "Requests are taken" in admin("pause", on=False)
        assert "is excluded" in admin("ban", user=there.user, reason="spam", days=1.0)
        refused = there.text(there.card(there.upscale(png(50))))
        assert "excluded" in refused and "spam" in refused
        assert "no longer" in admin("ban", user=there.user, lift=True)
        assert "not the id" in admin("ban", guild="x")
        wrong = there.discord.slash(owner, there.channel, "admin", {"guild": "x"}, subcommand="ban").answered()
        there.card(wrong)
        there.result(there.upscale(png(50, shade=9)))
        assert not wrong.followups  # it is told once
        call = there.upscale(png(1500))
        assert "ends once" in admin("drain")
        assert "restarted" in there.text(there.card(there.upscale(png(50))))
        there.result(call)
        there.until(lambda: not there.bot.alive)
    with scene(discord_, cluster) as there:  # and takes requests again
        there.result(there.upscale(png(50)))


def test_limits_and_tiers(discord_, cluster) -> None:
    with scene(discord_, cluster, work=False, start=False) as there:
        gold = there.discord.user("rich")
        there.discord.join(gold, there.guild, roles=["gold"])
        roles = (there.guild.roles["gold"],)
        there.config = BotConfig(
            tiers=(Tier("gold", roles=roles, queued=5), Tier("member", queued=1, running=1), Tier("free", daily=1)),
            free="free", guild_queued=4,
        )  # fmt: skip
        there.start()
        assert not there.upscale(png(50)).ephemeral
        refused = there.upscale(png(50, shade=1))
        assert refused.ephemeral and "You have 1 jobs waiting" in there.text(there.card(refused))
        for n in range(3):
            there.card(there.upscale(png(50, shade=10 + n), user=gold))
        assert there.rows("SELECT count(*) AS n FROM distillery_jobs WHERE tier = 'gold'")[0]["n"] == 3
        full = there.upscale(png(50, shade=20), user=gold)
        assert full.ephemeral and "This server has 4 jobs waiting" in there.text(there.card(full))
        elsewhere = there.discord.channel(there.discord.guild("Others"), "x")
        there.discord.join(there.other, elsewhere.guild)
        image = there.upload(png(50), channel=elsewhere, user=there.other)
        free = there.discord.slash(there.other, elsewhere, "upscale-free", {"image": image}).answered(5)
        assert (
            there.card(free)
            and there.rows("SELECT count(*) AS n FROM distillery_jobs WHERE tier = 'free'")[0]["n"] == 1
        )
        image = there.upload(png(50, shade=2), channel=elsewhere, user=there.other)
        second = there.discord.slash(there.other, elsewhere, "upscale-free", {"image": image}).answered(5)
        assert second.ephemeral and "1 a day" in there.text(there.card(second))


def test_a_cooldown_between_requests(discord_, cluster) -> None:
    with scene(discord_, cluster, BotConfig(tiers=(Tier("member", cooldown=3.0),))) as there:
        there.card(there.upscale(png(50)))
        call = there.upscale(png(50, shade=1))
        assert call.ephemeral and "next request" in there.text(there.card(call))
        time.sleep(3.2)
        assert not there.press("Try again", there.card(call)).ephemeral


def test_pictures_that_are_hidden(there) -> None:
    manager = there.manager()
    there.discord.slash(manager, there.channel, "settings", {"pictures": "spoiler"}).answered()
    card = there.result(there.upscale(png(50)))
    assert all(item["spoiler"] for item in there.gallery(card))
    there.discord.slash(manager, there.channel, "settings", {"pictures": "adult"}).answered()
    call = there.upscale(png(50, shade=1))
    assert call.ephemeral and "age-restricted" in there.text(there.card(call))


def test_an_own_result_is_recalled_though_its_metadata_is_gone(there) -> None:
    card = there.result(there.upscale(png(50)))
    data = there.discord.download(card.attachments[0])
    bare = png(None)  # the waiting jobs' result is their source: strip it
    stripped = opened(data)
    import io

    out = io.BytesIO()
    stripped.convert("RGB").save(out, "PNG")
    assert recall(out.getvalue()).empty and bare
    again = there.upscale(out.getvalue())
    assert not again.ephemeral, there.text(there.card(again))
    there.result(again)
