#!/usr/bin/env python3
"""Makes docs/bot/*.webp: the bot's real cards as Discord shows them. ./distillery python tools/make_bot_pictures.py [RESULTS]

The cards are made by ``driver/bot/cards.py`` for ``examples/cat.png``, and what is drawn is the payload that Discord would
get; what this cannot draw is an error. Their pictures are results of the managed server, kept in the folder RESULTS for
the next time. Only the preview is none: it is the example in the size of one, as those of the built-in checkpoint have
other colours than a large one's. Needs Chromium, the font Inter (Debian: fonts-inter), and playwright, which
``./distillery test tests/browser`` installs.
"""

from __future__ import annotations

import asyncio
import base64
import html
import importlib
import json
import re
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from discord import ui
from PIL import Image

from distillery.driver import Upscaler, paths
from distillery.driver.bot import cards, texts
from distillery.driver.bot.commands import explanation
from distillery.driver.bot.config import BotConfig
from distillery.driver.bot.pictures import before, fit, sheet
from distillery.driver.bot.refusals import failure_text, refusal_of
from distillery.driver.bot.values import Request, SourceRef, shown_data
from distillery.driver.errors import JobOutOfMemory
from distillery.nodes.generation import Generation, to_dict
from distillery.nodes.recall import recall
from distillery.nodes.report import NO_DATA
from distillery.nodes.settings import NoPromptError

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "bot"
SOURCE = ROOT / "examples" / "cat.png"
NOW = datetime(2026, 5, 14, 15, 2, tzinfo=timezone.utc).timestamp()
PEOPLE = {7: "Ada"}
POWERS = (0.0, *BotConfig().sweep_powers)
LIMIT = 10 * 1024 * 1024
SCALE, WIDTH = 1.5, 700
QUALITY = 86


# --- what Discord makes of a text ---

_EMOJI = {
    "⏳": '<path d="M9 4h18v4c0 5-4 7-7 10 3 3 7 5 7 10v4H9v-4c0-5 4-7 7-10-3-3-7-5-7-10z" fill="#ffe8b6"/>'
    '<path d="M12 9h12c0 4-4 6-6 9-2-3-6-5-6-9zM11 30c1-4 4-5 7-8 3 3 6 4 7 8z" fill="#ffac33"/>'
    '<path d="M7 2h22v4H7zM7 30h22v4H7z" fill="#3b88c3"/>',
    "❌": '<path d="M5 9l4-4 9 9 9-9 4 4-9 9 9 9-4 4-9-9-9 9-4-4 9-9z" fill="#dd2e44"/>',
    "⚠": '<path d="M18 2l17 31H1z" fill="#ffcc4d" stroke="#ffcc4d" stroke-linejoin="round" stroke-width="2"/>'
    '<path d="M16 12h4l-1 12h-2z" fill="#231f20"/><circle cx="18" cy="28" r="2.2" fill="#231f20"/>',
}
_INLINE = re.compile(
    r"\\(?P<plain>[^\w\s]|_)|\*\*(?P<bold>(?:\\.|[^\\])+?)\*\*|\[(?P<label>[^\]]+)\]\((?P<link>https?://[^)\s]+)\)"
    r"|<@(?P<who>\d+)>|<t:(?P<when>\d+):(?P<style>\w)>|`(?P<code>[^`]+)`",
    re.DOTALL,
)
_UNKNOWN = re.compile(r"(?m)^(?:> |[-*] |\d+\. )|~~|\|\||__|<[#:&/]|(?<!\*)\*(?!\*)")


def markdown(text: str) -> str:
    """Return HTML of a text display. Raises ValueError for markdown that this cannot draw."""
    parts = re.split(r"```\n?(.*?)\n?```", text, flags=re.DOTALL)
    made = []
    for at, part in enumerate(parts):
        if at % 2:
            made.append(f"<pre>{html.escape(part)}</pre>")
        elif part.strip("\n"):
            made += [_line(line) for line in part.strip("\n").split("\n")]
    return "".join(made)


def _line(line: str) -> str:
    for mark, tag in (("### ", "h3"), ("## ", "h2"), ("# ", "h1"), ("-# ", "small")):
        if line.startswith(mark):
            return f"<{tag}>{_inline(line.removeprefix(mark))}</{tag}>"
    return f"<p>{_inline(line)}</p>"


def _inline(text: str) -> str:
    made, end = [], 0
    for match in _INLINE.finditer(text):
        made.append(_words(text[end : match.start()]))
        end = match.end()
        if match["plain"]:
            made.append(html.escape(match["plain"]))
        elif match["bold"]:
            made.append(f"<b>{_inline(match['bold'])}</b>")
        elif match["link"]:
            made.append(f"<a>{_inline(match['label'])}</a>")
        elif match["who"]:
            made.append(f'<span class="mention">@{PEOPLE[int(match["who"])]}</span>')
        elif match["when"]:
            made.append(f'<span class="time">{moment(int(match["when"]), match["style"])}</span>')
        else:
            made.append(f"<code>{html.escape(match['code'])}</code>")
    return "".join([*made, _words(text[end:])])


def _words(text: str) -> str:
    if unknown := _UNKNOWN.search(text):
        raise ValueError(f"markdown that this does not draw: {unknown[0]!r} in {text!r}")
    made = []
    for sign in text:
        if sign in _EMOJI:
            made.append(f'<svg class="emoji" viewBox="0 0 36 36">{_EMOJI[sign]}</svg>')
        elif unicodedata.category(sign) == "So" and sign not in "▰▱":
            raise ValueError(f"an emoji that this does not draw: {sign!r}")
        else:
            made.append(html.escape(sign))
    return "".join(made)


def moment(when: int, style: str) -> str:
    """Write a time as Discord's English does. Raises ValueError for a style that this cannot write."""
    if style == "f":
        return f"{datetime.fromtimestamp(when, timezone.utc):%-d %B %Y %H:%M}"
    if style != "R":
        raise ValueError(f"a style of times that this does not draw: {style}")
    apart = abs(when - NOW)
    size, unit = next((s, u) for s, u in ((3600, "hour"), (60, "minute"), (1, "second")) if apart >= s or s == 1)
    number = round(apart / size)
    words = f"{number} {unit}{'' if number == 1 else 's'}"
    return f"in {words}" if when >= NOW else f"{words} ago"


# --- what Discord makes of components ---

Files = Mapping[str, bytes]
Component = Mapping[str, Any]
_STYLES = {1: "primary", 2: "secondary", 3: "success", 4: "danger", 5: "link"}


def draw(component: Component, files: Files) -> str:
    """Return HTML of a component. Raises KeyError for a type that this cannot draw."""
    return _DRAWN[component["type"]](component, files)


def _all(components: Sequence[Component], files: Files) -> str:
    return "".join(draw(component, files) for component in components)


def _container(c: Component, files: Files) -> str:
    colour = f"border-left:4px solid #{c['accent_color']:06x}" if c.get("accent_color") is not None else ""
    hidden = " spoiler" if c.get("spoiler") else ""
    return f'<div class="container{hidden}" style="{colour}">{_all(c["components"], files)}</div>'


def _row(c: Component, files: Files) -> str:
    return f'<div class="row">{_all(c["components"], files)}</div>'


def _button(c: Component, _: Files) -> str:
    if c.get("emoji"):
        raise KeyError("a button with an emoji")
    off = " off" if c.get("disabled") else ""
    return f'<span class="button {_STYLES[c["style"]]}{off}">{html.escape(c["label"])}</span>'


def _section(c: Component, files: Files) -> str:
    text, accessory = _all(c["components"], files), draw(c["accessory"], files)
    return f'<div class="section"><div>{text}</div>{accessory}</div>'


def _text(c: Component, _: Files) -> str:
    return f'<div class="text">{markdown(c["content"])}</div>'


def _picture(media: Component, files: Files) -> str:
    data = files[media["url"].removeprefix("attachment://")]
    kind = (Image.open(BytesIO(data)).format or "").lower()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _thumbnail(c: Component, files: Files) -> str:
    return f'<img class="thumbnail{_spoiler(c)}" src="{_picture(c["media"], files)}">'


def _spoiler(c: Component) -> str:
    return " spoiler" if c.get("spoiler") else ""


def _gallery(c: Component, files: Files) -> str:
    items = c["items"]
    made = [f'<div class="{_spoiler(i).strip()}"><img src="{_picture(i["media"], files)}"></div>' for i in items]
    if len(made) > 4:
        raise KeyError(f"a gallery of {len(made)}")
    return f'<div class="gallery n{len(made)}">{"".join(made)}</div>'


def _file(c: Component, files: Files) -> str:
    name = c["file"]["url"].removeprefix("attachment://")
    size = f"{len(files[name]) / 1024:.2f} KB"
    icon = '<svg viewBox="0 0 30 40"><path d="M2 1h18l9 9v29H2z" fill="#d3d6fd"/><path d="M20 1l9 9h-9z" fill="#939bf9"/></svg>'
    return f'<div class="file">{icon}<div><a>{html.escape(name)}</a><small>{size}</small></div></div>'


def _separator(c: Component, _: Files) -> str:
    return f'<div class="separator{" line" if c.get("divider", True) else ""}"></div>'


_DRAWN: Mapping[int, Callable[[Component, Files], str]] = {
    1: _row, 2: _button, 9: _section, 10: _text, 11: _thumbnail, 12: _gallery, 13: _file, 14: _separator, 17: _container,
}  # fmt: skip

_CSS = """
* { box-sizing: border-box; margin: 0; padding: 0 }
body { background: #313338; width: WIDTHpx }
#message { position: relative; padding: 14px 20px 14px 72px; color: #dbdee1; line-height: 1.375;
  font: 400 16px/1.375 "gg sans", Inter, "Noto Sans", "DejaVu Sans", sans-serif; letter-spacing: -.01em }
.alone { background: #3b3f57; box-shadow: inset 2px 0 #5865f2 }
.used { font-size: 14px; color: #b5bac1; margin-bottom: 4px; position: relative }
.used::before { content: ""; position: absolute; left: -36px; top: 9px; width: 30px; height: 12px; border: 2px solid #4e5058;
  border-width: 2px 0 0 2px; border-radius: 6px 0 0 0 }
.used b { color: #f2f3f5; font-weight: 500 } .used i { font-style: normal; color: #949cf7; font-weight: 500 }
.avatar { position: absolute; left: 16px; width: 40px; height: 40px; border-radius: 50%; overflow: hidden }
.avatar svg { width: 40px; height: 40px }
.name { color: #f2f3f5; font-weight: 500 } .clock { color: #949ba4; font-size: 12px; margin-left: 6px }
.tag { background: #5865f2; color: #fff; font-size: 10px; font-weight: 600; border-radius: 4px; padding: 1px 5px; margin-left: 5px;
  vertical-align: 2px }
.container { background: #2b2d31; border: 1px solid #3f4147; border-radius: 8px; padding: 16px; margin-top: 6px; max-width: 600px;
  display: flex; flex-direction: column; gap: 8px; width: 100% }
.text { font-size: 14px; overflow-wrap: anywhere }
h1 { font-size: 24px } h2 { font-size: 20px } h3 { font-size: 16px; margin: 2px 0 }
h1, h2, h3, b { color: #f2f3f5; font-weight: 700 } b { font-weight: 600 }
small { display: block; font-size: 12px; color: #949ba4 }
pre { font: 13px/1.4 "DejaVu Sans Mono", monospace; background: #1e1f22; border: 1px solid #232428; border-radius: 4px;
  padding: 7px; white-space: pre-wrap; margin-top: 4px; letter-spacing: -.02em }
code { font: 13px "DejaVu Sans Mono", monospace; background: #1e1f22; border-radius: 4px; padding: 0 3px }
a { color: #00a8fc } .emoji { width: 1.3em; height: 1.3em; vertical-align: -.3em }
.time { background: #4e505866; border-radius: 3px; padding: 0 2px }
.mention { background: #5865f24d; color: #c9cdfb; border-radius: 3px; padding: 0 2px; font-weight: 500 }
.row { display: flex; flex-wrap: wrap; gap: 8px }
.button { height: 32px; line-height: 32px; padding: 0 14px; border-radius: 8px; font-size: 14px; font-weight: 500; color: #fff;
  white-space: nowrap; align-self: flex-start }
.secondary, .link { background: #4e5058 } .primary { background: #5865f2 } .success { background: #248046 }
.danger { background: #da373c } .off { opacity: .5 }
.section { display: flex; justify-content: space-between; gap: 12px }
.gallery { display: grid; gap: 4px; border-radius: 8px; overflow: hidden }
.n2, .n3, .n4 { grid-template-columns: 1fr 1fr } .gallery div { overflow: hidden; position: relative; min-width: 0 }
.gallery img { display: block; width: 100%; height: 100%; object-fit: cover } .n1 img { height: auto } .n2 div, .n3 div, .n4 div { aspect-ratio: 1 }
.thumbnail { width: 85px; height: 85px; object-fit: cover; border-radius: 8px }
div.spoiler img, img.spoiler { filter: blur(40px) }
div.spoiler::after { content: "SPOILER"; position: absolute; inset: 0; margin: auto; width: 86px; height: 34px; line-height: 34px;
  text-align: center; border-radius: 20px; background: #000000a0; font-weight: 600; font-size: 14px }
.file { display: flex; gap: 10px; align-items: center; background: #2e3035; border: 1px solid #26282c; border-radius: 8px;
  padding: 14px; width: 100%; max-width: 400px } .file svg { height: 40px } .file a { font-size: 15px }
.separator { height: 8px } .line { height: 0; border-top: 1px solid #4e5058; margin: 4px 0 }
.only { font-size: 12px; color: #949ba4; margin-top: 6px } .only a { font-weight: 500 }
""".replace("WIDTH", str(WIDTH))


@dataclass(frozen=True)
class Scene:
    """A message."""

    view: ui.LayoutView
    files: Files
    used: str = "/upscale"
    """What its reader used; empty for a message of the bot's own."""
    alone: bool = False
    """For the reader's eyes alone."""


def page(scene: Scene) -> str:
    """Return a message as HTML."""
    payload = scene.view.to_components()
    used = f'<div class="used"><b>Ada</b> used <i>{html.escape(scene.used)}</i></div>' if scene.used else ""
    icon = (ROOT / "docs" / "icon.svg").read_text(encoding="utf-8")
    only = '<div class="only">Only you can see this · <a>Dismiss message</a></div>' if scene.alone else ""
    return (
        f'<!doctype html><meta charset="utf-8"><style>{_CSS}</style><div id="message" class="{"alone" if scene.alone else ""}">'
        f'{used}<div class="avatar">{icon}</div><span class="name">Distillery</span><span class="tag">APP</span>'
        f'<span class="clock">Today at 15:02</span>{_all(payload, scene.files)}{only}</div>'
    )


# --- the cards ---


def make(folder: Path) -> dict[float, bytes]:
    """Return the example upscaled with each power; only what the folder does not have is made."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {power: folder / f"power_{power:g}.png" for power in POWERS}
    with Upscaler(out=folder) as upscaler:
        for power, file in files.items():
            if not file.exists():
                upscaler.upscale(SOURCE, f"--power {power:g}", out=file)
    return {power: file.read_bytes() for power, file in files.items()}


def preview(source: bytes) -> bytes:
    """Return a picture of a preview's size: an eighth of the result's side."""
    with Image.open(BytesIO(source)) as image:
        small = image.convert("RGB").resize((image.width // 4, image.height // 4), Image.Resampling.BOX)
    out = BytesIO()
    small.save(out, "JPEG", quality=85)
    return out.getvalue()


def scenes(made: Mapping[float, bytes]) -> dict[str, Scene]:
    """Return the messages by the names of their pictures. Must be called within an event loop."""
    source = SOURCE.read_bytes()
    with Image.open(SOURCE) as image:
        width, height = image.size
    shown = shown_data(recall(source), "0" * 64, width, height)
    request = Request(
        id="1372214400000000007", kind="one", user_id=7, application_id=1, size_limit=LIMIT, source=SourceRef(name=SOURCE.name),
        command="", tier="member", data={**shown, "name": SOURCE.name},
    )  # fmt: skip
    picture = made[0.3]
    fitted = fit(picture, "cat_2x", LIMIT, lambda: None, 72)
    with Image.open(BytesIO(picture)) as image:
        width, height = image.size
    record = recall(picture)
    finished = cards.Finished(width, height, 14, str(record.seed), 0.3, fitted.note, "", record.warnings)
    now = cards.Running("HiRes Tiles", 0.62, "9 of 15")
    text, ways = failure_text(JobOutOfMemory("the server ran out of memory", "HiRes Tiles"))
    several = [(f"power {power:g}", data) for power, data in made.items()]
    labels = [label for label, _ in several]
    queue = [
        cards.line(f"**cat.png** <t:{round(NOW) - 40}:R>\nRunning: HiRes Tiles", "Cancel", cards.CANCEL, request.id),
        cards.line(
            f"**harbour.png** <t:{round(NOW) - 15}:R>\n{cards.wait_text(cards.Wait(3, 45, 2))}", "Cancel", cards.CANCEL, request.id
        ),
        cards.line(
            f"**night.png** <t:{round(NOW) - 7200}:R>\nIt is done, and could not be sent to you.", "Show it", cards.SHOW, request.id
        ),
    ]  # fmt: skip
    return {
        "waiting": Scene(cards.waiting(request, cards.Wait(3, 45, 2)), {}),
        "running": Scene(cards.running(request, now, "preview.jpg"), {"preview.jpg": preview(source)}),
        "result": Scene(
            cards.result(request, finished, [fitted.name, "before.webp"]),
            {fitted.name: fitted.data, "before.webp": before(source)},
        ),
        "sweep": Scene(
            cards.sweep(replace(request, kind="sweep"), labels, "sweep.webp", 52),
            {"sweep.webp": sheet(several, LIMIT)}, used="",
        ),
        "failed": Scene(cards.failed(request, text, ways), {}),
        "refused": Scene(cards.refused(refusal_of(NoPromptError(NO_DATA)), request.id), {}, alone=True),
        "prompt": Scene(cards.texts(replace(request, command="--power 0.2 --neg night")), {}, used="", alone=True),
        "queue": Scene(cards.listing("### Your upscales", queue), {}, "/queue", alone=True),
        "made": Scene(
            explanation(record, "cat_2x.png"), {"metadata.json": _record(record)}, "How was this made?", alone=True
        ),
    }  # fmt: skip


def _record(generation: Generation) -> bytes:
    return json.dumps(to_dict(generation), indent=1, ensure_ascii=False).encode()


async def pages(made: Mapping[float, bytes]) -> dict[str, str]:
    """Return all messages as HTML, at a fixed time."""
    with patch.object(texts, "time", SimpleNamespace(time=lambda: NOW)):
        return {name: page(scene) for name, scene in scenes(made).items()}


# --- pictures ---


def photograph(pages: Mapping[str, str]) -> None:
    """Write a picture of each page."""
    sys.path += [str(path) for path in sorted(paths.home().glob("browser-*/"))]
    try:
        sync_playwright = importlib.import_module("playwright.sync_api").sync_playwright
    except ImportError:
        raise SystemExit("playwright is not installed: ./distillery test tests/browser does that.") from None
    executable = next(
        (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None
    )
    if executable is None:
        raise SystemExit("There is no Chromium here (Debian: apt-get install chromium fonts-inter).")
    TARGET.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        for name, text in pages.items():
            tab = browser.new_page(device_scale_factor=SCALE, viewport={"width": WIDTH, "height": 400})
            tab.set_content(text)
            shot = tab.locator("#message").screenshot()
            tab.close()
            file = TARGET / f"{name}.webp"
            Image.open(BytesIO(shot)).convert("RGB").save(file, "WEBP", quality=QUALITY, method=6)
            print(f"{file} {file.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        pictures = make(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
    photograph(asyncio.run(pages(pictures)))
