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
    from .upscaler import Driver, Item, Result, Upscaler

__all__ = [
    "AsyncUpscaler",
    "CancelToken",
    "Driver",
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
    if name in ("Driver", "Item", "Result", "Upscaler"):
        from . import upscaler as driver

        return getattr(driver, name)
    if name == "AsyncUpscaler":
        from .aio import AsyncUpscaler

        return AsyncUpscaler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
