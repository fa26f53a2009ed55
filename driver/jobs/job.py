"""Jobs, results and options as plain values."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...nodes.errors import DistilleryError
from ...nodes.generation import Generation, to_dict
from ..events import Progress

if TYPE_CHECKING:
    from .drift import Choice

OnProgress = Callable[[Progress], None]

AUTO = "auto"
"""Value of ``power`` that has it chosen by what it does to the picture."""


@dataclass(frozen=True)
class Job:
    """One upscale of one image, as plain data: it can be written down, sent to another machine and read back."""

    id: str
    """32 hexadecimal digits: in every line of the log, in ComfyUI's id of the prompt, in the name of its output."""
    source: str
    """As it was given, without the query of a URL."""
    source_hash: str
    """SHA-256 of the source file."""
    command: str
    """Such as ``--power 0.2``, see :mod:`distillery.nodes.command`."""
    checkpoint: str | None
    """Preferred checkpoint of the server; None if no sampler runs."""
    stem: str
    """Stem of the result's file name."""
    created: float
    """Unix seconds."""
    preview: bool = False
    """True where the events tell how the picture looks so far."""
    user: str = ""
    """Id of the user who asked for it; empty: the one at this machine."""
    tier: str = ""
    deadline: float | None = None
    """Unix seconds after which nobody waits for it any more."""


def new_job_id() -> str:
    """Return an id that no job had before."""
    return uuid.uuid4().hex


def prompt_id(job_id: str, attempt: int) -> str:
    """Return ComfyUI's id for an attempt (1, 2, …) of a job: ComfyUI would run the same id twice."""
    first = uuid.UUID(job_id)
    return str(first if attempt == 1 else uuid.uuid5(first, str(attempt)))


@dataclass(frozen=True)
class Result:
    """A finished upscale."""

    path: Path
    """The file that was written."""
    width: int
    height: int
    generation: Generation
    """The parameters used, with the warnings."""
    recalled: Generation
    """The generation recalled from the source."""
    seconds: dict[str, float]
    """Stage (title of the node) to seconds, in the order in which the stages ran."""
    total: float
    """Seconds from the call to the written file."""
    cached: tuple[str, ...]
    """Stages whose result the server still had."""
    server: str
    """URL of the server that made it; empty where it was there already (``skip_existing``)."""
    prompt_id: str
    """ComfyUI's id of the attempt that made it."""
    source_hash: str = ""
    """SHA-256 of the source file."""
    executed: tuple[float, float] | None = None
    """Start and end of the job by the server's clock: Unix seconds."""
    compared: Path | None = None
    """The picture of before and after, where it was asked for."""
    choice: Choice | None = None
    """The choice of the power, where that was left to the driver."""
    skipped: bool = False
    """True where it was there already."""
    job_id: str = ""
    """Id of the :class:`Job`."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Differences from the image's own generation, and what else the user should know."""
        return self.generation.warnings

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data, for ``--json``, the manifest and sweeps alike."""
        data: dict[str, Any] = {
            "job": self.job_id,
            "path": str(self.path),
            "width": self.width,
            "height": self.height,
            "generation": to_dict(self.generation, carried=False),
            "recalled": to_dict(self.recalled, carried=False),
            "warnings": list(self.warnings),
            "seconds": round(self.total, 3),
            "stages": {title: round(seconds, 3) for title, seconds in self.seconds.items()},
            "cached": list(self.cached),
            "server": self.server,
            "prompt_id": self.prompt_id,
            "source_sha256": self.source_hash,
        }
        if self.skipped:
            data["skipped"] = True
        if self.choice is not None:
            data["power"] = self.choice.as_json()
        if self.compared is not None:
            data["compare"] = str(self.compared)
        return data


@dataclass(frozen=True)
class Item:
    """The outcome of one source of several: a result or an error."""

    index: int
    source: str
    """Without the query of a URL, which carries signatures."""
    result: Result | None
    error: DistilleryError | None


@dataclass(frozen=True)
class Options:
    """Options of a call of :class:`driver.upscaler.Upscaler`, beside the parameters."""

    preview: bool = False
    compare: bool = False
    skip_existing: bool = False
    job_id: str = field(default_factory=new_job_id)
    ticket: int = 0
