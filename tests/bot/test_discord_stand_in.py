"""discord.py, unmodified, against the stand-in for Discord."""

from __future__ import annotations

import time
from types import SimpleNamespace

import discord
import pytest
from discord_stand_in import DiscordStandIn
from small_bot import SmallBot

from distillery.driver.sources import discord as links
from distillery.driver.sources.fetch import split_url


@pytest.fixture
def place():
    """A Discord with a guild, a channel, a member and a bot that runs."""
    with DiscordStandIn() as discord_, discord_.patch():
        guild = discord_.guild("Painters")
        channel = discord_.channel(guild, "art")
        user = discord_.user("ann", roles=["Artist"], locale="de")
        discord_.join(user, guild)
        bot = SmallBot()
        with discord_.running(bot) as client:
            yield SimpleNamespace(discord=discord_, guild=guild, channel=channel, user=user, bot=bot, client=client)


def image(place, data=b"abc", name="a.png"):
    return place.discord.upload(place.user, place.channel, data, name)


def test_a_command_with_an_attachment(place):
    call = place.discord.slash(place.user, place.channel, "read", {"image": image(place), "power": 0.5}).answered()
    assert call.message.content == "3 0.5 real"
    assert call.ephemeral and call.latency < 1 and call.response[0] == 4
    assert place.discord.messages(place.channel) == []
    assert place.discord.messages(place.channel, place.user) == [call.message]


def test_discords_own_checks_of_what_a_user_gives(place):
    d, one = place.discord, image(place)
    for name, options in (
        ("read", {"image": one, "power": 1.5}), ("read", {}), ("read", {"image": one, "x": 1}), ("nothing", {}),
        ("read", {"image": "text"}), ("send", {"size": "5"}),
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            d.slash(place.user, place.channel, name, options)
    with pytest.raises(AssertionError, match="not in Painters"):
        d.slash(d.user("stranger"), place.channel, "slow")
    with pytest.raises(AssertionError, match="cannot upload"):
        image(place, bytes(11 * 2**20))


def test_a_deferred_answer_is_edited_and_followed_up(place):
    call = place.discord.slash(place.user, place.channel, "slow").answered()
    assert call.deferred and call.message is None
    assert call.finished().content == "done"
    place.discord.wait(lambda: call.followups)
    assert [each.content for each in place.discord.messages(place.channel)] == ["done", "and more"]
    assert call.followups[0].reference == call.message.id


def test_a_hidden_answer_cannot_be_reached_without_its_token(place):
    call = place.discord.slash(place.user, place.channel, "slow", {"hidden": True, "wait": 0.0}).answered()
    message = call.finished()
    assert call.ephemeral
    partial = place.bot.get_channel(place.channel.id).get_partial_message(message.id)
    for act in (partial.edit(content="x"), partial.delete(), partial.fetch()):
        with pytest.raises(discord.NotFound) as refused:
            place.client.do(act)
        assert refused.value.code == 10008


def test_buttons_and_selects_of_a_card(place):
    d = place.discord
    message = d.slash(place.user, place.channel, "card").answered().message
    assert "# Title" in d.texts(message) and "after" in d.texts(message)
    assert d.buttons(message) == {"More": "more", "Again": "again:7"} and d.selects(message) == {"models": ["x", "y"]}
    assert d.download(message.attachments[0]) == b"a picture"
    container = d.payload(message)["components"][0]
    media = container["components"][1]["items"][0]["media"]
    assert media["url"].startswith("https://cdn.discordapp.com/attachments/") and "&hm=" in media["url"]
    assert container["components"][2]["name"] == "after.png" and container["components"][2]["size"] == 9
    call = d.press(place.user, message, "more").answered()
    assert call.message is message and d.texts(message).startswith("more") and message.attachments == []
    d.press(place.user, message, "models", values=["y"]).answered()
    d.wait(lambda: d.texts(message).startswith("y"))
    for custom_id, values in (("nothing", None), ("models", ["z"]), ("models", [])):
        with pytest.raises(AssertionError):
            d.press(place.user, message, custom_id, values)
    d.delete(message)
    d.wait(lambda: place.bot.deleted == [message.id])
    with pytest.raises(AssertionError, match="no message"):
        d.press(place.user, message, "more")


def test_a_dynamic_button_works_after_a_restart(place):
    d = place.discord
    message = d.slash(place.user, place.channel, "card").answered().message
    place.client.close()
    with d.running(SmallBot()):
        assert d.press(place.user, message, "again:7").answered().message.content == "again 7"


def test_a_modal_with_all_kinds_of_fields(place):
    d = place.discord
    opened = d.slash(place.user, place.channel, "form").answered()
    assert opened.modal["title"] == "A form"
    values = {"prompt": "a cat", "image": image(place), "model": ["b"], "size": "large", "sure": True}
    call = d.submit(place.user, opened, values).answered()
    assert call.message.content == "a cat 3 b large True"
    for wrong in ({"prompt": ""}, {"prompt": "x" * 51}, {"image": []}, {"model": ["c"]}, {"size": "huge"}, {"x": "y"}):
        with pytest.raises(AssertionError):
            d.submit(place.user, opened, values | wrong)


def test_the_menu_of_a_message(place):
    d = place.discord
    message = d.post(place.user, place.channel, "look", attachments=[image(place)])
    assert d.menu(place.user, place.channel, "Upscale", message).answered().message.content == "look by ann: [3]"


def test_autocompletion(place):
    choices = place.discord.autocomplete(place.user, place.channel, "read", "model", "dre")
    assert [each["value"] for each in choices] == ["dreamshaper", "dreamlike"]


def test_discords_objects_are_parsed(place):
    d = place.discord
    thread = d.channel(place.guild, "a thread", "thread")
    dm = d.dm(place.user)
    d.slash(place.user, thread, "slow").finished()
    d.slash(place.user, dm, "slow").finished()
    in_thread, in_dm = place.bot.heard
    guild = place.bot.guilds[0]
    assert (guild.name, guild.filesize_limit, in_thread.filesize_limit) == ("Painters", 10 * 2**20, 10 * 2**20)
    assert isinstance(in_thread.channel, discord.Thread) and isinstance(in_dm.channel, discord.DMChannel)
    assert isinstance(in_thread.user, discord.Member) and isinstance(in_dm.user, discord.User)
    assert in_thread.user.roles[-1].name == "Artist" and in_thread.locale is discord.Locale.german
    assert in_thread.app_permissions.attach_files and in_thread.is_guild_integration() and in_thread.context.guild
    assert in_dm.context.dm_channel and in_dm.guild is None
    channel = guild.get_channel(place.channel.id)
    assert channel.permissions_for(guild.me).send_messages
    card = d.slash(place.user, place.channel, "card").answered().message
    fetched = place.client.do(channel.fetch_message(card.id))
    assert fetched.flags.components_v2 and len(fetched.components[0].children) == 5
    assert fetched.interaction_metadata.user.name == "ann" and fetched.attachments[0].size == 9
    assert place.client.do(fetched.attachments[0].read()) == b"a picture"
    assert place.client.do(guild.fetch_member(place.user.id)).name == "ann"


@pytest.mark.parametrize(("resume", "reconnect"), [(True, False), (True, True), (False, False)])
def test_the_gateway_comes_back(place, resume, reconnect):
    d = place.discord
    d.drop_gateway(resume, reconnect)
    d.wait(lambda: (d.resumed, d.identified) == ((1, 1) if resume else (0, 2)), 8)
    assert d.slash(place.user, place.channel, "slow").finished(5).content == "done"


def test_an_interaction_that_was_missed_is_replayed(place):
    d = place.discord
    with d.gateway_away():
        call = d.slash(place.user, place.channel, "read", {"image": image(place)})
        time.sleep(0.2)
        assert call.response is None
    assert call.answered().message.content == "3 0.2 real" and d.resumed == 1


def test_a_repeated_event_is_refused_the_second_time(place):
    d = place.discord
    call = d.slash(place.user, place.channel, "read", {"image": image(place)}).answered()
    d.repeat(call)
    d.wait(lambda: place.bot.errors)
    assert (place.bot.errors[0].status, place.bot.errors[0].code) == (400, 40060) or isinstance(
        place.bot.errors[0], discord.InteractionResponded
    )


def test_a_late_answer_and_a_dead_token(place):
    d = place.discord
    d.ack_limit = -1
    d.slash(place.user, place.channel, "slow")
    d.wait(lambda: place.bot.errors)
    assert (place.bot.errors[0].status, place.bot.errors[0].code) == (404, 10062)
    d.ack_limit, d.interaction_life = 3, 0.3
    call = d.slash(place.user, place.channel, "slow", {"wait": 0.5}).answered()
    d.wait(lambda: len(place.bot.errors) == 2)
    assert (place.bot.errors[1].status, place.bot.errors[1].code) == (401, 50027) and call.message is None
    # The way that is left is the channel's.
    partial = place.bot.get_channel(place.channel.id).get_partial_message(call.original.id)
    place.client.do(partial.edit(content="late"))
    assert call.message.content == "late" and d.invalid == 1


def test_a_limit_is_waited_out(place):
    d = place.discord
    d.limit("^POST /channels/[0-9]+/messages$", 2, 0.4)
    channel = place.bot.get_channel(place.channel.id)
    began = time.monotonic()
    for number in range(4):
        place.client.do(channel.send(str(number)))
    assert 0.3 < time.monotonic() - began < 3
    d.fail("^POST /channels/", 429, body={"retry_after": 0.1, "global": False})
    place.client.do(channel.send("4"))
    assert [each.content for each in d.messages(place.channel)] == list("01234") and d.invalid == 1


def test_a_nonce_finds_the_message_whose_answer_was_lost(place):
    d, channel = place.discord, place.bot.get_channel(place.channel.id)
    d.fail("^POST /channels/", 500, after=True)
    sent = place.client.do(channel.send("once", nonce="n1"))
    assert [each.id for each in d.messages(place.channel)] == [sent.id]
    d.fail("^POST /channels/", 0, after=True)
    with pytest.raises(Exception, match=r"disconnected|reset|closed|Server"):
        place.client.do(channel.send("twice"))
    place.client.do(channel.send("twice"))
    assert [each.content for each in d.messages(place.channel)] == ["once", "twice", "twice"]


def test_a_file_over_the_limit(place):
    d = place.discord
    place.guild.size_limit = 1000
    assert d.slash(place.user, place.channel, "send", {"size": 1000}).answered().message.attachments[0].size == 1000
    d.slash(place.user, place.channel, "send", {"size": 1001})
    d.wait(lambda: place.bot.errors)
    assert (place.bot.errors[0].status, place.bot.errors[0].code) == (413, 40005)
    assert d.guild("big", boosts=14).size_limit == 100 * 2**20


def test_what_the_bot_may_not_do(place):
    d, channel = place.discord, place.bot.get_channel(place.channel.id)

    def refused(act):
        with pytest.raises(discord.HTTPException) as error:
            place.client.do(act)
        return error.value.status, error.value.code

    message = d.post(place.user, place.channel, "mine")
    assert refused(channel.get_partial_message(message.id).edit(content="x")) == (403, 50005)
    d.permit(place.channel, discord.Permissions(view_channel=True))
    assert refused(channel.send("x")) == (403, 50013)
    d.permit(place.channel, 0)
    assert refused(channel.send("x")) == (403, 50001)
    d.delete_channel(place.channel)
    assert refused(channel.send("x")) == (404, 10003)
    d.close_dms(place.user)
    user = place.client.do(place.bot.fetch_user(place.user.id))
    assert refused(user.send("x")) == (403, 50007)
    assert d.invalid == 4


def test_an_app_that_only_its_user_has_follows_up_five_times(place):
    d = place.discord
    for command in d.commands[None]:
        command["integration_types"] = [0, 1]
    d.limit("^POST /webhooks/", 100, 1)
    elsewhere = d.guild("elsewhere", joined=False)
    channel = d.channel(elsewhere, "c")
    d.join(place.user, elsewhere)
    with pytest.raises(AssertionError, match="not in elsewhere"):
        d.slash(place.user, channel, "many", {"number": 6})
    call = d.slash(place.user, channel, "many", {"number": 6}, installed="user").answered()
    d.wait(lambda: place.bot.errors)
    assert place.bot.errors[0].code == 40094 and len(call.followups) == 5
    assert place.bot.heard[0].is_user_integration() and not place.bot.heard[0].is_guild_integration()


def test_links_are_signed_expire_and_are_renewed(place):
    d, policy = place.discord, place.discord.policy
    attachment = image(place, b"bytes")
    assert links.fetch(split_url(attachment.url), policy=policy) == (b"bytes", "a.png")
    with pytest.raises(Exception, match="404"):
        links.fetch(split_url(attachment.url.replace("hm=", "hm=0")), policy=policy)
    old = d.files.link(attachment, time.time() - 90_000)
    assert links.fetch(split_url(old), d.token, policy) == (b"bytes", "a.png")
    assert ("POST", "/attachments/refresh-urls") in {(each.method, each.path) for each in d.requests}


def test_two_clients_hear_of_the_same_and_one_may_answer(place):
    d = place.discord
    second = SmallBot()
    with d.running(second):
        call = d.slash(place.user, place.channel, "card").answered()
        errors = d.wait(lambda: place.bot.errors + second.errors)
        assert [(each.status, each.code) for each in errors] == [(400, 40060)]
        assert d.messages(place.channel) == [call.message]


def test_a_client_that_is_killed_leaves_its_answers_undone(place):
    d = place.discord
    call = d.slash(place.user, place.channel, "slow", {"wait": 0.2}).answered()
    place.client.kill()
    with d.running(SmallBot()):
        time.sleep(0.3)
        assert call.message is None and d.identified == 2
        assert d.slash(place.user, place.channel, "slow").finished().content == "done"


def test_archived_threads_private_places_and_hidden_commands(place):
    d = place.discord
    thread = d.channel(place.guild, "t", "thread")
    d.wait(lambda: place.bot.get_channel(thread.id))
    sent = place.client.do(place.bot.get_channel(thread.id).send("x"))
    d.archive(thread)
    with pytest.raises(discord.HTTPException) as refused:
        place.client.do(sent.edit(content="y"))
    assert (refused.value.status, refused.value.code) == (400, 50083)
    place.client.do(sent.channel.send("z"))
    place.client.do(sent.edit(content="y"))
    for command in d.commands[None]:
        command["integration_types"], command["contexts"] = [1], [2]
    call = d.slash(place.user, d.private(place.user, d.user("bob")), "slow", installed="user")
    assert call.finished().content == "done" and place.bot.heard[-1].context.private_channel
    for command in d.commands[None]:
        command |= {"default_member_permissions": "32", "contexts": None, "integration_types": [0]}
    with pytest.raises(AssertionError, match="hidden"):
        d.slash(place.user, place.channel, "slow")
    d.join(place.user, place.guild, permissions=discord.Permissions(manage_guild=True))
    d.slash(place.user, place.channel, "slow").finished()


def test_the_first_follow_up_takes_the_place_of_a_deferred_answer(place):
    d = place.discord
    place.bot.tree.remove_command("slow")

    @place.bot.tree.command(name="slow", description="A command")
    async def slow(interaction: discord.Interaction):
        await interaction.response.defer(ephemeral=True)
        await interaction.followup.send("here")

    call = d.slash(place.user, place.channel, "slow").answered()
    assert call.finished().content == "here" and call.ephemeral and call.followups == []
    d.interaction_age = 600
    before = d.slash(place.user, place.channel, "slow").answered()
    assert 590 < time.time() - discord.utils.snowflake_time(before.id).timestamp() < 610
    d.expire(before)
    with pytest.raises(discord.HTTPException) as refused:
        place.client.do(place.bot.heard[-1].followup.send("late"))
    assert refused.value.code == 50027
