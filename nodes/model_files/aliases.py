"""Names of model files that no longer exist, and what is used in their place: a text file that the user writes.

    # the name in the image = an installed file
    Cosmopolitan_release_version.safetensors = my_model.safetensors

    [loras]
    add_detail = more_details.safetensors

Lines before the first heading hold for checkpoints, VAEs and LoRAs alike, those below ``[checkpoints]``, ``[vae]`` or
``[loras]`` for that kind alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..texts import shorten
from ..values import MAX_NAME
from .names import exact_name, match_name

FILE_NAME = "distillery_aliases.txt"
SECTIONS = ("checkpoints", "vae", "loras")
"""The headings, which are the names of ComfyUI's folders."""
MAX_BYTES = 1 << 20
_MAX_WARNINGS = 5


@dataclass(frozen=True)
class Alias:
    old: str
    new: str
    section: str | None
    """One of SECTIONS; None: all of them."""
    line: int
    """Line in the file, from 1."""


@dataclass(frozen=True)
class Aliases:
    """The table, in the order of the file."""

    entries: tuple[Alias, ...] = ()
    place: Path | None = None
    """Path of the file, which may not exist."""
    warnings: tuple[str, ...] = ()
    """About lines that are not used."""

    def find(self, wanted: str, section: str, available: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
        """The installed file that stands for ``wanted``, or None; and warnings.

        The left sides are compared as :func:`.names.match_name` does. An alias of an alias is followed until a
        name is installed to the letter; of what comes last, folder and extension may differ.
        """
        chain = [wanted]
        while len(chain) == 1 or exact_name(chain[-1], available) is None:
            alias = self._of(chain[-1], section)
            if alias is None:
                break
            if alias.new in chain:
                names = " = ".join([*chain, alias.new])
                return None, (f"the aliases {names} go round in a circle and are not used ({self._where(alias)})",)
            chain.append(alias.new)
            last = alias
        if len(chain) == 1:
            return None, ()
        found = match_name(chain[-1], available)
        if found is None:
            return None, (f"{chain[-1]}, the alias of {wanted}, is not installed either ({self._where(last)})",)
        return found, ()

    def _of(self, name: str, section: str) -> Alias | None:
        for where in (section, None):  # what is said of this kind alone goes first
            olds = {alias.old: alias for alias in reversed(self.entries) if alias.section == where}
            found = match_name(name, list(olds))
            if found is not None:
                return olds[found]
        return None

    def _where(self, alias: Alias) -> str:
        return f"line {alias.line} of {self.place or FILE_NAME}"


NO_ALIASES = Aliases()


def read_aliases(place: Path) -> Aliases:
    """Read the file; one that is not there has no aliases. Raises nothing: what cannot be read is a warning."""
    try:
        if place.stat().st_size > MAX_BYTES:
            return Aliases((), place, (f"{place} has more than {MAX_BYTES >> 10} KiB and is not used",))
        text = place.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Aliases((), place)
    except UnicodeDecodeError:
        return Aliases((), place, (f"{place} is not used: it is not UTF-8 text",))
    except OSError as error:
        return Aliases((), place, (f"{place} is not used: it cannot be read ({error.strerror or error})",))
    return parse_aliases(text, place)


def parse_aliases(text: str, place: Path | None = None) -> Aliases:
    """Read the text of such a file. Lines that are not understood are left out, with a warning each."""
    entries: dict[tuple[str | None, str], Alias] = {}
    warnings: list[str] = []
    section: str | None = None
    skipping = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        problem = None
        heading = re.fullmatch(r"\[([^\[\]=]*)\]", line)
        if not line or line.startswith(("#", ";")):
            continue
        if heading:
            name = heading[1].strip().lower()
            section, skipping = (name, False) if name in SECTIONS else (None, True)
            if skipping:
                problem = f"{shorten(line, 60)} is no heading; there are {', '.join(f'[{s}]' for s in SECTIONS)}"
        elif skipping:
            continue
        else:
            # A name may hold "=", so that one with spaces around it is taken before any other.
            old, _, new = (part.strip().strip('"').strip() for part in line.partition(" = " if " = " in line else "="))
            if not old or not new or max(len(old), len(new)) > MAX_NAME:
                problem = f'"{shorten(line, 60)}" is not of the form: name in the image = installed file'
            elif (section, old) in entries:
                problem = f"{old} has an alias already, in line {entries[section, old].line}, which is kept"
            elif old == new:
                problem = f"{old} is its own alias"
            else:
                entries[section, old] = Alias(old, new, section, number)
        if problem:
            warnings.append(f"line {number} of {place or FILE_NAME} is not used: {problem}")
    if len(warnings) > _MAX_WARNINGS:
        more = len(warnings) - _MAX_WARNINGS
        warnings[_MAX_WARNINGS:] = [f"{more} more lines of {place or FILE_NAME} are not used"]
    return Aliases(tuple(entries.values()), place, tuple(warnings))
