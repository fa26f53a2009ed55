"""Finding the result of an earlier run by what it says of itself, not by its name alone."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ...nodes.command import CommandError, parse_command
from ...nodes.image_formats import open_image
from ...nodes.recall import recall
from ..server.api import upload_name
from ..server.workflow import COMMAND_NODE, IMAGE_NODE
from .job import Result
from .prepare import Task

log = logging.getLogger(__name__)


def find_result(task: Task, any_power: bool = False) -> Path | None:
    """Find a result of the task's very picture with its very command in its folder, or None.

    A result carries the workflow that made it, and in it the command and the name of the uploaded picture, which is
    made from its content. any_power: whatever ``--power`` it was made with.
    """
    wanted = parse_command(task.job.command)
    name = upload_name(*task.upload).partition(".")[0]
    pattern = re.compile(rf"{re.escape(task.job.stem)}(_\d+)?\.png")
    try:
        found = sorted(p for p in task.folder.iterdir() if pattern.fullmatch(p.name))
    except OSError:
        return None
    for path in found:
        made = _made_from(path)
        if made is None or not made[0].startswith(name):
            continue
        try:
            command = parse_command(made[1])
        except CommandError:
            continue
        if any_power:
            command = replace(command, power=wanted.power, warnings=wanted.warnings)
        if command == wanted:
            return path
    return None


def _made_from(path: Path) -> tuple[str, str] | None:
    """Read the name of the uploaded picture and the command of a result, or None where it is not this driver's."""
    try:
        with open_image(path) as image:
            graph = json.loads(image.info.get("prompt", ""))
        nodes = {n["class_type"]: n["inputs"] for n in graph.values() if isinstance(n, Mapping)}
        return str(nodes[IMAGE_NODE]["image"]), str(nodes[COMMAND_NODE]["command"])
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, AttributeError, Image.DecompressionBombError):
        return None


def result_of_earlier_run(path: Path, task: Task, seconds: float) -> Result:
    """The result that is there already."""
    with open_image(path) as image:
        width, height = image.size
    log.info("is there already", extra={"data": {"path": str(path)}})
    return Result(
        path=path,
        width=width,
        height=height,
        generation=recall(path),
        recalled=task.image.generation,
        seconds={},
        total=seconds,
        cached=(),
        server="",
        prompt_id="",
        source_hash=task.job.source_hash,
        skipped=True,
        job_id=task.job.id,
    )
