"""Load a graph: build it from parsed JSON, then expand its composite nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .composites.table import expand
from .graph import MAX_NODES, Graph
from .nodes import Node


def read_graph(data: Any) -> Graph | None:
    """Build an API graph from parsed JSON; ``None`` if it holds no nodes. Entries that are no nodes are left out.

    Raises ValueError for more than MAX_NODES nodes.
    """
    if not isinstance(data, Mapping):
        return None
    nodes = []
    for key, entry in data.items():
        if isinstance(entry, Mapping) and isinstance(entry.get("class_type"), str):
            inputs = entry.get("inputs")
            nodes.append(Node(str(key), entry["class_type"].strip(), inputs if isinstance(inputs, Mapping) else {}))
    if len(nodes) > MAX_NODES:
        raise ValueError(f"the graph has {len(nodes)} nodes; at most {MAX_NODES} are read")
    if not nodes:
        return None
    graph = Graph(nodes)
    if not expand(graph):
        graph.mark_truncated()
    graph.forget_values()  # some were unknown only because the graph was not yet expanded
    return graph
