"""The cards: what a request looks like in a channel, as discord.py's layouts. Pure functions of values.

Must be called within an event loop. No card is kept by discord.py: its buttons carry all that they need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import discord
from discord import ui

from ...nodes.command import parse_command
from .refusals import AGAIN, COMMAND, PICTURE, POWER_ZERO, PROMPT, Refusal
from .texts import bar, block, moment, plain, seconds
from .values import Request, power_of

WAITING, WORKING, DONE, FAILED, QUIET = 0x5865F2, 0xFAA61A, 0x43B581, 0xED4245, 0x747F8D
"""Colours."""
LESS, MORE, UNSHARP, SEED, SWEEP, ORIGINAL, TEXTS, DELETE, CANCEL, CELL, SHOW = (
    "less", "more", "nosharpen", "seed", "sweep", "original", "texts", "delete", "cancel", "cell", "show",
)  # fmt: skip
"""Buttons, beside the ways out of :mod:`.refusals`."""
STEP = 0.1
"""By how much More and Less power change it."""
_SECONDARY, _PRIMARY, _DANGER = discord.ButtonStyle.secondary, discord.ButtonStyle.primary, discord.ButtonStyle.danger
_WAYS = {
    POWER_ZERO: ("Go on without the HiRes pass", _SECONDARY),
    PROMPT: ("Give a prompt…", _PRIMARY),
    PICTURE: ("Send an image…", _SECONDARY),
    COMMAND: ("Change the command…", _PRIMARY),
    AGAIN: ("Try again", _SECONDARY),
}


def custom_id(action: str, request_id: str, argument: int | None = None) -> str:
    """Return what a button carries: ``distillery:ACTION:REQUEST[:N]``."""
    return f"distillery:{action}:{request_id}" + ("" if argument is None else f":{argument}")


CUSTOM_ID = r"distillery:(?P<action>[a-z]+):(?P<request>[0-9]{1,20})(?::(?P<argument>[0-9]{1,3}))?"
"""Pattern of :func:`custom_id`."""


def _button(
    label: str, action: str, request_id: str, style: discord.ButtonStyle = _SECONDARY, argument: int | None = None
) -> ui.Button[Any]:
    return ui.Button(label=label, style=style, custom_id=custom_id(action, request_id, argument))


def _layout(items: Sequence[ui.Item[Any]], colour: int, *below: ui.Item[Any]) -> ui.LayoutView:
    view = ui.LayoutView(timeout=None)
    view.add_item(ui.Container(*items, accent_colour=discord.Colour(colour)))
    for item in below:
        view.add_item(item)
    view.stop()  # nothing of it waits in memory: what is pressed comes as a dynamic item
    return view


def heading(request: Request) -> str:
    """Return the lines that every card of a request begins with."""
    data = request.data
    lines = [f"### Upscale · {plain(request.name, 80)}"]
    if data.get("width"):
        width, height = int(data["width"]), int(data["height"])
        lines.append(f"{width}×{height} → **{2 * width}×{2 * height}**")
    return "\n".join(lines)


def recalled(request: Request) -> str:
    """Return what was recalled, without the prompt, which is its owner's."""
    data, parts = request.data, []
    if data.get("checkpoint"):
        parts.append(f"**Checkpoint** {plain(str(data['checkpoint']), 80)}")
    parsed = parse_command(request.command)
    seed = parsed.seed if parsed.seed is not None else data.get("seed")
    if seed is not None:
        parts.append(f"**Seed** {seed}")
    parts.append(
        "**Power** "
        + (
            "auto"
            if request.kind == "auto"
            else "several"
            if request.kind == "sweep"
            else f"{power_of(request.command):g}"
        )
    )
    if data.get("loras"):
        parts.append(f"**LoRAs** {len(data['loras'])}")
    origin = data.get("origin")
    if origin and origin != "none":
        parts.append(f"recalled from its {plain(str(origin), 40)} data")
    return " · ".join(parts)


@dataclass(frozen=True)
class Wait:
    """What is known of the wait: place (1: next), seconds, slots of workers."""

    place: int | None = None
    seconds: float | None = None
    slots: int | None = None


def read_wait(place: Mapping[str, Any] | None) -> Wait:
    """Return the wait that the database foretells; None: nothing is known."""
    return Wait() if place is None else Wait(place["place"], place["seconds"], place["slots"])


def wait_text(wait: Wait) -> str:
    """Say where in the queue a job is, and when it may start."""
    if wait.slots == 0:
        return "⏳ In the queue. No worker is there at the moment; it starts as soon as one is."
    if wait.place is None:
        return "⏳ In the queue."
    if wait.place <= 1 and not (wait.seconds and wait.seconds > 3):
        return "⏳ Next in the queue."
    about = f", starts about {moment(wait.seconds)}" if wait.seconds is not None else ""
    return f"⏳ Place **{wait.place}** in the queue{about}."


def waiting(request: Request, wait: Wait) -> ui.LayoutView:
    """The card of a request whose jobs wait."""
    row = ui.ActionRow(_button("Cancel", CANCEL, request.id), _button("Prompt", TEXTS, request.id))
    return _layout(
        [ui.TextDisplay(heading(request)), ui.TextDisplay(recalled(request)), ui.TextDisplay(wait_text(wait)), row],
        WAITING,
    )


@dataclass(frozen=True)
class Running:
    """How far a job is."""

    stage: str = "Starting"
    share: float = 0.0
    """0 … 1, of the whole."""
    detail: str = ""
    """Such as ``step 3 of 15``."""
    note: str = ""
    """Such as that a machine died."""


def running(request: Request, now: Running, preview: str | None = None) -> ui.LayoutView:
    """The card of a request whose job runs. preview: name of the attached preview."""
    detail = f" · {plain(now.detail, 60)}" if now.detail else ""
    progress = f"**{plain(now.stage, 60)}**{detail}\n{bar(now.share)} {100 * now.share:.0f} %"
    if now.note:
        progress += f"\n-# {plain(now.note, 200)}"
    head: ui.TextDisplay[Any] = ui.TextDisplay(f"{heading(request)}\n{recalled(request)}")
    items: list[ui.Item[Any]] = [head, ui.TextDisplay(progress)]
    if preview is not None:
        items.append(
            ui.MediaGallery(
                discord.MediaGalleryItem(f"attachment://{preview}", spoiler=bool(request.data.get("spoiler")))
            )
        )
    items.append(ui.ActionRow(_button("Cancel", CANCEL, request.id), _button("Prompt", TEXTS, request.id)))
    return _layout(items, WORKING)


@dataclass(frozen=True)
class Finished:
    """What a card says of a result."""

    width: int
    height: int
    seconds: float
    seed: str = ""
    power: float = 0.3
    note: str = ""
    """Of its file, see :class:`.pictures.Fitted`."""
    why: str = ""
    """Why this power, where it was chosen."""
    warnings: tuple[str, ...] = ()
    mention: int | None = None
    """User who is to be told, where the card is a new message."""


def result(request: Request, made: Finished, files: Sequence[str]) -> ui.LayoutView:
    """The card of a result. files: names of the attached pictures: after, before."""
    spoiler = bool(request.data.get("spoiler"))
    gallery: ui.MediaGallery[Any] = ui.MediaGallery(
        *(
            discord.MediaGalleryItem(f"attachment://{name}", description=text, spoiler=spoiler)
            for name, text in zip(files, ("after", "before"), strict=False)
        )
    )
    facts = [f"**{made.width}×{made.height}**", f"power {made.power:g}"]
    if made.seed:
        facts.append(f"seed {made.seed}")
    facts.append(seconds(made.seconds))
    to = f"<@{made.mention}> " if made.mention else ""
    lines = [f"{to}**{plain(request.name, 80)}** · " + " · ".join(facts)]
    if made.why:
        lines.append(f"-# {plain(made.why, 200)}")
    if made.note:
        lines.append(f"-# {made.note}")
    lines += [f"-# ⚠ {plain(warning, 180)}" for warning in made.warnings[:4]]
    if len(made.warnings) > 4:
        lines.append(f"-# and {len(made.warnings) - 4} more: see Prompt")
    return _layout([gallery, ui.TextDisplay("\n".join(lines)), *result_buttons(request, made.power)], DONE)


def result_buttons(request: Request, power: float) -> list[ui.Item[Any]]:
    """The two rows of buttons beneath a result."""
    less, more = _button("Less power", LESS, request.id), _button("More power", MORE, request.id)
    less.disabled, more.disabled = power <= 0, power >= 1
    sharp = _button("No sharpen", UNSHARP, request.id)
    sharp.disabled = parse_command(request.command).sharpen == 0
    seed = _button("Another seed", SEED, request.id)
    seed.disabled = power <= 0
    return [
        ui.ActionRow(less, more, sharp, seed, _button("Sweep", SWEEP, request.id)),
        ui.ActionRow(
            _button("Original file", ORIGINAL, request.id),
            _button("Prompt", TEXTS, request.id),
            _button("Delete", DELETE, request.id, _DANGER),
        ),
    ]


def sweep(
    request: Request, labels: Sequence[str], sheet: str, took: float, mention: int | None = None
) -> ui.LayoutView:
    """The card of a sweep: its sheet, and a button for each of its pictures."""
    to = f"<@{mention}> " if mention else ""
    rows: list[ui.Item[Any]] = []
    for start in range(0, len(labels), 5):
        buttons = [
            _button(label, CELL, request.id, _PRIMARY, at) for at, label in enumerate(labels[start : start + 5], start)
        ]
        rows.append(ui.ActionRow(*buttons))
    rows.append(ui.ActionRow(_button("Prompt", TEXTS, request.id), _button("Delete", DELETE, request.id, _DANGER)))
    gallery: ui.MediaGallery[Any] = ui.MediaGallery(
        discord.MediaGalleryItem(f"attachment://{sheet}", spoiler=bool(request.data.get("spoiler")))
    )
    text = f"{to}{heading(request)}\n{seconds(took)} · Which one? Its button sends the whole picture."
    return _layout([gallery, ui.TextDisplay(text), *rows], DONE)


def failed(request: Request, text: str, ways: Sequence[str], mention: int | None = None) -> ui.LayoutView:
    """The card of a request that ended without a result."""
    to = f"<@{mention}> " if mention else ""
    items: list[ui.Item[Any]] = [ui.TextDisplay(f"{to}{heading(request)}"), ui.TextDisplay(f"❌ {plain(text, 800)}")]
    items.append(ui.ActionRow(*ways_out(request.id, ways), _button("Delete", DELETE, request.id)))
    return _layout(items, FAILED)


def cancelled(request: Request) -> ui.LayoutView:
    """The card of a request that was cancelled."""
    row = ui.ActionRow(_button("Try again", AGAIN, request.id), _button("Delete", DELETE, request.id))
    return _layout([ui.TextDisplay(heading(request)), ui.TextDisplay("Cancelled."), row], QUIET)


def ways_out(request_id: str, ways: Sequence[str]) -> list[ui.Button[Any]]:
    """The buttons for the ways out of an error."""
    return [_button(_WAYS[way][0], way, request_id, _WAYS[way][1]) for way in ways]


def refused(refusal: Refusal, request_id: str | None) -> ui.LayoutView:
    """The answer to a request that is not taken. request_id: of the one that its buttons go on with; None: none are shown."""
    items: list[ui.Item[Any]] = [ui.TextDisplay(f"❌ {refusal.text}"[:3800])]
    if refusal.ways and request_id is not None:
        items.append(ui.ActionRow(*ways_out(request_id, refusal.ways)))
    return _layout(items, FAILED)


def note(text: str, colour: int = QUIET, *rows: ui.ActionRow[Any]) -> ui.LayoutView:
    """A short answer."""
    return _layout([ui.TextDisplay(text[:3900]), *rows], colour)


def line(text: str, label: str, action: str, request_id: str) -> ui.Section[Any]:
    """A line of a list, with its button."""
    return ui.Section(ui.TextDisplay(text), accessory=_button(label, action, request_id))


def listing(title: str, items: Sequence[ui.Item[Any]]) -> ui.LayoutView:
    """A list."""
    return _layout([*([ui.TextDisplay(title)] if title else []), *items], QUIET)


def file_note(text: str, name: str) -> ui.LayoutView:
    """A short answer with an attached file."""
    return _layout([ui.TextDisplay(text), ui.File(f"attachment://{name}")], QUIET)


def texts(request: Request) -> ui.LayoutView:
    """The prompts of a request and its warnings, for its owner's eyes."""
    data: Mapping[str, Any] = request.data
    parsed = parse_command(request.command)
    positive = parsed.prompt if parsed.prompt is not None else data.get("prompt")
    negative = parsed.negative if parsed.negative is not None else data.get("negative")
    items: list[ui.Item[Any]] = [ui.TextDisplay(heading(request))]
    for title, text in (("Prompt", positive), ("Negative", negative), ("Command", request.command)):
        if text:
            items.append(ui.TextDisplay(f"**{title}**\n{block(str(text), 1000)}"))
    if data.get("loras"):
        items.append(ui.TextDisplay("**LoRAs** " + ", ".join(plain(str(name), 60) for name in data["loras"][:12])))
    if data.get("warnings"):
        lines = "\n".join(f"-# ⚠ {plain(str(warning), 150)}" for warning in data["warnings"][:6])
        items.append(ui.TextDisplay(lines))
    return _layout(items, QUIET)
