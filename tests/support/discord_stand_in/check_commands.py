"""What Discord asks of the commands that an application registers, and of choices in autocompletion."""

from __future__ import annotations

import re
from typing import Any

from .refusals import Form, Path, Refusal

JSON = dict[str, Any]

CHAT, USER, MESSAGE = 1, 2, 3
SUBCOMMAND, GROUP = 1, 2
STRING, INTEGER, NUMBER = 3, 4, 10
LOCALES = [
    "id",
    "da",
    "de",
    "en-GB",
    "en-US",
    "es-ES",
    "es-419",
    "fr",
    "hr",
    "it",
    "lt",
    "hu",
    "nl",
    "no",
    "pl",
    "pt-BR",
    "ro",
    "fi",
    "sv-SE",
    "vi",
    "tr",
    "cs",
    "el",
    "bg",
    "ru",
    "uk",
    "hi",
    "th",
    "zh-CN",
    "ja",
    "zh-TW",
    "ko",
]
_NAME = re.compile(r"[-_'\w]{1,32}")
_LIMITS = {CHAT: 100, USER: 15, MESSAGE: 15}


def check_all(commands: Any) -> None:
    """Check a whole list of commands, as PUT sends it."""
    if not isinstance(commands, list):
        raise Refusal(400, 50035, "Invalid Form Body")
    form = Form()
    seen: set[tuple[Any, Any]] = set()
    for index, command in enumerate(commands):
        _command(form, command, (index,))
        key = (command.get("type", CHAT), command.get("name"))
        if key in seen:
            form.wrong(
                (index, "name"), "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique"
            )
        seen.add(key)
    form.done()
    for kind, most in _LIMITS.items():
        if sum(command.get("type", CHAT) == kind for command in commands) > most:
            raise Refusal(400, 30032, f"Maximum number of application commands reached ({most})")


def check_choices(form: Form, choices: Any, kind: int, at: Path) -> None:
    """Check the choices of an option or of an autocompletion."""
    form.length(at, choices, 0, 25, missing_ok=True)
    seen = set()
    for index, choice in enumerate(choices or []):
        here = (*at, index)
        form.length((*here, "name"), choice.get("name"), 1, 100)
        _localised(form, choice, here, "name", 1, 100)
        value = choice.get("value")
        if kind == STRING:
            form.length((*here, "value"), value, 1, 100)
        elif isinstance(value, bool) or not isinstance(value, int if kind == INTEGER else (int, float)):
            form.wrong((*here, "value"), "NUMBER_TYPE_COERCE", f'Value "{value}" is not a number of this kind.')
        if choice.get("name") in seen:
            form.wrong((*here, "name"), "APPLICATION_COMMANDS_DUPLICATE_CHOICE_NAME", "Choice names must be unique")
        seen.add(choice.get("name"))


def _command(form: Form, command: JSON, at: Path) -> None:
    kind = command.get("type", CHAT)
    form.choice((*at, "type"), kind, (CHAT, USER, MESSAGE))
    for name, allowed in (("contexts", (0, 1, 2)), ("integration_types", (0, 1))):
        for index, value in enumerate(command.get(name) or []):
            form.choice((*at, name, index), value, allowed)
    if command.get("integration_types") == []:
        form.wrong((*at, "integration_types"), "BASE_TYPE_BAD_LENGTH", "Must have at least 1 in length.")
    if kind == CHAT:
        _named(form, command, at)
        _options(form, command.get("options") or [], (*at, "options"), depth=0)
        size = _size(command)
        if size > 8000:
            form.wrong(at, "APPLICATION_COMMAND_TOO_LARGE", f"Command exceeds maximum size ({size} of 8000)")
        return
    form.length((*at, "name"), command.get("name"), 1, 32)
    for field in ("description", "options"):
        if command.get(field):
            form.wrong((*at, field), "APPLICATION_COMMAND_INVALID_FIELD", f"Context menu commands cannot have {field}")


def _named(form: Form, one: JSON, at: Path) -> None:
    name = one.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name != name.lower():
        form.wrong((*at, "name"), "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
    form.length((*at, "description"), one.get("description"), 1, 100)
    _localised(form, one, at, "name", 1, 32)
    _localised(form, one, at, "description", 1, 100)


def _localised(form: Form, one: JSON, at: Path, field: str, least: int, most: int) -> None:
    for locale, text in (one.get(f"{field}_localizations") or {}).items():
        here = (*at, f"{field}_localizations", locale)
        form.choice(here, locale, tuple(LOCALES))
        form.length(here, text, least, most)


def _options(form: Form, options: list[JSON], at: Path, depth: int) -> None:
    form.length(at, options, 0, 25, missing_ok=True)
    kinds = {option.get("type") in (SUBCOMMAND, GROUP) for option in options}
    if len(kinds) > 1:
        form.wrong(
            at,
            "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID",
            "Sub-command and sub-command group option types are mutually exclusive to all other types",
        )
    optional, seen = False, set()
    for index, option in enumerate(options):
        here, kind = (*at, index), option.get("type")
        form.choice((*here, "type"), kind, tuple(range(1, 12)))
        _named(form, option, here)
        if option.get("name") in seen:
            form.wrong((*here, "name"), "APPLICATION_COMMAND_OPTIONS_NAME_INVALID", "Option names must be unique")
        seen.add(option.get("name"))
        if kind in (SUBCOMMAND, GROUP):
            if depth > 1 or (kind == GROUP and depth):
                form.wrong(
                    (*here, "type"), "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", "Sub-commands nest once in a group"
                )
            _options(form, option.get("options") or [], (*here, "options"), depth + 1)
            continue
        if option.get("required") and optional:
            form.wrong(
                (*here, "required"),
                "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                "Required options must be placed before non-required options",
            )
        optional = optional or not option.get("required")
        _value_option(form, option, here)


def _value_option(form: Form, option: JSON, at: Path) -> None:
    kind = option.get("type")
    if option.get("choices"):
        if kind not in (STRING, INTEGER, NUMBER):
            form.wrong(
                (*at, "choices"), "APPLICATION_COMMAND_OPTIONS_CHOICES_INVALID", "Only text and numbers have choices"
            )
        else:
            check_choices(form, option["choices"], kind, (*at, "choices"))
        if option.get("autocomplete"):
            form.wrong(
                (*at, "autocomplete"),
                "APPLICATION_COMMAND_OPTIONS_AUTOCOMPLETE_INVALID",
                "Autocomplete and choices are mutually exclusive",
            )
    if option.get("autocomplete") and kind not in (STRING, INTEGER, NUMBER):
        form.wrong(
            (*at, "autocomplete"),
            "APPLICATION_COMMAND_OPTIONS_AUTOCOMPLETE_INVALID",
            "Only text and numbers are completed",
        )
    for least, most, kinds, bounds in (
        ("min_value", "max_value", (INTEGER, NUMBER), (-(2**53), 2**53)), ("min_length", "max_length", (STRING,), (0, 6000)),
    ):  # fmt: skip
        for name in (least, most):
            if option.get(name) is None:
                continue
            form.number((*at, name), option[name], *bounds)
            if kind not in kinds:
                form.wrong(
                    (*at, name), "APPLICATION_COMMAND_OPTIONS_INVALID_FIELD", f"An option of this type has no {name}"
                )
        if None not in (option.get(least), option.get(most)) and option[least] > option[most]:
            form.wrong((*at, least), "APPLICATION_COMMAND_OPTIONS_MIN_GREATER_THAN_MAX", f"{least} is above {most}")


def _size(one: JSON) -> int:
    """Characters of the names, descriptions and values, for which the longest language counts."""

    def longest(field: str) -> int:
        return max([len(one.get(field) or ""), *map(len, (one.get(f"{field}_localizations") or {}).values())])

    own = longest("name") + longest("description")
    own += sum(len(choice["name"]) + len(str(choice["value"])) for choice in one.get("choices") or [])
    return own + sum(_size(option) for option in one.get("options") or [])
