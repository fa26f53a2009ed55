"""What all commands share: exit codes, and text that is fit for a terminal."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence

from rich.markup import escape

from ...nodes.command import CommandError
from ...nodes.errors import DistilleryError
from ...nodes.settings import NoPromptError
from ..errors import SourceError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all done; a job failed; it cannot be run as given; Ctrl-C."""

MISSING = "\0"
"""Stands for a value that was not given; no argument of a process can hold it."""

# Not sent to a terminal from untrusted input: control characters, and those that turn the text around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class UsageError(DistilleryError):
    """What was typed cannot be run."""


def exit_code(error: DistilleryError) -> int:
    """Whether it cannot be run as given, or failed."""
    return USAGE if isinstance(error, CommandError | SourceError | NoPromptError | UsageError) else FAILED


def code_of_all(codes: Sequence[int]) -> int:
    """The exit code of several images."""
    if not any(codes):
        return DONE
    return USAGE if set(codes) == {USAGE} else FAILED


def printable(text: str) -> str:
    """Text from elsewhere, fit for a terminal and for rich."""
    return escape(_CONTROL.sub("\ufffd", text))


def expanded(sources: Sequence[str]) -> list[str]:
    """Patterns as the files that they match, sorted: not every shell does it. What matches nothing stays as it is."""
    files = []
    for source in sources:
        pattern = glob.has_magic(source) and "://" not in source and not os.path.exists(source)
        files += (sorted(glob.glob(os.path.expanduser(source))) if pattern else []) or [source]
    return files
