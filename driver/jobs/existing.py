"""Finding the result of an earlier run by what it says of itself, not by its name alone."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...nodes.command import CommandError, parse_command
from ...nodes.image_formats import open_image
from ...nodes.recall import recall
from ...nodes.recall.containers.image import read_contents
from ...nodes.recall.errors import RecallError
from ..server.api import upload_name
from ..server.workflow import COMMAND_NODE, IMAGE_NODE
from .formats import SUFFIXES
from .job import Result
from .output import make_folder
from .prepare import Task

log = logging.getLogger(__name__)

_RESULT = re.compile(r"(.+)_2x(?:_\d+)?", re.DOTALL)


def find_result(task: Task, any_power: bool = False) -> Path | None:
    """Find a result of the task's very picture with its very command in its folder, or None.

    A result carries the workflow that made it, and in it the command and the name of the uploaded picture, which is
    made from its content. any_power: whatever ``--power`` it was made with.
    """
    wanted = parse_command(task.job.command)
    name = upload_name(*task.upload).partition(".")[0]
    suffix = SUFFIXES[task.output.format]
    pattern = re.compile(rf"{re.escape(task.job.stem)}(_\d+)?{re.escape(suffix)}")
    try:
        if task.output.file is not None:
            found = [task.output.file]
        else:
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
        graph = json.loads(read_contents(path).texts.get("prompt", ""))
        nodes = {n["class_type"]: n["inputs"] for n in graph.values() if isinstance(n, Mapping)}
        return str(nodes[IMAGE_NODE]["image"]), str(nodes[COMMAND_NODE]["command"])
    except (RecallError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def without_results(sources: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split sources into pictures, and results of earlier runs that stand beside the picture they were made from.

    A pattern such as ``*.png`` matches both. Each result is known by its name and by what it says of itself.
    """
    there = {(Path(source).parent, Path(source).stem) for source in sources}
    kept: list[str] = []
    results: list[str] = []
    for source in sources:
        path = Path(source)
        match = _RESULT.fullmatch(path.stem)
        own = match is not None and (path.parent, match[1]) in there and _made_from(path) is not None
        (results if own else kept).append(source)
    return kept, results


def earlier_result(task: Task, started: float) -> Result | None:
    """Make the folder of a task's result, and return the result that is there already where the task asks for that.

    started: when the task was begun, by the monotonic clock. Raises SourceError where the folder cannot be written.
    """
    make_folder(task.folder)
    path = find_result(task) if task.skip_existing else None
    return None if path is None else result_of_earlier_run(path, task, time.monotonic() - started)


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
