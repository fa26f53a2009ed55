"""The context of a walk: the graph, the builder, and how a field is set from an input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..builder import GenerationBuilder
from ..graph.graph import Graph
from ..graph.nodes import Link, Node
from ..graph.value_nodes import VALUE_NODES


@dataclass(frozen=True)
class InputRef:
    """The place of a field's value: an input of a node, or the node itself."""

    node: Node
    name: str = ""
    value: Any = None
    """The value itself, where the node's kind or several of its inputs say it."""


@dataclass(frozen=True)
class GraphReader:
    """A graph that is read into a draft."""

    graph: Graph
    where: str
    """Names the graph in the places of the fields, such as ``prompt``."""
    draft: GenerationBuilder

    def place(self, node: Node, name: str = "") -> str:
        return f"{self.where} {node.place(name) if name else node}"

    def set_from(self, name: str, at: InputRef | None) -> None:
        """Set a field; an input that is there and cannot be told is a warning."""
        if at is None:
            return
        value = at.value
        if value is None:
            value = self.graph.value(at.node, at.name)
            if value is None and self.graph.link(at.node, at.name):
                self.draft.warn(f"{self.why_unknown(at.node, at.name)}: {name} is not recalled")
        self.draft.set(name, value, self.place(at.node, at.name))

    def why_unknown(self, node: Node, name: str) -> str:
        """Why a linked input has no value, for a message."""
        culprit = self.graph.first_unknown_node(node, name)
        if culprit is None:
            return f"{node.place(name)} is linked to nothing"
        known = culprit.class_type in VALUE_NODES
        return f"{node.place(name)} comes from {culprit}, which " + ("does not tell" if known else "is not known here")

    def follow(self, node: Node, *names: str) -> Link | None:
        """The link at the first of these inputs that is linked."""
        return next(filter(None, (self.graph.link(node, name) for name in names)), None)
