"""One peer of benchmarks/driver.py: runs a workflow several times and prints the seconds of each as JSON.

    python driver_peers.py comfy-cli|comfy-api-simplified|comfy-catapult URL WORKFLOW.json... < /dev/null

Run by that benchmark in an environment that has the peers; it imports nothing of this project. Each file is one
job's workflow, in the API's format and with its picture uploaded. A job ends when its result is in this process,
for comfy-cli, which downloads nothing, when the command has ended.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def save_node(graph: dict[str, Any]) -> str:
    """Id of the node that saves the picture."""
    return next(i for i, node in graph.items() if node["class_type"] == "DistillerySave")


def comfy_cli(url: str, files: list[str]) -> list[float]:
    """``comfy run --wait``."""
    at = urlsplit(url)
    command = [str(Path(sys.executable).with_name("comfy")), "--skip-prompt", "run", "--wait"]
    seconds = []
    for file in files:
        started = time.monotonic()
        subprocess.run(
            [*command, "--workflow", file, "--host", str(at.hostname), "--port", str(at.port)],
            check=True, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        seconds.append(time.monotonic() - started)
    return seconds


def comfy_api_simplified(url: str, files: list[str]) -> list[float]:
    """One wrapper for all jobs."""
    from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper

    api = ComfyApiWrapper(url)
    seconds = []
    for file in files:
        started = time.monotonic()
        images = api.queue_and_wait_images(ComfyWorkflowWrapper(file), "Save Image + Record")
        assert images
        seconds.append(time.monotonic() - started)
    return seconds


def comfy_catapult(url: str, files: list[str]) -> list[float]:
    """One client and one catapult for all jobs."""
    from comfy_catapult.api_client import ComfyAPIClient
    from comfy_catapult.catapult import ComfyCatapult

    async def run() -> list[float]:
        seconds = []
        async with ComfyAPIClient(url) as client, ComfyCatapult(client, debug_path=None) as catapult:
            for number, file in enumerate(files):
                started = time.monotonic()
                graph = json.loads(Path(file).read_text(encoding="utf-8"))
                node = save_node(graph)
                job = await catapult.Catapult(job_id=f"job-{number}", prepared_workflow=graph, important=[node])
                image = job["outputs"][node]["images"][0]
                await client.GetView(
                    folder_type=image["type"], subfolder=image["subfolder"], filename=image["filename"]
                )
                seconds.append(time.monotonic() - started)
        return seconds

    return asyncio.run(run())


if __name__ == "__main__":
    peer = {"comfy-cli": comfy_cli, "comfy-api-simplified": comfy_api_simplified, "comfy-catapult": comfy_catapult}
    print(json.dumps(peer[sys.argv[1]](sys.argv[2], sys.argv[3:])))
