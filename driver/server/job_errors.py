"""Errors of jobs, from what ComfyUI says of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import JobError, JobOutOfMemory, JobRefused

log = logging.getLogger(__name__)

_NO_MAIN_MEMORY = re.compile(
    r"not enough memory|can't allocate memory|cannot allocate memory|could not create a primitive$", re.I
)
"""As torch on Windows, torch and the kernel on Linux, and oneDNN (seen there with little memory) say it."""


def history_messages(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (type, data) of the messages in the status of a job's history."""
    for message in status.get("messages") or []:
        if isinstance(message, list | tuple) and len(message) == 2 and isinstance(message[1], Mapping):
            yield str(message[0]), message[1]


def node_title(prompt: Mapping[str, Any], node_id: Any) -> str | None:
    """Return a node's title; ids such as "12.0.3" belong to a node made by node 12."""
    if node_id is None:
        return None
    node = prompt.get(str(node_id)) or prompt.get(str(node_id).split(".")[0])
    if not isinstance(node, Mapping):
        return str(node_id)
    return str((node.get("_meta") or {}).get("title") or node.get("class_type"))


def refusal(answer: Mapping[str, Any], prompt: Mapping[str, Any]) -> JobRefused:
    """The error of a workflow that the server did not accept."""
    parts = []
    first = None
    for node_id, found in (answer.get("node_errors") or {}).items():
        title = node_title(prompt, node_id)
        first = first or title
        for error in found.get("errors", []):
            details = str(error.get("details") or "")
            if error.get("type") == "custom_validation_failed":
                parts.append(f"{title}: {details.partition(' - ')[2] or details}")
            else:
                parts.append(f"{title}: {error.get('message', 'refused')} ({details[:300]})")
    if not parts:
        error = answer.get("error")
        parts.append(str(error.get("message") if isinstance(error, Mapping) else error or "no reason given"))
    return JobRefused("The server refused the job. " + "; ".join(dict.fromkeys(parts)), first)


def job_error(data: Mapping[str, Any], prompt: Mapping[str, Any]) -> JobError:
    """The error of a job that failed on the way. ComfyUI's traceback goes to the log only.

    data: of ComfyUI's event ``execution_error``. prompt: the graph that was run.
    """
    title = node_title(prompt, data.get("node_id")) or str(data.get("node_type"))
    kind, message = str(data.get("exception_type")), str(data.get("exception_message") or "").strip()
    log.error("%s failed: %s: %s\n%s", title, kind, message, "".join(map(str, data.get("traceback") or [])))
    main = kind == "MemoryError" or bool(_NO_MAIN_MEMORY.search(message))
    if main or "OutOfMemory" in kind or "out of memory" in message.lower():
        return JobOutOfMemory(
            f"{title}: the server ran out of {'main ' if main else ''}memory. Choose a smaller custom tile in the HiRes "
            f"Tiles node, close other programs{'' if main else ' that use the GPU'}, or upscale a smaller image.",
            title,
            main,
        )
    return JobError(f"{title}: {message or kind}", title)
