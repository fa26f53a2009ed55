"""From a source and a command to a task: all that can be checked without a server."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...nodes.command import CommandError, format_command, parse_command
from ...nodes.generation import Generation
from ...nodes.parameters import BY_NAME, MIN_SIDE
from ...nodes.recall import recall
from ...nodes.settings import settings_for
from ..errors import SourceError
from ..sources import label
from ..sources.clean_image import CleanImage, clean_image
from ..sources.load import Rules, Source, load
from .job import Job, Options
from .output import Output, safe_name


@dataclass(frozen=True)
class Task:
    """A job, and what goes beside it on this machine."""

    job: Job
    image: CleanImage
    """The sanitized image to upload, and what the source says of how it was made."""
    output: Output
    """Where the result is written."""
    compare: bool = False
    """True to write a picture of before and after too."""
    skip_existing: bool = False
    """True to return a result of this very job that the folder has already."""
    ticket: int = 0
    """The lowest one gets a server first."""

    @property
    def folder(self) -> Path:
        """Folder of the result."""
        return self.output.folder

    @property
    def upload(self) -> tuple[bytes, str]:
        """The image file that the server is given, and its extension."""
        return self.image.png, "png"


def prepare(
    source: Source,
    command: str,
    output: Output,
    rules: Rules | None = None,
    options: Options | None = None,
    known: Generation | None = None,
) -> Task:
    """Read or fetch the source, sanitize it, and check that it can be upscaled with that command.

    known: how it was made, where that was recalled already; None: what the file says is recalled here. Raises CommandError,
    SourceError and NoPromptError.
    """
    options = options or Options()
    parsed = parse_command(command)
    image = load(source, rules)
    if min(image.width, image.height) < MIN_SIDE:
        raise SourceError(
            f"{image.name} has {image.width}x{image.height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed."
        )
    clean = clean_image(image.data, image.name, known or recall(image.data), (rules or Rules()).max_pixels)
    settings = settings_for(clean.generation, parsed)  # what cannot be run is said before a server is started
    job = Job(
        id=options.job_id,
        source=label(source),
        source_hash=hashlib.sha256(image.data).hexdigest(),
        command=command,
        checkpoint=settings.generation.checkpoint if settings.denoise > 0 else None,
        stem=f"{safe_name(image.stem)}_2x",
        created=time.time(),
        preview=options.preview,
    )
    return Task(job, clean, output, options.compare, options.skip_existing, options.ticket)


def command_text(command: str, parameters: Mapping[str, Any]) -> str:
    """A command with parameters by name added. Raises CommandError."""
    if not parameters:
        return command
    text = format_command({name: value for name, value in parameters.items() if value is not None})
    parsed = parse_command(text)
    # A text with " --" in it would be read as another parameter.
    for name, value in parameters.items():
        if isinstance(value, str) and getattr(parsed, BY_NAME[name].field) not in (value.strip(), value.lower()):
            raise CommandError(f'--{name}: the text "{value[:60]}" cannot hold another parameter.')
    return f"{command} {text}".strip()
