"""The options of ``/upscale``, made from the one table of parameters."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import discord
from discord import app_commands

from ...nodes.command import CommandError, format_command, parse_command, parse_value
from ...nodes.parameters import PARAMETERS, Parameter
from ...nodes.texts import shorten
from ..jobs.job import AUTO
from ..jobs.prepare import command_text

MAX_TEXT = 1500
"""Characters of an option that is a text."""
SUGGESTED = ("auto", "0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6")
"""Powers that are offered; ``auto`` tries several and keeps the best."""


def accepts(parameter: Parameter) -> str:
    """Return the accepted values in words: here a power can be left to the bot."""
    return f"{AUTO}, or {parameter.accepts}" if parameter.name == "power" else parameter.accepts


def description(parameter: Parameter) -> str:
    """Return the text of an option, of 100 characters at most."""
    most = 100
    whole = f"{parameter.meaning}; {accepts(parameter)}; default {parameter.default}"
    brief = f"{parameter.meaning}; default {parameter.default}"
    return whole if len(whole) <= most else shorten(brief, most)


def annotation(parameter: Parameter) -> Any:
    """Return the type of an option as discord.py reads it."""
    kind: Any
    if parameter.kind == "choice":
        kind = Literal[parameter.choices]
    elif parameter.kind == "float" and parameter.name != "power":
        kind = app_commands.Range[float, parameter.minimum, parameter.maximum]  # type: ignore[misc]
    elif parameter.kind == "text":
        kind = app_commands.Range[str, 1, MAX_TEXT]
    else:
        kind = app_commands.Range[str, 1, 24]  # Discord's whole numbers end at 2^53, seeds at 2^64
    return kind | None


def signature() -> inspect.Signature:
    """Return the signature of a command with an image, a link, each parameter, and the classic text."""
    keyword = inspect.Parameter.KEYWORD_ONLY

    def option(name: str, kind: Any) -> inspect.Parameter:
        return inspect.Parameter(name, keyword, default=None, annotation=kind)

    return inspect.Signature(
        [
            inspect.Parameter(
                "interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=discord.Interaction[Any]
            ),
            option("image", discord.Attachment | None),
            option("url", app_commands.Range[str, 1, 2000] | None),
            *(option(p.name, annotation(p)) for p in PARAMETERS),
            option("params", app_commands.Range[str, 1, 4000] | None),
        ]
    )


def descriptions() -> dict[str, str]:
    """Return the texts of all options, by their names."""
    return {
        "image": "the image to upscale",
        "url": "or a link to it: Copy Link on an image in Discord",
        **{p.name: description(p) for p in PARAMETERS},
        "params": "or all parameters as one text: --power 0.2 --neg night",
    }


def command_of(options: Mapping[str, Any]) -> tuple[str, bool]:
    """Return what was chosen and typed as one command, and whether its power is to be found by trying.

    options: by the names of :func:`descriptions`. A command with ``auto`` is returned without a power. Raises CommandError.
    """
    text, automatic = split_auto(str(options.get("params") or ""))
    given = {p.name: options[p.name] for p in PARAMETERS if options.get(p.name) is not None}
    if str(given.get("power", "")).strip().lower() == AUTO:
        del given["power"]
        if automatic or parse_command(text).power is not None:
            raise CommandError("--power is given twice; give it once.")
        automatic = True
    elif automatic and "power" in given:
        raise CommandError("--power is given twice; give it once.")
    for parameter in PARAMETERS:  # before they are put together, where one could be taken for two
        if parameter.name in given:
            value, _ = parse_value(parameter, str(given[parameter.name]))
            if parameter.kind in ("int", "float"):
                given[parameter.name] = value
    command = command_text(text, given)
    return format_command(parse_command(command)), automatic


def split_auto(text: str) -> tuple[str, bool]:
    """Return a typed command without ``--power auto``, and whether it had that."""
    words = text.split()
    for at, word in enumerate(words):
        name, _, value = word.lower().replace("—", "--").replace("–", "--").partition("=")
        if name == "--power" and not value and at + 1 < len(words) and words[at + 1].lower() == AUTO:
            return " ".join(words[:at] + words[at + 2 :]), True
        if name == "--power" and value == AUTO:
            return " ".join(words[:at] + words[at + 1 :]), True
    return text, False


def suggestions(typed: str, known: tuple[str, ...] | list[str]) -> list[app_commands.Choice[str]]:
    """Return what to offer while one types: what begins so, then what has it inside; 25 at most."""
    wanted = typed.strip().lower()
    first = [name for name in known if name.lower().startswith(wanted)]
    inside = [name for name in known if wanted in name.lower() and name not in first]
    return [app_commands.Choice(name=name[:100], value=name[:100]) for name in (first + inside)[:25]]
