"""Jobs of a cluster as values: written by whoever submits, read by whichever worker runs them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...nodes.command import parse_command
from ...nodes.generation import from_dict, to_dict
from ...nodes.model_files.names import match_name
from ...nodes.recall import recall
from ..jobs.job import Job, Result
from ..jobs.output import Output
from ..jobs.prepare import Task
from ..sources.clean_image import CleanImage

QUEUE = "distillery"
"""Procrastinate's queue of these jobs."""
TASK = "distillery.upscale"
"""Procrastinate's name of their task."""


@dataclass(frozen=True)
class ClusterJob:
    """One job as the database has it. The picture is in the store."""

    job: Job
    image: str
    """SHA-256 of the sanitized PNG, by which the store has it."""
    width: int
    height: int
    """Of the source, in pixels."""

    @property
    def megapixels(self) -> float:
        """Megapixels of the result, by which the seconds are estimated."""
        return 4 * self.width * self.height / 1e6

    @property
    def model(self) -> str | None:
        """The checkpoint as workers list theirs: see :func:`model_key`."""
        return model_key(self.job.checkpoint) if self.job.checkpoint else None

    def as_dict(self) -> dict[str, Any]:
        """The job as JSON-ready data."""
        data = asdict(self.job)
        data.update(
            image=self.image, width=self.width, height=self.height, megapixels=self.megapixels, model=self.model
        )
        return data


@dataclass(frozen=True)
class Deliver:
    """Who is told of the end of a job: a row of it is made in the transaction that ends the job."""

    kind: str
    """``webhook``; others belong to whoever takes them, such as a bot."""
    target: str
    """URL of a webhook; for others what they understand. Without secrets, for it is kept."""


def model_key(name: str) -> str:
    """Return the name under which workers and jobs agree on a checkpoint: no folder, no extension, no case."""
    stem = Path(name.replace("\\", "/")).name
    for extension in (".safetensors", ".ckpt", ".sft", ".pt", ".pth"):
        if stem.lower().endswith(extension):
            stem = stem[: -len(extension)]
    return stem.strip().lower()[:200]


def model_keys(checkpoints: list[str], wanted: str | None = None) -> list[str]:
    """Return the keys of a server's checkpoints; ``wanted`` is among them where the server would find it."""
    keys = {model_key(name) for name in checkpoints}
    if wanted is not None and match_name(wanted, checkpoints) is not None:
        keys.add(model_key(wanted))
    return sorted(keys)


def job_of(task: Task, user: str = "", tier: str = "") -> ClusterJob:
    """Return the cluster's job for a prepared task. user, tier: where the task's job names none."""
    job = Job(**{**asdict(task.job), "user": task.job.user or user, "tier": task.job.tier or tier})
    image = hashlib.sha256(task.image.png).hexdigest()
    return ClusterJob(job, image, task.image.width, task.image.height)


def read_job(data: Mapping[str, Any]) -> ClusterJob:
    """Read what :meth:`ClusterJob.as_dict` wrote, of this version or another."""
    known = Job.__dataclass_fields__
    job = Job(**{name: data[name] for name in known if name in data})
    return ClusterJob(job, str(data["image"]), int(data["width"]), int(data["height"]))


def task_of(job: ClusterJob, png: bytes, folder: Path) -> Task:
    """Return the task that a worker runs: the very picture that was submitted, and what it says of itself."""
    parse_command(job.job.command)
    image = CleanImage(png, job.width, job.height, recall(png))
    return Task(job.job, image, Output(folder))


def result_data(result: Result) -> dict[str, Any]:
    """Return what of a worker's result is kept in the database: no path, no address."""
    return {
        "width": result.width,
        "height": result.height,
        "generation": to_dict(result.generation),
        "seconds": result.seconds,
        "total": result.total,
        "cached": list(result.cached),
        "prompt_id": result.prompt_id,
        "executed": list(result.executed) if result.executed else None,
    }


def read_result(data: Mapping[str, Any], task: Task, path: Path, worker: str, total: float) -> Result:
    """Return the result as the local backend would: path and total are of this machine."""
    executed = data.get("executed")
    return Result(
        path=path,
        width=int(data["width"]),
        height=int(data["height"]),
        generation=from_dict(data.get("generation")),
        recalled=task.image.generation,
        seconds={str(title): float(seconds) for title, seconds in data.get("seconds", {}).items()},
        total=total,
        cached=tuple(data.get("cached", ())),
        server=worker,
        prompt_id=str(data.get("prompt_id", "")),
        source_hash=task.job.source_hash,
        executed=(float(executed[0]), float(executed[1])) if executed else None,
        job_id=task.job.id,
    )
