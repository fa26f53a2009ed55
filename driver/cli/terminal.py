"""Exit codes, and text made safe for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.markup import escape

from ...nodes.command import CommandError
from ...nodes.errors import DistilleryError
from ...nodes.settings import NoPromptError
from ..errors import SourceError

DONE, FAILED, USAGE = 0, 1, 2
"""Exit codes: all done; a job failed; the command cannot be run as given."""

MISSING = "\0"
"""Marker of a value that was not given. An argument of a process cannot hold a NUL."""

# Not sent to a terminal from untrusted input: control characters, and those that turn the text around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class UsageError(DistilleryError):
    """The command line cannot be run as given."""


def exit_code(error: DistilleryError) -> int:
    """Return USAGE for an error in what was given, FAILED for any other."""
    return USAGE if isinstance(error, CommandError | SourceError | NoPromptError | UsageError) else FAILED


def combine_exit_codes(codes: Sequence[int]) -> int:
    """Combine the exit codes of several images into one."""
    if not any(codes):
        return DONE
    return USAGE if set(codes) == {USAGE} else FAILED


def printable(text: str) -> str:
    """Make untrusted text safe to print: without control characters, escaped for rich."""
    return escape(_CONTROL.sub("\ufffd", text))
