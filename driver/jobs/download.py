"""Fetch the result of a job from its server into its folder."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from ..errors import JobError, ServerError
from ..server.client import ComfyClient
from ..server.servers import Server
from .output import PART, PREFIX, publish

ATTEMPTS = 3
"""Times that a result is asked for: the job has succeeded, so it is worth it."""


def save_download(server: Server, client: ComfyClient, saved: Mapping[str, str], folder: Path, stem: str) -> Path:
    """Download a saved image into the folder. Raises JobError where it cannot be written, ServerError, JobLost."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=PREFIX, suffix=PART, delete=False) as file:
            part = Path(file.name)
            try:
                _download(server, client, saved, file)
                file.close()
                path = publish(part, folder, stem)
            finally:
                with contextlib.suppress(OSError):
                    part.unlink()
    except OSError as error:
        raise JobError(f"The result cannot be written to {folder}: {error.strerror or error}.") from error
    server.discard_result(saved)
    return path


def _download(server: Server, client: ComfyClient, saved: Mapping[str, str], file: IO[bytes]) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        file.seek(0)
        file.truncate()
        try:
            for block in client.view(saved):
                file.write(block)
            return
        except ServerError:
            copy = server.result_file(client, saved)
            if copy is not None:
                file.seek(0)
                file.truncate()
                file.write(copy)
                return
            if attempt == ATTEMPTS:
                raise
        time.sleep(attempt)
