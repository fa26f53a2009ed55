"""Fetch the result of a job from its server into its folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from ..errors import JobError, ServerError
from ..server.client import ComfyClient
from ..server.servers import Server
from .output import Output, Written, new_part, write_result

ATTEMPTS = 3
"""Times that a result is asked for: the job has succeeded, so it is worth it."""


def save_download(server: Server, client: ComfyClient, saved: Mapping[str, str], output: Output, stem: str) -> Written:
    """Download a saved image and put it into its place, in its format.

    Raises JobError where it cannot be written, FormatError, ServerError, JobLost.
    """
    try:
        with new_part(output.folder) as file:
            part = Path(file.name)
            try:
                _download(server, client, saved, file)
                file.close()
                written = write_result(part, output, stem)
            finally:
                with contextlib.suppress(OSError):
                    part.unlink()
    except OSError as error:
        raise JobError(f"The result cannot be written to {output.folder}: {error.strerror or error}.") from error
    server.discard_result(saved)
    return written


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
