"""Progress events: ``Upscaler.upscale(on_progress=…)`` is called with these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """Something that takes time outside the job, such as starting the server."""

    text: str


@dataclass(frozen=True)
class Stage:
    """A node of the workflow has started."""

    title: str
    done: int
    """Nodes that are done, cached ones included."""
    total: int
    """Nodes of the workflow. Some may never run, such as those of the HiRes pass with ``--power 0``."""


@dataclass(frozen=True)
class Step:
    """The running node has come further: sampling steps, tiles, bytes."""

    title: str
    value: int
    maximum: int


@dataclass(frozen=True)
class Preview:
    """A preview of the picture so far; only where previews were asked for."""

    title: str
    image: bytes
    """A small picture file."""
    mime: str
    """``image/jpeg`` or ``image/png``."""


Progress = Message | Stage | Step | Preview
