"""Finding the result of an earlier run by what it says of itself, not by its name alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ...nodes.command import CommandError, parse_command
from ..server.client import upload_name
from ..server.workflow import COMMAND_NODE, IMAGE_NODE

if TYPE_CHECKING:
    from ..upscaler import Request


def existing(request: Request, any_power: bool = False) -> Path | None:
    """A result of the request's very picture with its very command in its folder, or None.

    A result carries the workflow that made it, and in it the command and the name of the uploaded picture, which is
    made from its content. any_power: whatever ``--power`` it was made with.
    """
    wanted = parse_command(request.command)
    name = upload_name(*request.upload).partition(".")[0]
    pattern = re.compile(rf"{re.escape(request.stem)}(_\d+)?\.png")
    try:
        found = sorted(p for p in request.folder.iterdir() if pattern.fullmatch(p.name))
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
    """Name of the uploaded picture and the command of a result, or None where it is none of this driver's."""
    try:
        with Image.open(path) as image:
            graph = json.loads(image.info.get("prompt", ""))
        nodes = {n["class_type"]: n["inputs"] for n in graph.values() if isinstance(n, Mapping)}
        return str(nodes[IMAGE_NODE]["image"]), str(nodes[COMMAND_NODE]["command"])
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, AttributeError, Image.DecompressionBombError):
        return None
