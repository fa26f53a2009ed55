"""Rate limits, and faults that tests ask for."""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .refusals import Refusal

_MAJOR = re.compile(r"/(?:channels|guilds)/([0-9]+)|/webhooks/[0-9]+/([^/]+)")


@dataclass
class Fault:
    pattern: re.Pattern[str]
    status: int
    """0: the connection is cut without an answer."""
    times: float
    body: Any = None
    headers: Mapping[str, str] | None = None
    after: bool = False
    """True: what was asked for is done, and only the answer is this one."""
    delay: float = 0
    """Seconds before anything else."""


@dataclass
class Limit:
    pattern: re.Pattern[str]
    number: int
    per: float
    windows: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By major parameter: end of the window, requests left."""

    @property
    def bucket(self) -> str:
        return hashlib.sha256(self.pattern.pattern.encode()).hexdigest()[:32]

    def take(self, path: str) -> tuple[dict[str, str], float]:
        """Count a request; returns the headers, and the seconds to wait if it is one too many."""
        key = next((part for found in _MAJOR.findall(path) for part in found if part), "")
        now = time.time()
        end, left = self.windows.get(key, (0.0, 0))
        if end <= now:
            end, left = now + self.per, self.number
        wait = 0.0 if left else end - now
        left = max(0, left - 1)
        self.windows[key] = (end, left)
        headers = {
            "X-RateLimit-Limit": str(self.number), "X-RateLimit-Remaining": str(left), "X-RateLimit-Reset": f"{end:.3f}",
            "X-RateLimit-Reset-After": f"{end - now:.3f}", "X-RateLimit-Bucket": self.bucket,
        }  # fmt: skip
        return headers, wait


class Limits:
    """Counts requests as Discord does: by route and major parameter, and all of a bot together."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.global_limit = 50
        """Requests of the bot in a second, without those of interactions."""
        self._recent: deque[float] = deque()
        self._limits = [
            Limit(re.compile(pattern), number, per)
            for pattern, number, per in (
                (r"^POST /channels/\d+/messages$", 5, 5), (r"^PATCH /channels/\d+/messages/\d+$", 5, 5),
                (r"^DELETE /channels/\d+/messages/\d+$", 5, 1), (r"^(POST|PATCH|DELETE) /webhooks/", 5, 2),
                (r"^POST /attachments/refresh-urls$", 5, 2),
            )
        ]  # fmt: skip

    def add(self, pattern: str, number: int, per: float) -> None:
        """Put a limit before those that there are."""
        self._limits.insert(0, Limit(re.compile(pattern), number, per))

    def count(self, request: str, of_bot: bool) -> dict[str, str]:
        """Count a request such as ``GET /gateway``; returns headers for its answer. Raises Refusal if it is too many."""
        limit = next((each for each in self._limits if each.pattern.search(request)), None)
        if of_bot:
            self._count_globally()
        if limit is None:
            return {}
        headers, wait = limit.take(request)
        if wait:
            raise too_many(wait, headers)
        return headers

    def _count_globally(self) -> None:
        now = time.time()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= self.global_limit:
            raise too_many(self._recent[0] + 1 - now, {"X-RateLimit-Global": "true"}, everywhere=True)
        self._recent.append(now)

    def fault(self, request: str) -> Fault | None:
        """The fault for this request, if there is one; it is used up by that."""
        for each in self.faults:
            if each.times > 0 and each.pattern.search(request):
                each.times -= 1
                return each
        return None


def too_many(wait: float, headers: Mapping[str, str], everywhere: bool = False) -> Refusal:
    """The 429. Its header has whole seconds, its body the exact ones, as Discord has it."""
    scope = "global" if everywhere else "user"
    given = {**headers, "Retry-After": str(int(wait) + 1), "X-RateLimit-Scope": scope}
    refusal = Refusal(429, 0, "You are being rate limited.", headers=given)
    refusal.body = {"message": "You are being rate limited.", "retry_after": round(wait, 3), "global": everywhere}
    return refusal
