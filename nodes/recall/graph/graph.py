"""ComfyUI's API graph: ``{id: {"class_type": …, "inputs": {name: value or [id, slot]}}}``.

Links, and the values that reach an input through other nodes. A graph comes from a stranger's file:
anything may be missing, of a wrong type, or go round in circles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .nodes import Constant, Link, Node, Output, plain, to_link
from .passthrough import passed_on
from .value_nodes import VALUE_NODES

MAX_NODES = 10_000
MAX_HOPS = 1_000_000
"""Links followed in one graph, all told."""
MAX_VALUE_DEPTH = 100
"""Nodes in a row that a value may run through."""


class Graph:
    """The nodes of an API graph, in the order of the file. :func:`.load.read_graph` makes one."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.size = len(self.nodes)
        """Nodes in the file."""
        self._redirects: dict[Link, tuple[Any, Node]] = {}
        self._values: dict[Link, Any] = {}
        self._hops = 0
        self._depth = 0
        self._truncated = False

    @property
    def exhausted(self) -> bool:
        """True when the graph is larger than it is read: what was read is not complete."""
        return self._truncated or self._hops > MAX_HOPS

    def mark_truncated(self) -> None:
        """Count the graph as :attr:`exhausted`."""
        self._truncated = True

    def forget_values(self) -> None:
        """Compute every value anew, once the graph has changed."""
        self._values.clear()

    def replace(self, node: Node, outputs: Mapping[int, Any]) -> None:
        """Put others in the place of a node.

        outputs: what comes out of its slots: a link to another node, or what stands at an input of the node.
        Slots that are not named lead nowhere.
        """
        del self.nodes[node.id]
        self._redirects.update({Link(node.id, slot): (value, node) for slot, value in outputs.items()})

    def link(self, node: Node, name: str) -> Link | None:
        """The link at an input, as it stands there; ``None`` for a value or nothing."""
        return to_link(node.inputs.get(name))

    def source(self, link: Link | None) -> Output | None:
        """The node and slot that a link comes from, behind whatever only passes it on.

        A value that stands at a node which passes it on is a :class:`Constant`.
        ``None`` where the link leads nowhere: to a missing node, in circles, or to a pipe that lacks the value.
        """
        todo: list[tuple[Any, str | None, Node | None]] = [(link, None, None)]
        visited: set[tuple[Link, str | None]] = set()
        while todo:
            value, wanted, at = todo.pop()
            link = to_link(value)
            if link is None:
                if at is not None and wanted is None and plain(value) is not None:
                    return Constant.of(value, at), 0
                continue
            if (link, wanted) in visited:
                continue
            visited.add((link, wanted))
            self._hops += 1
            if self._hops > MAX_HOPS:
                return None
            node = self.nodes.get(link.id)
            if link in self._redirects:
                value, at = self._redirects[link]
                todo.append((value, wanted, at))
            elif node is not None:
                steps = passed_on(self, node, link.slot, wanted)
                if steps is not None:
                    todo += [(step.value, step.wanted, node) for step in reversed(steps)]
                elif wanted is None:
                    return node, link.slot
        return None

    def input(self, node: Node, name: str) -> Output | None:
        """:meth:`source` of an input."""
        return self.source(self.link(node, name))

    def value(self, node: Node, name: str) -> Any:
        """The value at an input: as it stands there, or computed through the nodes that it is linked to.

        ``None`` where there is none or it cannot be told.
        """
        return self._resolve(node.inputs.get(name))

    def first_unknown_node(self, node: Node, name: str) -> Node | None:
        """The node at which the computation of a linked value ended, for a message."""
        visited: set[str] = set()
        todo = [self.link(node, name)]
        last = None
        while todo:
            found = self.source(todo.pop())
            if found is None or found[0].id in visited:
                continue
            visited.add(found[0].id)
            rule = VALUE_NODES.get(found[0].class_type)
            if rule is None:
                return found[0]
            last = found[0]
            todo += [self.link(found[0], name) for name in rule.names_of(found[0])]
        return last

    def _resolve(self, value: Any) -> Any:
        link = to_link(value)
        if link is None:
            return plain(value)
        if self._depth >= MAX_VALUE_DEPTH:
            return None
        self._depth += 1
        try:
            found = self.source(link)
            return self._computed(*found) if found else None
        finally:
            self._depth -= 1

    def _computed(self, node: Node, slot: int) -> Any:
        if isinstance(node, Constant):
            return plain(node.inputs["value"])
        at = Link(node.id, slot)
        if at not in self._values:
            self._values[at] = None  # a circle ends here
            rule = VALUE_NODES.get(node.class_type)
            if rule is not None:
                arguments = {name: self._resolve(node.inputs.get(name)) for name in rule.names_of(node)}
                unknown = any(value is None and self.link(node, name) for name, value in arguments.items())
                self._values[at] = rule.value(arguments, slot, unknown)
        return self._values[at]
