"""The headless driver: a client of ComfyUI that upscales images with this pack's workflow."""

from __future__ import annotations

from .driver import Driver, Result
from .errors import JobCancelled, JobError, ServerError, SourceError
from .events import Message, Progress, Stage, Step

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
