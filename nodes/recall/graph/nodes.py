"""What an API graph is made of: nodes, links, values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Link(NamedTuple):
    """An output of a node."""

    id: str
    slot: int


@dataclass(frozen=True)
class Node:
    """A node of the graph, or a part of one that does the work of several."""

    id: str
    class_type: str
    inputs: Mapping[str, Any]
    composite: Node | None = None
    """The node of the file that this one is a part of."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the inputs of a part are called in the file, where that differs."""

    def __str__(self) -> str:
        node = self.composite or self
        return f"node {short(node.id)} ({short(node.class_type)})"

    def place(self, name: str) -> str:
        """The node and one of its inputs, as the file names them."""
        return f"{self}.{short(self.names.get(name, name))}"


@dataclass(frozen=True)
class Constant(Node):
    """Stands for a value that a node which only passes it on has at its input."""

    @classmethod
    def of(cls, value: Any, at: Node) -> Constant:
        return cls(at.id, "PrimitiveNode", {"value": value}, at)


Output = tuple[Node, int]
"""A node and the slot of one of its outputs."""


class Step(NamedTuple):
    """Where to look on for what a node only passes on."""

    value: Any
    """A link or a value, as it stands at an input."""
    wanted: str | None
    """Its name in the pipe that the link leads to; ``None`` for what the link itself leads to."""


def to_link(value: Any) -> Link | None:
    """``[id, slot]`` as a link; ids are texts such as "12" or "12:3"."""
    if isinstance(value, Link):
        return value
    if not isinstance(value, list) or len(value) != 2:
        return None
    node, slot = value
    if isinstance(node, bool) or not isinstance(node, str | int) or isinstance(slot, bool) or not isinstance(slot, int):
        return None
    return Link(str(node), slot)


def plain(value: Any) -> str | int | float | None:
    """A number, text or truth value as it stands at an input; ``None`` for anything else."""
    if isinstance(value, Mapping):
        value = value.get("content")  # some loaders write a name as {"content": name, "image": preview}
    return value if isinstance(value, str | int | float) else None


def short(text: str) -> str:
    """A name of a stranger's file, short enough for a message."""
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "..."
