"""Fetch files from the hosts that the user allows."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote

from ..errors import SourceError
from .fetch import MAX_BYTES, FetchPolicy, http_get


def fetch(parts: SplitResult, policy: FetchPolicy | None = None) -> tuple[bytes, str]:
    """Download a link whose host is allowed; returns the bytes and the file name. Raises SourceError."""
    host = parts.hostname or ""
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    answer = http_get(host, target, MAX_BYTES, policy)
    if 300 <= answer.status < 400:
        raise SourceError(f"{host} sends elsewhere ({answer.status}), which is not followed. Give the final link.")
    if answer.status != 200:
        raise SourceError(f"{host} answered {answer.status} and not with an image. Check the link.")
    return answer.body, unquote(PurePosixPath(parts.path).name) or host
