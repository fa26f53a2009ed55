"""What the modules that read a graph share: the graph, the builder, and how a field is taken from an input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..builder import GenerationBuilder
from ..graph.graph import Graph
from ..graph.nodes import Link, Node
from ..graph.value_nodes import VALUE_NODES


@dataclass(frozen=True)
class InputRef:
    """Where a field's value is: at an input of a node, or in what the node is."""

    node: Node
    name: str = ""
    value: Any = None
    """The value itself, where the node's kind or several of its inputs say it."""


@dataclass(frozen=True)
class GraphReader:
    """A graph that is read into a builder."""

    graph: Graph
    where: str
    """Names the graph in the places of the fields, such as ``prompt``."""
    builder: GenerationBuilder

    def place(self, node: Node, name: str = "") -> str:
        return f"{self.where} {node.place(name) if name else node}"

    def set_from(self, name: str, ref: InputRef | None) -> None:
        """Set a field; an input that is there and cannot be told is a warning."""
        if ref is None:
            return
        value = ref.value
        if value is None:
            value = self.graph.value(ref.node, ref.name)
            if value is None and self.graph.link(ref.node, ref.name):
                self.builder.warn(f"{self.why_unknown(ref.node, ref.name)}: {name} is not recalled")
        self.builder.set(name, value, self.place(ref.node, ref.name))

    def why_unknown(self, node: Node, name: str) -> str:
        """Why a linked input has no value, for a message."""
        unknown = self.graph.first_unknown_node(node, name)
        if unknown is None:
            return f"{node.place(name)} is linked to nothing"
        known = unknown.class_type in VALUE_NODES
        return f"{node.place(name)} comes from {unknown}, which " + ("does not tell" if known else "is not known here")

    def follow(self, node: Node, *names: str) -> Link | None:
        """The link at the first of these inputs that is linked."""
        return next(filter(None, (self.graph.link(node, name) for name in names)), None)
