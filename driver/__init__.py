"""The headless driver: a client of ComfyUI that upscales images with this pack's workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .cancel import CancelToken
from .errors import (
    JobCancelled,
    JobError,
    JobLost,
    JobOutOfMemory,
    JobRefused,
    JobStuck,
    NotStarted,
    ServerError,
    SourceError,
)
from .events import Message, Preview, Progress, Stage, Step

if TYPE_CHECKING:
    from .aio import AsyncUpscaler
    from .jobs.job import Item, Result
    from .upscaler import Upscaler

__all__ = [
    "AsyncUpscaler",
    "CancelToken",
    "Item",
    "JobCancelled",
    "JobError",
    "JobLost",
    "JobOutOfMemory",
    "JobRefused",
    "JobStuck",
    "Message",
    "NotStarted",
    "Preview",
    "Progress",
    "Result",
    "ServerError",
    "SourceError",
    "Stage",
    "Step",
    "Upscaler",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: it brings Pillow and numpy along, which the command line's help does not need.
    if name == "Upscaler":
        from .upscaler import Upscaler

        return Upscaler
    if name in ("Item", "Result"):
        from .jobs import job

        return getattr(job, name)
    if name == "AsyncUpscaler":
        from .aio import AsyncUpscaler

        return AsyncUpscaler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
