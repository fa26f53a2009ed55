"""The shared state of the walk: the graph, and the builder whose fields are set from its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..builder import GenerationBuilder
from ..graph.graph import Graph
from ..graph.nodes import Link, Node, short
from ..graph.value_nodes import VALUE_NODES


@dataclass(frozen=True)
class InputRef:
    """Reference to the source of a field: an input of a node, or the node's class."""

    node: Node
    name: str = ""
    value: Any = None
    """The value itself, if it follows from the node's class or from several inputs."""


@dataclass(frozen=True)
class GraphReader:
    """A graph and the builder that it is read into."""

    graph: Graph
    where: str
    """Name of the graph in the provenance of fields, such as ``prompt``."""
    builder: GenerationBuilder

    assumptions: dict[str, tuple[Node, str]] = field(default_factory=dict)
    """Nodes of unknown classes that were read by their shape, and what they were taken for."""

    def assume(self, node: Node, what: str) -> None:
        """Note that a node of an unknown class is taken for what its inputs show it to be."""
        self.assumptions.setdefault((node.composite or node).id, (node, what))

    def warn_of_assumptions(self) -> None:
        """Warn of all nodes that were read by the names of their inputs."""
        noted = dict(self.assumptions)
        for node, name in self.graph.assumed.values():
            noted.setdefault((node.composite or node).id, (node, f"the value of its input {short(name)}"))
        for node, what in noted.values():
            self.builder.warn(
                f"{node} is not known here: the names of its inputs show {what}; what else it does is not kept"
            )

    def place(self, node: Node, name: str = "") -> str:
        return f"{self.where} {node.place(name) if name else node}"

    def set_from(self, name: str, ref: InputRef | None) -> None:
        """Set a field from an input; warn if its linked value is unknown."""
        if ref is None:
            return
        value = ref.value
        if value is None:
            value = self.graph.value(ref.node, ref.name)
            if value is None and self.graph.link(ref.node, ref.name):
                self.builder.warn(f"{self.why_unknown(ref.node, ref.name)}: {name} is not recalled")
        self.builder.set(name, value, self.place(ref.node, ref.name))

    def why_unknown(self, node: Node, name: str) -> str:
        """Explain why a linked input has no value, for a message."""
        unknown = self.graph.first_unknown_node(node, name)
        if unknown is None:
            return f"{node.place(name)} is linked to nothing"
        known = unknown.class_type in VALUE_NODES
        return f"{node.place(name)} comes from {unknown}, which " + ("does not tell" if known else "is not known here")

    def follow(self, node: Node, *names: str) -> Link | None:
        """Return the link at the first of these inputs that is linked."""
        return next(filter(None, (self.graph.link(node, name) for name in names)), None)
