"""Build a graph from parsed JSON or nodes, then expand its composite nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .composites.table import expand
from .graph import Graph
from .nodes import MAX_NODES, Node


def read_graph(data: Any) -> Graph | None:
    """Read an API graph from parsed JSON; None where it holds no nodes. Entries that are no nodes are left out.

    Raises ValueError for more than MAX_NODES nodes.
    """
    if not isinstance(data, Mapping):
        return None
    nodes = []
    for key, entry in data.items():
        if isinstance(entry, Mapping) and isinstance(entry.get("class_type"), str):
            inputs = entry.get("inputs")
            nodes.append(Node(str(key), entry["class_type"], inputs if isinstance(inputs, Mapping) else {}))
    if len(nodes) > MAX_NODES:
        raise ValueError(f"the graph has {len(nodes)} nodes; at most {MAX_NODES} are read")
    return build_graph(nodes) if nodes else None


def build_graph(nodes: Iterable[Node]) -> Graph:
    """Build a graph of the nodes, composite ones expanded into the core nodes they wrap."""
    graph = Graph(nodes)
    graph.settle(complete=expand(graph))
    return graph
