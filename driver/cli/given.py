"""Arguments whose text stands in a file or on the standard input: ``@prompt.txt``, ``@-``.

Every user of a machine can read the arguments of its processes, and prompts and signed links are nobody's business.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import SourceError
from ..paths import user_path

MAX_BYTES = 1 << 20
"""Size of such a file."""


def referenced(text: str, what: str) -> str:
    """Return the text that an argument stands for: that of the file behind ``@``, or of the standard input (``@-``).

    ``@@`` stands for an @ that begins a text. what: the argument's name, for messages. Raises SourceError.
    """
    if not text.startswith("@"):
        return text
    if text.startswith("@@"):
        return text[1:]
    return _read(text[1:], what).strip()


def expand_sources(sources: Sequence[str]) -> list[str]:
    """Return the sources that arguments stand for, in their order.

    A pattern is expanded to the files that it matches, sorted (shells on Windows leave that to the program); one without a
    match stays as it is. ``@list.txt`` and ``@-`` are lists with a source a line; empty lines and those that begin with # are
    left out. What is the name of a file is that file. Raises SourceError.
    """
    found: list[str] = []
    for source in sources:
        if not source.startswith("@") or os.path.lexists(source):
            found += _matches(source)
            continue
        lines = [line.strip() for line in referenced(source, "a list of sources").splitlines()]
        listed = [line for line in lines if line and not line.startswith("#")]
        if not listed:
            raise SourceError(f"{source}: the list names no source. Give one a line.")
        found += listed
    return found


def _matches(source: str) -> list[str]:
    pattern = glob.has_magic(source) and "://" not in source and not os.path.exists(source)
    return (sorted(glob.glob(str(user_path(source)))) if pattern else []) or [source]


def _read(name: str, what: str) -> str:
    try:
        if name == "-":
            if sys.stdin is None or sys.stdin.isatty():
                raise SourceError(f'"@-" reads {what} from the standard input, but nothing is piped in.')
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(user_path(name)).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceError(
            f'"@{name}" reads {what} from a file, but {name} cannot be read: {error.strerror or error}. To begin a text with @, '
            "write @@."
        ) from error
    if len(data) > MAX_BYTES:
        raise SourceError(f"{name} has more than {MAX_BYTES >> 20} MiB, which is the most that is taken for {what}.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{name} is no text in UTF-8, as {what} has to be.") from error
