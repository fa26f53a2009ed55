"""Expand one composite node: the nodes added for it, and its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..graph import Graph
from ..nodes import Link, Node, to_link


class Expansion:
    """The expansion of a composite node: adds nodes to its graph, and collects its outputs by slot."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph = graph
        self.node = node
        self.added = 0
        self.slots: dict[int, Any] = {}

    def add_node(self, class_type: str, names: Mapping[str, str] | None = None, /, **inputs: Any) -> Link:
        """Add a node. names: its inputs' names in the file, if they differ."""
        self.added += 1
        node_id = f"{self.node.id}/{self.added}"
        while node_id in self.graph.nodes:
            node_id += "'"
        self.graph.nodes[node_id] = Node(node_id, class_type, inputs, self.node.composite or self.node, names or {})
        return Link(node_id, 0)

    def add_renamed(self, class_type: str, names: Mapping[str, str], /, **inputs: Any) -> Link:
        """Add a node that takes inputs of the composite under other names."""
        own = {name: self.node.inputs.get(given) for name, given in names.items()}
        return self.add_node(class_type, names, **{**inputs, **own})

    def add_loras(self, model: Any, clip: Any, loras: list[LoraEntry]) -> tuple[Any, Any]:
        """Add a chain of LoRA loaders and return the links to its end. An unlinked model or clip stays so."""
        for lora in loras:
            names = {"lora_name": lora.at, "strength_model": lora.at, "strength_clip": lora.at}
            values = {"lora_name": lora.name, "strength_model": lora.model}
            if to_link(clip) is None:
                model = self.add_node("LoraLoaderModelOnly", names, model=model, **values)
            else:
                loader = self.add_node("LoraLoader", names, model=model, clip=clip, strength_clip=lora.clip, **values)
                model, clip = loader, Link(loader.id, 1)
        return model, clip


class LoraEntry(NamedTuple):
    """An entry of a list of LoRAs. The strengths may be links."""

    name: Any
    model: Any
    clip: Any
    at: str
    """Its input in the file."""

    @classmethod
    def of(cls, node: Node, name: str, model: str, clip: str) -> LoraEntry:
        """Read an entry from three inputs of a node."""
        return cls(node.inputs.get(name), node.inputs.get(model), node.inputs.get(clip), name)


Rule = Callable[[Expansion, Node], None]
"""Expands the nodes of one class."""
