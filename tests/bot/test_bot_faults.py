"""Nothing is lost: what dies, what is gone, what Discord refuses, each at its worst moment."""

from __future__ import annotations

import time

import pytest
from bot_bench import BotProcess
from bot_scene import opened, png, scene
from cluster_workers import WaitingBackend, WorkerProcess

from distillery.driver.errors import JobOutOfMemory
from distillery.nodes.parameters import MINI_NAME

pytestmark = pytest.mark.slow


@pytest.fixture
def there(discord_, cluster):
    with scene(discord_, cluster) as made:
        yield made


def delivered_by(there) -> list[str]:
    there.until(lambda: "waiting" not in there.states())
    return [r["delivered_by"] for r in there.rows("SELECT delivered_by FROM distillery_bot_requests ORDER BY created")]


def test_a_job_that_outlives_the_token_of_its_command(there) -> None:
    there.discord.interaction_life = 1.0
    card = there.result(there.upscale(png(3000)))
    assert delivered_by(there) == ["edit"] and len(there.discord.messages(there.channel)) == 1
    assert [opened(there.discord.download(a)).format for a in card.attachments] == ["PNG", "WEBP"]
    assert there.discord.invalid <= 3  # it is asked once, not again and again


def test_a_card_that_was_deleted_is_sent_anew_once(there) -> None:
    card = there.card(there.upscale(png(2000)))
    there.discord.delete(card)
    (new,) = there.discord.wait(lambda: there.discord.messages(there.channel), 15, "a new message")
    assert "Delete" in there.buttons(new) and f"<@{there.user.id}>" in there.text(new)
    assert delivered_by(there) == ["message"]


def test_a_channel_that_is_gone_is_a_private_message(there) -> None:
    there.card(there.upscale(png(2000)))
    there.discord.delete_channel(there.channel)
    private = there.discord.dm(there.user)
    (new,) = there.discord.wait(lambda: there.discord.messages(private), 15, "a private message")
    assert "Delete" in there.buttons(new) and delivered_by(there) == ["dm"]
    there.result(there.discord.press(there.user, new, there.buttons(new)["More power"]).answered(5))


def test_a_result_that_reaches_nobody_is_kept_for_the_queue(there) -> None:
    there.card(there.upscale(png(2000)))
    there.discord.delete_channel(there.channel)
    there.discord.close_dms(there.user)
    there.until(lambda: there.states() == {"kept": 1}, 15)
    elsewhere = there.discord.channel(there.guild, "elsewhere")
    call = there.discord.slash(there.user, elsewhere, "queue", {}).answered(5)
    listing = there.card(call)
    assert "could not be sent" in there.text(listing)
    shown = there.discord.press(there.user, listing, there.buttons(listing)["Show it"]).answered(5)
    there.result(shown)
    assert there.states() == {"delivered": 1}


def test_rights_that_were_taken_away(there) -> None:
    there.discord.interaction_life = 1.0
    there.card(there.upscale(png(3000)))
    there.discord.permit(there.channel, 0)
    private = there.discord.dm(there.user)
    there.discord.wait(lambda: there.discord.messages(private), 15, "a private message")
    assert delivered_by(there) == ["dm"] and there.discord.invalid < 20


@pytest.mark.parametrize("resume", [True, False])
def test_the_gateway_breaks_in_the_middle(there, resume) -> None:
    first = there.upscale(png(2000))
    there.discord.drop_gateway(resume=resume)
    image = there.upload(png(50, shade=1))
    second = there.discord.slash(there.user, there.channel, "upscale", {"image": image})
    there.result(first)
    if resume:  # what was missed is sent again
        there.result(second.answered(15), 30)
    there.until(lambda: there.discord.resumed + there.discord.identified >= 2)
    there.result(there.upscale(png(50, shade=2)))


def test_an_event_that_comes_twice_is_one_request(there) -> None:
    call = there.upscale(png(1000))
    there.discord.repeat(call)
    there.result(call)
    time.sleep(1)
    assert len(there.rows("SELECT 1 FROM distillery_jobs")) == 1 and len(there.discord.messages(there.channel)) == 1


def test_an_answer_that_comes_too_late_finds_another_way(there) -> None:
    there.discord.slow_cdn = 0.5
    there.discord.fail(r"/interactions/.*/callback", 404, 1, {"message": "Unknown interaction", "code": 10062})
    image = there.upload(png(50))
    there.discord.slash(there.user, there.channel, "upscale", {"image": image})
    (card,) = there.discord.wait(lambda: there.discord.messages(there.channel), 15, "a card")
    there.discord.wait(lambda: "Delete" in there.buttons(card), 15, "a result")
    assert len(there.discord.messages(there.channel)) == 1


def test_a_slow_cdn_is_announced_in_a_second(there) -> None:
    there.discord.slow_cdn = 2.5
    call = there.upscale(png(50))
    assert call.latency < 1.5 and call.deferred
    there.result(call)


def test_a_slow_cdn_and_no_image_ends_for_the_users_eyes_alone(there) -> None:
    there.discord.slow_cdn = 2.0
    call = there.upscale(b"hello")
    assert call.deferred
    there.discord.wait(lambda: call.followups, 10, "the answer")
    assert call.followups[0].ephemeral and not there.discord.messages(there.channel)


def test_discord_is_out_of_order_for_a_while(there) -> None:
    call = there.upscale(png(1500))
    there.card(call)
    there.discord.fail(r"/webhooks/.*/messages/", 503, 6)
    there.discord.fail(r"/channels/.*/messages", 503, 6)
    there.result(call, 90)
    assert len(there.discord.messages(there.channel)) == 1


def test_a_storm_of_429(there) -> None:
    there.discord.limit(r"/webhooks/.*/messages/", 2, 3.0)
    calls = [there.upscale(png(200, shade=n)) for n in range(8)]
    for call in calls:
        there.result(call, 90)
    assert there.discord.invalid < 40


def test_a_result_too_large_for_the_channel_is_made_smaller_and_says_so(there) -> None:
    data = png(50, side=640)
    assert len(data) > 300_000
    image = there.upload(data)
    there.guild.size_limit = 150_000
    card = there.result(there.upscale(image=image))
    sent = there.discord.download(card.attachments[0])
    assert len(sent) <= 150_000 and opened(sent).format == "WEBP" and "The PNG has" in there.text(card)


def test_a_limit_that_was_told_wrong(there) -> None:
    call = there.upscale(png(1000, side=640))
    there.guild.size_limit = 400_000  # boosts ended meanwhile
    card = there.result(call)
    assert len(there.discord.download(card.attachments[0])) <= 400_000


def test_a_job_that_fails_says_why_and_what_can_be_done(there) -> None:
    def fail(task):
        if "--power 0" not in task.job.command or "--power 0." in task.job.command:
            raise JobOutOfMemory("The GPU ran out of memory.", "KSampler")

    there.workers.pop().stop()
    there.worker(WaitingBackend(fail=fail, by_image=True))
    call = there.upscale(png(50))
    card = there.card(call)
    there.discord.wait(lambda: "out of memory" in there.text(card), 30, "the error")
    again = there.press("Go on without the HiRes pass", card)
    there.result(again)


def test_a_worker_dies_and_the_card_says_that_the_job_moved_on(discord_, cluster) -> None:
    with scene(discord_, cluster, work=False) as there:
        more = ("--dead-after", "3", "--models", MINI_NAME, "--by-image")
        first = WorkerProcess(cluster.url, cluster.store.url, 1, *more)
        call = there.upscale(png(8000))
        card = there.card(call)
        there.until(lambda: cluster.states() == {"running": 1}, 60)
        second = WorkerProcess(cluster.url, cluster.store.url, 1, *more)
        there.until(lambda: there.rows("SELECT count(*) AS n FROM distillery_workers")[0]["n"] == 2, 60)
        first.kill()
        there.discord.wait(lambda: "machine died" in there.text(card), 30, "the news")
        there.result(call, 60)
        second.kill()


def test_the_bot_is_killed_amid_twenty_jobs(discord_, cluster) -> None:
    with scene(discord_, cluster, start=False) as there:
        there.workers.pop().stop()
        there.worker(slots=2)
        bot = BotProcess(discord_, cluster)
        calls = []
        for n in range(20):
            image = there.upload(png(300, shade=n))
            calls.append(discord_.slash(there.user, there.channel, "upscale", {"image": image}))
        discord_.wait(lambda: sum(c.message is not None for c in calls) >= 8, 30, "the first cards")
        bot.kill()
        time.sleep(2)
        bot = BotProcess(discord_, cluster)
        known = "SELECT count(*) AS n FROM distillery_bot_requests"
        there.until(lambda: set(there.states()) == {"delivered"}, 90)
        assert there.rows(known)[0]["n"] >= 8  # all that were written down; Discord tells of the others itself
        cards = discord_.messages(there.channel)
        done = [card for card in cards if "Delete" in there.buttons(card)]
        assert len(done) == len(cards) == there.rows(known)[0]["n"]
        assert there.rows("SELECT count(*) AS n FROM distillery_results")[0]["n"] == len(done)
        assert bot.end() == 0


def test_the_database_goes_away_and_comes_back(there, postgres) -> None:
    call = there.upscale(png(4000))
    card = there.card(call)
    postgres.stop("immediate")
    try:
        refused = there.upscale(png(50, shade=1))
        assert refused.ephemeral and "does not answer" in there.text(there.card(refused))
        pressed = there.press("Cancel", card)
        assert pressed.ephemeral and "does not answer" in there.text(there.card(pressed))
    finally:
        postgres.start()
    there.result(call, 60)


@pytest.mark.parametrize("place", ["user install", "private", "thread"])
def test_other_places(there, place) -> None:
    if place == "private":
        channel, how = there.discord.dm(there.user), "guild"
    elif place == "thread":
        channel, how = there.discord.channel(there.guild, "thread", kind="thread"), "guild"
    else:  # the app is the user's alone, in a guild without the bot
        foreign = there.discord.guild("Foreign", joined=False)
        there.discord.join(there.user, foreign)
        channel, how = there.discord.channel(foreign, "talk"), "user"
    image = there.discord.upload(there.user, channel, png(1500), "hill.png")
    call = there.discord.slash(there.user, channel, "upscale", {"image": image}, installed=how).answered(5)
    card = there.result(call)
    assert len(call.followups) == 0 and "64×64" in there.text(card)


def test_a_user_install_whose_token_dies_is_told_in_private(there) -> None:
    foreign = there.discord.guild("Foreign", joined=False)
    there.discord.join(there.user, foreign)
    channel = there.discord.channel(foreign, "talk")
    there.discord.interaction_life = 1.0
    image = there.discord.upload(there.user, channel, png(3000), "hill.png")
    there.discord.slash(there.user, channel, "upscale", {"image": image}, installed="user").answered(5)
    private = there.discord.dm(there.user)
    there.discord.wait(lambda: there.discord.messages(private), 15, "a private message")
    assert delivered_by(there) == ["dm"]


def test_two_shards_in_two_processes_share_the_work(discord_, cluster) -> None:
    with scene(discord_, cluster, start=False) as there:
        there.start(([0, 1], 2))
        there.result(there.upscale(png(50)))
        assert discord_.identified == 2
