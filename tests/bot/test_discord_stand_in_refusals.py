"""What the stand-in for Discord refuses, as Discord does."""

from __future__ import annotations

import io
import json

import pytest
import requests
from discord_stand_in import DiscordStandIn
from discord_stand_in.files import without_metadata
from PIL import Image, PngImagePlugin

V2 = 1 << 15
COMMANDS = "/applications/1100000000000000001/commands"


@pytest.fixture(scope="module")
def discord_():
    with DiscordStandIn() as stand_in:
        stand_in.limits.global_limit = 10_000
        stand_in.limit("messages", 10_000, 1)
        yield stand_in


@pytest.fixture(scope="module")
def channel(discord_):
    return discord_.channel(discord_.guild("g"), "c")


def send(discord_, method, path, body, files=None):
    headers = {"Authorization": f"Bot {discord_.token}"}
    if files:
        form = {"payload_json": (None, json.dumps(body)), **{f"files[{n}]": file for n, file in enumerate(files)}}
        return requests.request(method, discord_.api + path, headers=headers, files=form, timeout=10)
    return requests.request(method, discord_.api + path, headers=headers, json=body, timeout=10)


def codes(tree):
    """All codes in a tree of errors, with where they are."""
    found = {}

    def walk(node, path):
        for name, value in node.items():
            if name == "_errors":
                found[".".join(path)] = value[0]["code"]
            else:
                walk(value, (*path, name))

    walk(tree, ())
    return found


def text(content="x"):
    return {"type": 10, "content": content}


def button(custom_id="b", **more):
    return {"type": 2, "style": 1, "label": "B", "custom_id": custom_id, **more}


def row(*inner):
    return {"type": 1, "components": list(inner)}


def select(**more):
    return {"type": 3, "custom_id": "s", "options": [{"label": "a", "value": "a"}], **more}


def v2(*components, **more):
    return {"flags": V2, "components": list(components), **more}


def gallery(*urls):
    return {"type": 12, "items": [{"media": {"url": url}} for url in urls]}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"content": "x" * 2001}, "content"),
        ({"content": "x", "nonce": "n" * 26}, "nonce"),
        ({"embeds": [{"title": "x" * 257}]}, "embeds.0.title"),
        ({"embeds": [{"description": "x" * 4000}, {"description": "x" * 2001}]}, "embeds"),
        ({"content": "x", "components": [text()]}, "components.0.type"),
        ({"content": "x", "components": [row(button(str(n))) for n in range(6)]}, "components"),
        (v2(text(), content="x"), "content"),
        (v2(text(), embeds=[{"title": "x"}]), "embeds"),
        (v2(text("")), "components.0.content"),
        (v2(text("x" * 2001), text("x" * 2000)), "components"),
        (v2(*[text()] * 41), "components"),
        (v2(button()), "components.0.type"),
        (v2({"type": 17, "components": [{"type": 17, "components": [text()]}]}), "components.0.components.0.type"),
        (v2({"type": 9, "components": [text()]}), "components.0.accessory"),
        (v2({"type": 9, "components": [text()] * 4, "accessory": button()}), "components.0.components"),
        (v2(row()), "components.0.components"),
        (v2(row(*[button(str(n)) for n in range(6)])), "components.0.components"),
        (v2(row(select(), button())), "components.0.components"),
        (v2(row(button("x" * 101))), "components.0.components.0.custom_id"),
        (v2(row(button(""))), "components.0.components.0.custom_id"),
        (v2(row(button("a"), button("a"))), "components"),
        (v2(row(button(label="x" * 81))), "components.0.components.0.label"),
        (v2(row(button(label=None))), "components.0.components.0.label"),
        (v2(row(button(style=5, url="https://example.org"))), "components.0.components.0.custom_id"),
        (v2(row(select(options=[]))), "components.0.components.0.options"),
        (v2(row(select(options=[{"label": str(n), "value": str(n)} for n in range(26)]))), "components.0.components.0.options"),
        (v2(row(select(max_values=2))), "components.0.components.0.max_values"),
        (v2(gallery()), "components.0.items"),
        (v2(gallery(*["https://example.org/a.png"] * 11)), "components.0.items"),
        (v2(gallery("attachment://none.png")), "components.0.items.0.media.url"),
        (v2({"type": 13, "file": {"url": "https://example.org/a"}}), "components.0.file.url"),
        (v2(text(), attachments=[{"id": 0, "filename": "a.png"}]), "attachments.0.id"),
        ({"content": "x", "message_reference": {"message_id": "5"}}, "message_reference"),
    ],
)  # fmt: skip
def test_a_message_that_discord_would_refuse(discord_, channel, body, where):
    answer = send(discord_, "POST", f"/channels/{channel.id}/messages", body)
    assert (answer.status_code, answer.json()["code"]) == (400, 50035), answer.text
    assert where in codes(answer.json()["errors"]), answer.text


def test_an_empty_message_and_an_emptied_one(discord_, channel):
    path = f"/channels/{channel.id}/messages"
    assert send(discord_, "POST", path, {"content": " "}).json()["code"] == 50006
    made = send(discord_, "POST", path, {"content": "x"}).json()
    assert send(discord_, "PATCH", f"{path}/{made['id']}", {"content": ""}).json()["code"] == 50006
    assert discord_.message(channel, int(made["id"])).content == "x"


def test_the_second_version_is_not_taken_back_and_content_goes_first(discord_, channel):
    path = f"/channels/{channel.id}/messages"
    old = send(discord_, "POST", path, {"content": "x"}).json()
    assert send(discord_, "PATCH", f"{path}/{old['id']}", v2(text())).status_code == 400
    assert send(discord_, "PATCH", f"{path}/{old['id']}", v2(text(), content=None)).json()["flags"] == V2
    assert send(discord_, "PATCH", f"{path}/{old['id']}", {"content": "x"}).status_code == 400


def test_an_edit_keeps_the_files_that_it_names_and_takes_new_ones(discord_, channel):
    path = f"/channels/{channel.id}/messages"
    body = v2(gallery("attachment://a_b.png", "attachment://c.png"))
    made = send(discord_, "POST", path, body, [("a b.png", b"first"), ("c.png", b"second")]).json()
    first, second = made["attachments"]
    assert (first["filename"], first["title"], first["size"]) == ("a_b.png", "a b", 5)
    assert made["components"][0]["items"][0]["media"]["url"] == first["url"]
    body = v2(
        gallery("attachment://a_b.png", "attachment://d.png"),
        attachments=[{"id": first["id"]}, {"id": 0, "filename": "d.png"}],
    )
    edited = send(discord_, "PATCH", f"{path}/{made['id']}", body, [("d.png", b"third")]).json()
    assert [each["filename"] for each in edited["attachments"]] == ["a_b.png", "d.png"]
    local = f"http://127.0.0.1:{discord_.port}"
    gone, kept = (
        requests.get(each["url"].replace("https://cdn.discordapp.com", local), timeout=10) for each in (second, first)
    )
    assert (gone.status_code, kept.status_code, kept.content) == (404, 200, b"first")
    # What names no files leaves them alone.
    edited = send(discord_, "PATCH", f"{path}/{made['id']}", v2(text())).json()
    assert [each["filename"] for each in edited["attachments"]] == ["a_b.png", "d.png"]


def option(**more):
    return {"name": "o", "description": "d", "type": 3, **more}


def command(*options, **more):
    return {"name": "upscale", "description": "d", "options": list(options), **more}


@pytest.mark.parametrize(
    ("commands", "where"),
    [
        ([command(name="Upscale")], "0.name"), ([command(name="x" * 33)], "0.name"), ([command(name="a b")], "0.name"),
        ([command(description="")], "0.description"), ([command(description="x" * 101)], "0.description"),
        ([command(), command()], "1.name"),
        ([command(option(), option(name="p", required=True))], "0.options.1.required"),
        ([command(option(), option())], "0.options.1.name"),
        ([command(*[option(name=f"o{n}") for n in range(26)])], "0.options"),
        ([command(option(choices=[{"name": str(n), "value": "v"} for n in range(26)]))], "0.options.0.choices"),
        ([command(option(choices=[{"name": "n", "value": 1}]))], "0.options.0.choices.0.value"),
        ([command(option(choices=[{"name": "n", "value": "v"}], autocomplete=True))], "0.options.0.autocomplete"),
        ([command(option(type=10, min_value=2, max_value=1))], "0.options.0.min_value"),
        ([command(option(max_value=1))], "0.options.0.max_value"),
        ([command(option(), option(name="sub", type=1))], "0.options"),
        ([command(name_localizations={"xx": "n"})], "0.name_localizations.xx"),
        ([command(description_localizations={"de": "x" * 101})], "0.description_localizations.de"),
        ([{"name": "Upscale", "type": 3, "description": "d"}], "0.description"),
        ([command(contexts=[3])], "0.contexts.0"),
    ],
)  # fmt: skip
def test_commands_that_discord_would_refuse(discord_, commands, where):
    answer = send(discord_, "PUT", COMMANDS, commands)
    assert (answer.status_code, answer.json()["code"]) == (400, 50035), answer.text
    assert where in codes(answer.json()["errors"]), answer.text


def test_fifteen_menus_and_no_more(discord_):
    menus = [{"name": f"Menu {number}", "type": 3} for number in range(16)]
    assert send(discord_, "PUT", COMMANDS, menus).json()["code"] == 30032
    first = send(discord_, "PUT", COMMANDS, menus[:15]).json()
    assert [each["id"] for each in send(discord_, "PUT", COMMANDS, menus[:15]).json()] == [each["id"] for each in first]
    assert [each["name"] for each in discord_.commands[None]] == [each["name"] for each in menus[:15]]


def label(component, **more):
    return {"type": 18, "label": "L", "component": component, **more}


FIELD = {"type": 4, "custom_id": "t", "style": 1}


def modal(*components, **more):
    return {"type": 9, "data": {"title": "T", "custom_id": "m", "components": list(components), **more}}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (modal(label(FIELD), title="x" * 46), "data.title"), (modal(), "data.components"),
        (modal(*[label({**FIELD, "custom_id": str(n)}) for n in range(6)]), "data.components"),
        (modal(label(FIELD, label="x" * 46)), "data.components.0.label"),
        (modal(label(button())), "data.components.0.component.type"),
        (modal(label(FIELD), label(FIELD)), "data.components"), (modal(FIELD), "data.components.0.type"),
        (modal(label({"type": 19, "custom_id": "u", "max_values": 11})), "data.components.0.component.max_values"),
        (modal(label({**FIELD, "label": "twice"})), "data.components.0.component.label"),
        ({"type": 4, "data": {"content": "x" * 2001}}, "data.content"), ({"type": 7, "data": {"content": "x"}}, "type"),
        ({"type": 8, "data": {"choices": []}}, "type"),
    ],
)  # fmt: skip
def test_responses_that_discord_would_refuse(discord_, channel, body, where):
    send(discord_, "PUT", COMMANDS, [command(), {"name": "Menu 1", "type": 3}])
    user = discord_.user("ann")
    discord_.join(user, channel.guild)
    call = discord_.slash(user, channel, "upscale")
    path = f"/interactions/{call.id}/{call.token}/callback"
    answer = send(discord_, "POST", path, body)
    assert (answer.status_code, answer.json()["code"]) == (400, 50035), answer.text
    assert where in codes(answer.json()["errors"]) and call.response is None
    # It is not answered by that, and can be answered once.
    assert [send(discord_, "POST", path, {"type": 5}).status_code for _ in range(2)] == [204, 400]


def test_autocompletion_offers_25_and_no_more(discord_, channel):
    send(discord_, "PUT", COMMANDS, [command(option(autocomplete=True))])
    user = discord_.user("ann")
    discord_.join(user, channel.guild)
    with pytest.raises(AssertionError, match="an answer"):
        discord_.autocomplete(user, channel, "upscale", "o", "x", timeout=0.1)
    call = next(reversed(discord_.calls.values()))
    choices = [{"name": str(number), "value": str(number)} for number in range(26)]
    path = f"/interactions/{call.id}/{call.token}/callback"
    assert send(discord_, "POST", path, {"type": 8, "data": {"choices": choices}}).status_code == 400
    assert send(discord_, "POST", path, {"type": 8, "data": {"choices": choices[:25]}}).status_code == 204


def test_others_than_the_bot_are_unauthorised(discord_):
    answer = requests.get(discord_.api + "/users/@me", headers={"Authorization": "Bot other"}, timeout=10)
    assert (answer.status_code, answer.json()) == (401, {"message": "401: Unauthorized", "code": 0})
    assert send(discord_, "GET", "/nothing", None).status_code == 404


def test_limits_are_told_in_headers():
    with DiscordStandIn() as stand_in:
        channel = stand_in.channel(stand_in.guild("g"), "c")
        answers = [send(stand_in, "POST", f"/channels/{channel.id}/messages", {"content": "x"}) for _ in range(6)]
        assert [each.status_code for each in answers] == [200] * 5 + [429]
        assert [each.headers["X-RateLimit-Remaining"] for each in answers] == list("432100")
        assert 4 < answers[-1].json()["retry_after"] <= 5 and answers[-1].headers["Retry-After"] == "5"
        assert answers[-1].headers["Content-Type"] == "application/json"
        stand_in.limits.global_limit = 0
        last = send(stand_in, "GET", "/users/@me", None)
        assert last.json()["global"] and stand_in.invalid == 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_upload_loses_its_metadata_and_no_pixels(kind):
    picture, out = Image.effect_noise((20, 20), 50).convert("RGB"), io.BytesIO()
    exif = Image.Exif()
    exif[0x9286] = "Steps: 20"
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", "Steps: 20")
    picture.save(out, kind, exif=exif, **({"pnginfo": notes} if kind == "PNG" else {}))
    stripped = without_metadata(out.getvalue())
    assert b"Steps: 20" in out.getvalue() and b"Steps: 20" not in stripped
    before, after = Image.open(out), Image.open(io.BytesIO(stripped))
    assert before.tobytes() == after.tobytes() and not after.getexif()
