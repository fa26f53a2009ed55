"""``--upscaler``: the command's upscale model, put into the Load UltraSharp node when a graph is queued.

A link from the command to that node would do it too, but ComfyUI caches by what a node depends on: with it, each other seed or
power would have the picture enlarged and encoded anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .command import CommandError, parse_command

PARAMETERS_NODE, LOADER_NODE = "DistilleryParameters", "DistilleryLoadUltraSharp"


def chosen_upscaler(graph: Mapping[str, Any]) -> str | None:
    """Return the model that the commands of a graph in the API's format ask for; None where none does, or they disagree."""
    found = set()
    for node in graph.values():
        if isinstance(node, Mapping) and node.get("class_type") == PARAMETERS_NODE:
            command = (node.get("inputs") or {}).get("command")
            try:
                found.add(parse_command(command).upscaler if isinstance(command, str) else None)
            except CommandError:  # the node says it when it runs
                found.add(None)
    return found.pop() if len(found) == 1 else None


def choose_upscaler(json_data: Any) -> Any:
    """Set the model in the body of a request to queue a graph; returns the body."""
    graph = json_data.get("prompt") if isinstance(json_data, Mapping) else None
    if not isinstance(graph, Mapping):
        return json_data
    name = chosen_upscaler(graph)
    if name is not None:
        for node in graph.values():
            if isinstance(node, Mapping) and node.get("class_type") == LOADER_NODE:
                inputs = node.get("inputs")
                # A link stands for a choice that was made by hand.
                if isinstance(inputs, dict) and isinstance(inputs.get("model_name"), str):
                    inputs["model_name"] = name
    return json_data
