"""Nodes, links and values of an API graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...texts import shorten


class Link(NamedTuple):
    """An output of a node."""

    id: str
    slot: int


@dataclass(frozen=True)
class Node:
    """A node of the graph, or one that a composite node was expanded into."""

    id: str
    class_type: str
    inputs: Mapping[str, Any]
    composite: Node | None = None
    """The node of the file that this one was expanded from."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of its inputs in the file, if they differ."""

    def __str__(self) -> str:
        node = self.composite or self
        return f"node {short(node.id)} ({short(node.class_type)})"

    def place(self, name: str) -> str:
        """Name the node and one of its inputs as the file does."""
        given = self.names.get(name, name)
        return f"{self}.{short(given)}" if given else str(self)


@dataclass(frozen=True)
class Constant(Node):
    """A node standing for a literal value at an input of a node that only passes it on."""

    @classmethod
    def of(cls, value: Any, at: Node) -> Constant:
        return cls(at.id, "PrimitiveNode", {"value": value}, at)


Output = tuple[Node, int]
"""A node and the slot of one of its outputs."""


class Step(NamedTuple):
    """The next place to look for a value that a node only passes on."""

    value: Any
    """The contents of an input: a link or a value."""
    wanted: str | None
    """Its name in the pipe at the end of the link; ``None`` outside pipes."""


def to_link(value: Any) -> Link | None:
    """Parse ``[id, slot]`` as a link; ids are texts such as "12" or "12:3"."""
    if isinstance(value, Link):
        return value
    if not isinstance(value, list) or len(value) != 2:
        return None
    node, slot = value
    if isinstance(node, bool) or not isinstance(node, str | int) or isinstance(slot, bool) or not isinstance(slot, int):
        return None
    return Link(str(node), slot)


def plain(value: Any) -> str | int | float | None:
    """Return a literal number, text or truth value; ``None`` for anything else."""
    if isinstance(value, Mapping):
        value = value.get("content")  # some loaders write a name as {"content": name, "image": preview}
    return value if isinstance(value, str | int | float) else None


def short(text: str) -> str:
    """Shorten a name of an untrusted file for a message."""
    return shorten(text, 40)
