"""ComfyUI's HTTP API, call by call."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from ..errors import JobLost, JobRefused, ServerError
from .connection_errors import reason, refused, why_denied, why_no_answer
from .endpoint import Endpoint, endpoint

log = logging.getLogger(__name__)

HTTP_TIMEOUT = (10, 60)
"""Seconds to connect, and between two bytes of an answer."""
STATUS_TIMEOUT = (5, 15)
"""The same for a question about a job, during which nothing else of it is heard."""
TERMINAL = ("completed", "failed", "cancelled")
"""States of a job that has ended."""


def upload_name(data: bytes, extension: str) -> str:
    """The name under which an image file is uploaded: made from its content, so that ComfyUI's cache knows it again."""
    return f"distillery_{hashlib.sha256(data).hexdigest()[:24]}.{extension}"


class ComfyApi:
    """The HTTP API of one ComfyUI server. Safe for use by several threads.

    server: its endpoint, or its URL. Raises ServerError where the URL is none of a server; every call raises it where the
    server does not answer.
    """

    def __init__(self, server: Endpoint | str) -> None:
        self.endpoint = endpoint(server) if isinstance(server, str) else server
        self.url = self.endpoint.url
        """For messages and results: without secrets."""
        self._session = self.endpoint.session()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", HTTP_TIMEOUT)
        options.setdefault("allow_redirects", False)  # a redirected POST would arrive as a GET
        try:
            response = self._session.request(method, f"{self.url}{path}", **options)
        except requests.RequestException as error:
            log.info("%s %s: %s", method, path, type(error).__name__)
            raise ServerError(why_no_answer(self.url, error), not_connected=refused(error)) from error
        denied = why_denied(self.url, response.status_code, response.headers)
        if denied is not None:
            response.close()
            raise ServerError(denied)
        return response

    def get_json(self, path: str, **options: Any) -> Any:
        response = self.request("GET", path, **options)
        if response.status_code >= 400:
            raise ServerError(f"The server at {self.url} answered {response.status_code} to GET {path}.")
        try:
            return response.json()
        except ValueError as error:
            raise ServerError(f"What answers at {self.url} is not a ComfyUI server.") from error

    def system_stats(self) -> dict[str, Any]:
        """Versions, devices and memory of the server."""
        stats = self.get_json("/system_stats")
        if not isinstance(stats, dict) or "system" not in stats:
            raise ServerError(f"What answers at {self.url} is not a ComfyUI server.")
        return stats

    def object_info(self, node_class: str) -> dict[str, Any] | None:
        """The definition of a node class, or None where the server does not have it."""
        found: dict[str, Any] | None = self.get_json(f"/object_info/{node_class}").get(node_class)
        return found

    def queue_length(self) -> int:
        """Jobs that the server has, queued and running, whoever gave them. Answered quickly or not at all."""
        answer = self.get_json("/prompt", timeout=(3, 10))
        try:
            return int(answer["exec_info"]["queue_remaining"])
        except (KeyError, TypeError, ValueError):
            raise ServerError(f"What answers at {self.url} is not a ComfyUI server.") from None

    def checkpoints(self) -> list[str]:
        """Names of the checkpoints that the server has."""
        try:
            names = (self.object_info("CheckpointLoaderSimple") or {})["input"]["required"]["ckpt_name"][0]
        except (KeyError, IndexError, TypeError):
            return []
        return [str(name) for name in names] if isinstance(names, list) else []

    def upload_image(self, data: bytes, extension: str) -> str:
        """Upload an image file as a temporary one; returns the name that Load Image nodes take.

        Raises JobRefused where it is too large for the server, ServerError.
        """
        name = upload_name(data, extension)
        for last in (False, True):
            try:
                # Never overwritten: the same file is recognised by the server, and another job may just be reading it.
                response = self.request("POST", "/upload/image", files={"image": (name, data)}, data={"type": "temp"})
                break
            except ServerError as error:
                if last or error.not_connected:
                    raise
                log.info("the upload broke off; once more")  # it is the same file under the same name
        if response.status_code == 413:
            raise JobRefused(
                f"The server refuses an image of {len(data) / 1e6:.1f} MB. Start it with a larger --max-upload-size."
            )
        if response.status_code != 200:
            raise ServerError(f"The server at {self.url} refused the image ({response.status_code}).")
        try:
            saved = response.json()
            folder = f"{saved['subfolder']}/" if saved.get("subfolder") else ""
            return f"{folder}{saved['name']} [{saved.get('type', 'temp')}]"
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ServerError(f"What answers at {self.url} is not a ComfyUI server.") from None

    def job(self, prompt_id: str) -> dict[str, Any] | None:
        """A job's state (see ComfyUI's ``/api/jobs``), or None where the server does not know it."""
        response = self.request("GET", f"/api/jobs/{prompt_id}", timeout=STATUS_TIMEOUT)
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise ServerError(f"The server at {self.url} answered {response.status_code} when asked for the job.")
        try:
            job = response.json()
        except ValueError:
            job = None
        if not isinstance(job, dict):
            raise ServerError(f"What answers at {self.url} is not a ComfyUI server.")
        return job

    def at_work(self) -> bool:
        """Return True if the server is executing a job, or cannot tell."""
        try:
            jobs = self.get_json("/api/jobs?status=in_progress&limit=1").get("jobs")
        except (ServerError, AttributeError):
            return True
        return bool(jobs) or not isinstance(jobs, list)

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """Return the history of a finished job, or None."""
        answer = self.get_json(f"/history/{prompt_id}")
        finished = answer.get(prompt_id) if isinstance(answer, Mapping) else None
        return finished if isinstance(finished, dict) else None

    def delete_history(self, prompt_id: str) -> None:
        """Have the server forget a finished job."""
        self.request("POST", "/history", json={"delete": [prompt_id]}, timeout=STATUS_TIMEOUT)

    def cancel(self, prompt_id: str, timeout: float = 30.0) -> bool:
        """Cancel a job, queued or running; True once it has ended.

        It is asked for again until then: a cancel at the very start of a job can be swallowed.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.request("POST", f"/api/jobs/{prompt_id}/cancel", timeout=STATUS_TIMEOUT)
            job = self.job(prompt_id)
            if job is None or job.get("status") in TERMINAL:
                return True
            time.sleep(0.3)
        return False

    def free(self) -> None:
        """Have the server drop its caches and unload its models."""
        self.request("POST", "/free", json={"unload_models": True, "free_memory": True})

    def view(self, image: Mapping[str, str]) -> Iterator[bytes]:
        """The bytes of a saved image, in blocks. ``image``: filename, subfolder and type as a node returned them.

        Raises ServerError where the download breaks off, JobLost where the file is gone.
        """
        params = {k: image.get(k, "") for k in ("filename", "subfolder", "type")}
        response = self.request("GET", "/view", params=params, stream=True)
        with response:
            if response.status_code != 200:
                raise JobLost(f"The server no longer has the result {params['filename']} ({response.status_code}).")
            try:
                yield from response.iter_content(1 << 18)
            except requests.RequestException as error:
                raise ServerError(f"The download of the result broke off ({reason(error)}).") from error
