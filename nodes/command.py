"""Reading and writing the command: ``--power 0.2 --neg night``.

Distillery's syntax: ``--name value`` or ``--name=value``, names in any case, typographic dashes
(Discord's mobile keyboards turn ``--`` into ``—``), a text runs up to the next `` --``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import DistilleryError
from .parameters import BY_NAME, PARAMETERS, Parameter
from .texts import shorten

# A dash run opens a parameter only at the start or after white space and directly before a letter, so
# that "well--lit" and "a man — tall" stay text. Single typographic dashes are what keyboards make of "--".
_OPENING = re.compile(r"(?:^|(?<=\s))(?:-{2,}|[‐‑‒–—―−⸺⸻]+-?)(?=[A-Za-z])")
_NAME = re.compile(r"([A-Za-z][\w-]*)\s*(=?)\s*", re.ASCII)
_INT = re.compile(r"[+-]?\d+", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


class CommandError(DistilleryError):
    """The command text cannot be understood."""


@dataclass(frozen=True)
class Command:
    """A parsed command. ``None``: not given."""

    negative: str | None = None
    seed: int | None = None
    cfg: float | None = None
    power: float | None = None
    sharpen: float | None = None
    prompt: str | None = None
    model: str | None = None
    upscaler: str | None = None
    missing_lora: str | None = None
    keep: str | None = None
    warnings: tuple[str, ...] = ()


def accepted() -> str:
    """All parameters in one line, for error messages."""
    return ", ".join(f"--{p.name}" for p in PARAMETERS)


def parse_command(text: str) -> Command:
    """Parse a command text; the empty text is the empty command.

    Raises CommandError for an unknown or repeated parameter, a missing, unparsable or out-of-range
    value, and for text before the first parameter.
    """
    openings = list(_OPENING.finditer(text))
    head = text[: openings[0].start()] if openings else text
    if head.strip():
        hint = " Parameters start with two dashes." if re.match(r"\s*-\w", head) else ""
        raise CommandError(
            f"unexpected text {_quote(head)} before the first parameter.{hint} "
            f"Write --name value; accepted are {accepted()}."
        )
    values: dict[str, Any] = {}
    warnings: list[str] = []
    ends = [o.start() for o in openings[1:]] + [len(text)]
    for opening, end in zip(openings, ends, strict=False):
        body = text[opening.end() : end]
        name = _NAME.match(body)
        assert name is not None  # _OPENING looked ahead to a letter
        parameter = _lookup(name.group(1))
        if parameter.field in values:
            raise CommandError(f"--{parameter.name} is given twice; give it once.")
        value, warning = parse_value(parameter, body[name.end() :])
        values[parameter.field] = value
        if warning:
            warnings.append(warning)
    return Command(**values, warnings=tuple(warnings))


def parse_value(parameter: Parameter, text: str) -> tuple[Any, str | None]:
    """Parse one value; returns it and, where it is outside the advised range, a warning."""
    text = text.strip()
    if not text:
        raise CommandError(f"--{parameter.name} needs a value: {parameter.accepts}.")
    if parameter.kind == "text":
        # The only way to ask for an empty text, as an empty value is taken for a forgotten one.
        # Halves of surrogate pairs, as a shell makes of bytes that are no UTF-8: no encoder takes them.
        return ("" if text in ('""', "''") else text.encode("utf-8", "replace").decode("utf-8")), None
    if parameter.kind == "choice":
        choice = parameter.spellings.get(text.lower(), text.lower())
        if choice not in parameter.choices:
            raise CommandError(f"--{parameter.name} {_quote(text)} is not accepted: it takes {parameter.accepts}.")
        return choice, None

    pattern = _INT if parameter.kind == "int" else _FLOAT
    if not pattern.fullmatch(text):
        hint = ""
        if re.fullmatch(r"[+-]?\d*,\d+", text):
            hint = f" Write the decimal point as a dot: {text.replace(',', '.')}."
        raise CommandError(f"--{parameter.name} {_quote(text)} is not {parameter.accepts}.{hint}")
    # int() of thousands of digits is slow and refused by newer Pythons: the range check needs only the length.
    number: float = math.inf if len(text) > 400 else (int(text) if parameter.kind == "int" else float(text))
    assert parameter.minimum is not None and parameter.maximum is not None
    if not parameter.minimum <= number <= parameter.maximum:
        raise CommandError(f"--{parameter.name} {_quote(text)} is out of range: it takes {parameter.accepts}.")
    return number, parameter.advice_on(number)


def format_command(values: Mapping[str, Any] | Command) -> str:
    """Write a command text that :func:`parse_command` reads back.

    ``values``: a Command, or raw values by parameter name (``None`` is left out, a list repeats the
    parameter, which the parser will then refuse).
    """
    if isinstance(values, Command):
        values = {p.name: getattr(values, p.field) for p in PARAMETERS}
    parts = []
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if one is None:
                continue
            shown = repr(one) if isinstance(one, float) else str(one)
            # A text's own "=" at its beginning would be taken for the one that may stand between name and value.
            between = " = " if shown.lstrip().startswith("=") else " "
            parts.append(f"--{name}{between}{shown if shown.strip() else chr(34) * 2}")
    return " ".join(parts)


def _lookup(name: str) -> Parameter:
    parameter = BY_NAME.get(name.lower().replace("-", "_"))
    if parameter is None:
        close = difflib.get_close_matches(name.lower(), BY_NAME, n=1, cutoff=0.5)
        hint = f" Did you mean --{close[0]}?" if close else ""
        raise CommandError(f"unknown parameter --{name}.{hint} Accepted are {accepted()}.")
    return parameter


def _quote(text: str) -> str:
    return f'"{shorten(text, 60)}"'


assert {p.field for p in PARAMETERS} == {f.name for f in fields(Command)} - {"warnings"}
