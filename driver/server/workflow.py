"""The static workflow: read from the files that users drag into the editor, filled in at three places."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...nodes.errors import DistilleryError
from .. import paths

IMAGE_NODE, COMMAND_NODE, SAVE_NODE = "DistilleryLoadImage", "DistilleryParameters", "DistillerySave"
TILES_NODE = "DistilleryHiResTiles"
_INPUT = {IMAGE_NODE: "image", COMMAND_NODE: "command", SAVE_NODE: "filename_prefix"}


class WorkflowError(DistilleryError):
    """The workflow file is not one that can be run."""


def api_file() -> Path:
    """The workflow in the API's format."""
    return paths.checkout() / "workflows" / "api" / "upscale.json"


def ui_file() -> Path:
    """The same workflow in the editor's format."""
    return paths.checkout() / "workflows" / "upscale.json"


@lru_cache(maxsize=8)
def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkflowError(f"The workflow {path} cannot be read: {error}.") from error


def build(image: str, command: str, prefix: str, path: Path | None = None, tile: int | None = None) -> dict[str, Any]:
    """The API workflow with image, command and output prefix set, and nothing else changed.

    image: as Load Image nodes name it, such as ``name.png [temp]``. tile: side of the HiRes tiles in pixels instead
    of what is chosen by the model.
    """
    path = path or api_file()
    graph = copy.deepcopy(_read(path))
    if isinstance(graph, Mapping) and isinstance(graph.get("nodes"), list):
        raise WorkflowError(
            f"{path} is a workflow in the editor's format; the API's format is needed (in the editor: Export (API))."
        )
    nodes: dict[str, Any] = graph
    for kind, value in ((IMAGE_NODE, image), (COMMAND_NODE, command), (SAVE_NODE, prefix)):
        nodes[node_id(nodes, kind)]["inputs"][_INPUT[kind]] = value
    if tile is not None:
        nodes[node_id(nodes, TILES_NODE)]["inputs"].update(tiling="custom", tile_size=tile)
    return nodes


def node_id(graph: Mapping[str, Any], kind: str) -> str:
    """Id of the one node of a class in an API workflow."""
    found = [i for i, node in graph.items() if isinstance(node, Mapping) and node.get("class_type") == kind]
    if len(found) != 1:
        raise WorkflowError(f"The workflow has {len(found)} nodes of the class {kind}; exactly one is needed.")
    return found[0]


def titles(graph: Mapping[str, Any]) -> dict[str, str]:
    """Node id to title."""
    return {i: str((node.get("_meta") or {}).get("title") or node["class_type"]) for i, node in graph.items()}


def editor_workflow(image: str, command: str, prefix: str, tile: int | None = None) -> dict[str, Any]:
    """The editor's workflow with the same values, which goes into the result, so that it can be dragged back."""
    workflow: dict[str, Any] = copy.deepcopy(_read(ui_file()))
    values = {IMAGE_NODE: image, COMMAND_NODE: command, SAVE_NODE: prefix}
    for node in workflow["nodes"]:
        if node["type"] in values:
            node["widgets_values"][0] = values[node["type"]]  # each has that one widget first
        elif node["type"] == TILES_NODE and tile is not None:
            node["widgets_values"][:2] = ["custom", tile]
    return workflow
