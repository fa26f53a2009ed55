"""Collecting what a format finds: every value is checked, and its place is written down."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from ..generation import MAX_SEED, Generation, HiRes, Lora

MAX_NAME = 1000
"""Characters of a file, sampler or scheduler name: more than any file system takes."""

_NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,40}", re.ASCII)


def to_number(value: Any) -> float | None:
    """A finite number from JSON, where Distillery writes numbers as strings too; else ``None``."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def to_integer(value: Any) -> int | None:
    """A whole number, exact beyond 2^53 where the file has it as an integer; else ``None``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    number = to_number(value)
    return int(number) if number is not None and number.is_integer() else None


def to_text(value: Any) -> str | None:
    """A text; empty counts."""
    return value if isinstance(value, str) else None


def _name(value: Any) -> str | None:
    name = value.strip() if isinstance(value, str) else ""
    return name if 0 < len(name) <= MAX_NAME else None


def _family(value: Any) -> str | None:
    return _FAMILIES.get(value.strip().lower()) if isinstance(value, str) else None


_FAMILIES = {"sd15": "sd15", "sd1.5": "sd15", "sd1": "sd15", "sdxl": "sdxl", "xl": "sdxl"}


def _whole(low: int, high: int) -> Callable[[Any], int | None]:
    def check(value: Any) -> int | None:
        number = to_integer(value)
        return number if number is not None and low <= number <= high else None

    return check


def _real(low: float, high: float) -> Callable[[Any], float | None]:
    def check(value: Any) -> float | None:
        number = to_number(value)
        return number if number is not None and low <= number <= high else None

    return check


# The ranges are those of ComfyUI's own nodes: what they refuse is not worth recalling.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "positive": to_text,
    "negative": to_text,
    "seed": _whole(0, MAX_SEED),
    "cfg": _real(0, 100),
    "steps": _whole(1, 10_000),
    "sampler": _name,
    "scheduler": _name,
    "denoise": _real(0, 1),
    "checkpoint": _name,
    "vae": _name,
    "clip_skip": _whole(1, 24),
    "width": _whole(1, 100_000),
    "height": _whole(1, 100_000),
    "family": _family,
    "sharpen": _real(0, 1),
    "hires.steps": _whole(1, 10_000),
    "hires.denoise": _real(0, 1),
    "hires.tile": _whole(64, 16_384),
    "hires.scale": _real(0.05, 64),
    "hires.upscaler": _name,
}
_STRENGTH = _real(-100, 100)
_GENERATION_DATA = {"positive", "negative", "seed", "cfg", "steps", "sampler", "scheduler", "checkpoint"}


class Draft:
    """A generation in the making. What is set first stays: call in order of precedence."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._fields: dict[str, str] = {}
        self._loras: tuple[Lora, ...] | None = None
        self._warnings: dict[str, None] = {}
        self.carried: dict[str, Any] = {}

    @property
    def found(self) -> bool:
        """True when there is generation data: a size or a sharpening alone is none."""
        return bool(self._loras) or not self._values.keys().isdisjoint(_GENERATION_DATA)

    def has(self, name: str) -> bool:
        """Whether the field is known, be it as "none" (the checkpoint's own VAE, no LoRA)."""
        return name in self._fields

    def set(self, name: str, value: Any, where: str) -> None:
        """Set a field (``hires.steps`` for the nested ones). ``None`` and what is set already are ignored;
        a value of the wrong type or out of range is left out with a warning."""
        if value is None or self.has(name):
            return
        checked = CHECKS[name](value)
        if checked is None:
            self.warn(f"{where} is not usable as {name.replace('.', ' ')}: {shown(value)}")
            return
        self._values[name] = checked
        self._fields[name] = where

    def note(self, name: str, where: str) -> None:
        """Write down that a field is known to be "none"."""
        self._fields.setdefault(name, where)

    def set_loras(self, loras: Iterable[tuple[Any, Any, Any, str]], where: str) -> None:
        """Set the LoRA chain: (name, model strength, clip strength, place) in the order of application.

        One that has no effect, with both strengths 0, is left out; so is one that cannot be read, with a warning.
        """
        if self._loras is not None:
            return
        chain, places = [], []
        for name, model, clip, place in loras:
            checked = (_name(name), _STRENGTH(model), _STRENGTH(clip))
            if None in checked:
                self.warn(f"the LoRA of {place} is left out: {shown(name)}, strengths {shown(model)} and {shown(clip)}")
                continue
            lora = Lora(*checked)  # type: ignore[arg-type]
            if lora.strength_model or lora.strength_clip:
                chain.append(lora)
                places.append(place)
        self._loras = tuple(chain)
        self._fields["loras"] = ", ".join(places) or where

    def warn(self, *messages: str) -> None:
        """Add warnings, each once."""
        self._warnings.update(dict.fromkeys(messages))

    def build(self, origin: str) -> Generation:
        """The generation; its origin is ``none`` where nothing usable was found."""
        values = dict(self._values)
        hires = HiRes(**{k.partition(".")[2]: values.pop(k) for k in list(values) if k.startswith("hires.")})
        return Generation(
            origin=origin if self.found else "none",
            **values,
            loras=self._loras or (),
            hires=hires,
            fields=dict(self._fields) if self.found else {},
            warnings=tuple(self._warnings),
            carried=dict(self.carried),
        )


def shown(value: Any) -> str:
    """A value of a stranger's file, short enough for a message."""
    if value is None:
        return "nothing"
    text = " ".join(str(value).split()) if isinstance(value, str | int | float) else type(value).__name__
    return f'"{text}"' if len(text) <= 60 else f'"{text[:57]}..."'
