"""What is refused: for the user's eyes alone, precise, with the way out. Nothing of it leaves a job behind."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from bot_scene import png, scene
from job_images import picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def there(postgres, tmp_path_factory):
    from cluster_database import new_cluster
    from discord_stand_in import DiscordStandIn

    cluster = new_cluster(postgres, tmp_path_factory.mktemp("bot"))
    with DiscordStandIn() as discord_, scene(discord_, cluster) as made:
        yield made
    cluster.database.close()


def header(width: int, height: int) -> bytes:
    """A PNG whose header promises more than there is."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"x")) + chunk(b"IEND", b"")


def saved(kind: str, side: int = 96) -> bytes:
    out = io.BytesIO()
    picture(side, side).save(out, kind)
    return out.getvalue()


FILES = {
    "a text": (b"hello", "not an image", "Send an image…"),
    "nothing": (b"", "empty", "Send an image…"),
    "cut off": (png(50)[:600], "", "Send an image…"),
    "ten thousand pixels a side": (header(10_000, 10_000), "pixels", "Send an image…"),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "", "Send an image…"),
    "a PDF": (b"%PDF-1.7\n" + b"x" * 200, "", "Send an image…"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "", "Send an image…"),
    "too small": (saved("PNG", 32), "64x64", "Send an image…"),
    "without data": (saved("JPEG"), "no generation data", "Give a prompt…"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_not_taken(there, name) -> None:
    data, said, way = FILES[name]
    call = there.upscale(image=there.upload(data, "picture.png"))
    text = there.text(there.card(call))
    assert call.ephemeral and said in text and way in there.buttons(there.card(call)), text
    assert "Traceback" not in text and "/tmp" not in text


LINKS = {
    "another host": ("https://example.com/a.png", "only attachments of Discord"),
    "no https": ("http://cdn.discordapp.com/attachments/1/2/a.png", "https"),
    "no link": ("hello", ""),
    "of a message": ("https://discord.com/channels/1/2/3", "Copy Link on the image"),
    "an address inside": ("https://127.0.0.1/a.png", ""),
    "a file": ("file:///etc/passwd", "https"),
    "a name on this machine": ("/etc/passwd", ""),
    "deleted": ("https://cdn.discordapp.com/attachments/1/2/a.png?ex=7fffffff&is=1&hm=" + "0" * 64, "404"),
    "unsigned": ("https://cdn.discordapp.com/attachments/1/2/a.png", "Copy the image's link again"),
}


@pytest.mark.parametrize("name", LINKS)
def test_links_that_are_not_fetched(there, name) -> None:
    url, said = LINKS[name]
    call = there.upscale(image=None, url=url)
    text = there.text(there.card(call)).replace("\\", "")
    assert call.ephemeral and said in text and "DISTILLERY" not in text and "allow-host" not in text, text
    assert "root:" not in text


COMMANDS = {
    "unknown": ({"params": "--pwoer 1"}, "Did you mean --power"),
    "twice": ({"params": "--seed 1 --seed 2"}, "given twice"),
    "typed and chosen": ({"params": "--seed 1", "seed": "2"}, "given twice"),
    "without a value": ({"params": "--neg"}, "needs a value"),
    "out of range": ({"params": "--power 3"}, "out of range"),
    "no number": ({"power": "much"}, "number"),
    "a comma": ({"power": "0,2"}, "dot"),
    "too large a seed": ({"seed": "18446744073709551616"}, "out of range"),
    "a text before": ({"params": "please"}, "nexpected text"),
    "another parameter inside": ({"neg": "dark --power 1"}, "another parameter"),
    "an image and a link": ({"url": "https://cdn.discordapp.com/attachments/1/2/a.png"}, "give one"),
    "a checkpoint that nearly is there": ({"model": "distilery-mini"}, "There is"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_are_not_understood(there, name) -> None:
    options, said = COMMANDS[name]
    there.until(lambda: there.rows("SELECT 1 FROM distillery_workers WHERE state = 'ready' AND models <> '{}'"))
    call = there.upscale(png(50), **options)
    text = there.text(there.card(call))
    assert call.ephemeral and said in text and "Change the command…" in there.buttons(there.card(call)), text


def test_a_message_without_an_image_and_a_button_of_nothing(there) -> None:
    message = there.discord.post(there.other, there.channel, "hello")
    for menu in ("Upscale", "How was this made?"):
        call = there.discord.menu(there.user, there.channel, menu, message).answered()
        assert call.ephemeral and "No image" in there.text(there.card(call))
    call = there.discord.slash(there.user, there.channel, "checkmetadata", {}).answered()
    assert call.ephemeral and "No image" in there.text(there.card(call))


def test_animated_and_other_formats_are_taken(there) -> None:
    frames = [picture(96, 96), picture(96, 96).rotate(90)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    for data, name in ((out.getvalue(), "a.gif"), (saved("WEBP"), "a.webp"), (saved("BMP"), "a.bmp")):
        call = there.upscale(image=there.upload(data, name), power="0")
        assert not call.ephemeral, there.text(there.card(call))
        there.result(call)


def test_an_expired_link_is_renewed_by_the_bots_token(there) -> None:
    image = there.upload(png(50))
    url = there.discord.files.link(image, issued=1.7e9)
    there.result(there.upscale(image=None, url=url))


def test_nothing_of_all_that_left_a_job_behind(there) -> None:
    there.until(lambda: not {"queued", "running"} & set(there.cluster.states()))
    there.until(lambda: set(there.states()) == {"refused", "delivered"})
    assert there.states()["refused"] >= 30
