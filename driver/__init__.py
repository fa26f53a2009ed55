"""The headless driver: a client of ComfyUI that upscales images with this pack's workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import JobCancelled, JobError, ServerError, SourceError
from .events import Message, Progress, Stage, Step

if TYPE_CHECKING:
    from .driver import Driver, Result

__all__ = [
    "Driver",
    "JobCancelled",
    "JobError",
    "Message",
    "Progress",
    "Result",
    "ServerError",
    "SourceError",
    "Stage",
    "Step",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: it brings Pillow and numpy along, which the command line's help does not need.
    if name in ("Driver", "Result"):
        from . import driver

        return getattr(driver, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
