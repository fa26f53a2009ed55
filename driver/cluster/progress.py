"""Progress of a job on its way through NOTIFY: small JSON, at most twice a second a job."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..events import Message, Preview, Progress, Stage, Step

MIN_INTERVAL = 0.5
"""Seconds between two notifications of a job."""
MAX_TEXT = 2000
"""Characters of a message; a payload may have 8,000 bytes, in which a character takes 12 at most where JSON escapes it."""


def channel(job_id: str) -> str:
    """Return the channel on which a job is told of."""
    return f"distillery_job_{job_id}"


@dataclass
class Outbox:
    """What of a job's events is still to be told: of each kind the newest. Not safe for use by several threads."""

    message: str | None = None
    stage: Stage | None = None
    step: Step | None = None
    preview: tuple[str, str, str] | None = None
    """Title, name in the store, media type."""
    sent: float = field(default=-1e9)
    """When something was told last (monotonic clock)."""

    def add(self, event: Progress) -> None:
        """Take an event. Previews are added by their name in the store: see ``preview``."""
        if isinstance(event, Message):
            self.message = event.text[: MAX_TEXT // 4]
        elif isinstance(event, Stage):
            self.stage, self.step = event, None
        elif isinstance(event, Step):
            self.step = event

    def wait(self) -> float:
        """Return the seconds until the next one may be sent."""
        return max(0.0, self.sent + MIN_INTERVAL - time.monotonic())

    def take(self) -> str | None:
        """Return the payload of all that is to be told and forget it; None where that is nothing."""
        data: dict[str, Any] = {}
        if self.message is not None:
            data["message"] = self.message
        if self.stage is not None:
            data["stage"] = [self.stage.title[:200], self.stage.done, self.stage.total]
        if self.step is not None:
            data["step"] = [self.step.title[:200], self.step.value, self.step.maximum]
        if self.preview is not None:
            data["preview"] = list(self.preview)
        self.message = self.stage = self.step = self.preview = None
        if not data:
            return None
        self.sent = time.monotonic()
        return json.dumps(data, ensure_ascii=False)


def read_payload(payload: str) -> dict[str, Any]:
    """Read a notification; an empty one where it is none of this kind."""
    try:
        data = json.loads(payload)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def events_of(data: Mapping[str, Any]) -> list[Progress]:
    """Return the events of a notification, but for previews, whose bytes are in the store."""
    events: list[Progress] = []
    if isinstance(text := data.get("message"), str):
        events.append(Message(text))
    for key, kind in (("stage", Stage), ("step", Step)):
        if isinstance(given := data.get(key), list) and len(given) == 3:
            events.append(kind(str(given[0]), int(given[1]), int(given[2])))
    return events


def preview_of(data: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Return title, name in the store and media type of a preview, where there is one."""
    given = data.get("preview")
    return (str(given[0]), str(given[1]), str(given[2])) if isinstance(given, list) and len(given) == 3 else None


def preview_event(preview: tuple[str, str, str], image: bytes) -> Preview:
    """Return the event of a preview."""
    return Preview(preview[0], image, preview[2])
