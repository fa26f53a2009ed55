"""ComfyUI's API graph: ``{id: {"class_type": …, "inputs": {name: value or [id, slot]}}}``.

Resolves links, and values that reach an input through other nodes. A graph is untrusted input: anything may be
missing, of a wrong type, or circular.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .nodes import Constant, Link, Node, Output, plain, to_link
from .passthrough import KNOWN, passed_on
from .shapes import MADE, piped, pipes, value_input
from .value_nodes import VALUE_NODES

MAX_NODES = 10_000
MAX_HOPS = 1_000_000
"""Limit of links followed in one graph."""
MAX_VALUE_DEPTH = 100
"""Limit of nodes in a row that a value may run through."""


class Graph:
    """The nodes of an API graph, in the order of the file. :func:`.load.read_graph` makes one."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.size = len(self.nodes)
        """Number of nodes in the file."""
        self._redirects: dict[Link, tuple[Any, Node]] = {}
        self._values: dict[tuple[Link, str], Any] = {}
        self.assumed: dict[str, tuple[Node, str]] = {}
        """Nodes of unknown classes whose inputs were read by their names, and those inputs."""
        self.notes: dict[str, None] = {}
        """What was left out where composite nodes were expanded, for warnings."""
        self._uses: dict[str, list[str]] | None = None
        self._hops = 0
        self._depth = 0
        self._truncated = False

    @property
    def exhausted(self) -> bool:
        """True if the graph exceeds a limit, so that it was not read completely."""
        return self._truncated or self._hops > MAX_HOPS

    def mark_truncated(self) -> None:
        """Count the graph as :attr:`exhausted`."""
        self._truncated = True

    def is_unknown(self, node: Node) -> bool:
        """Return True if no table of this package has the node's class, as far as the graph can tell."""
        known = node.class_type in VALUE_NODES or node.class_type in KNOWN
        return not known and node.composite is None

    def forget_values(self) -> None:
        """Compute every value anew, once the graph has changed."""
        self._values.clear()

    def replace(self, node: Node, outputs: Mapping[int, Any]) -> None:
        """Remove a node and redirect its outputs.

        outputs: by slot a link to another node, or the contents of an input of the node. Other slots lead nowhere.
        """
        del self.nodes[node.id]
        self._redirects.update({Link(node.id, slot): (value, node) for slot, value in outputs.items()})

    def link(self, node: Node, name: str) -> Link | None:
        """Return the link at an input, unresolved; ``None`` for a value or nothing."""
        return to_link(node.inputs.get(name))

    def uses_of_the_first_output(self, node_id: str) -> list[str]:
        """Return the names of the inputs that a node's first output is linked to."""
        if self._uses is None:
            self._uses = {}
            for node in self.nodes.values():
                for name, value in node.inputs.items():
                    if (link := to_link(value)) and link.slot == 0:
                        self._uses.setdefault(link.id, []).append(name)
        return self._uses.get(node_id, [])

    def source(self, link: Link | None, wanted: str | None = None) -> Output | None:
        """Resolve a link to the node and slot that make its value, through all nodes that only pass it on.

        A value at an input of such a node becomes a :class:`Constant`.
        wanted: the name of the value in the pipe that the link is to.
        ``None`` if the link leads nowhere: to a missing node, in circles, or to a pipe that lacks the value.
        """
        todo: list[tuple[Any, str | None, Node | None]] = [(link, wanted, None)]
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
                else:
                    steps = piped(node, wanted)
                    if steps is None:
                        return node, MADE
                    todo += [(step.value, step.wanted, node) for step in reversed(steps)]
        return None

    def input(self, node: Node, name: str) -> Output | None:
        """Resolve the link at an input, see :meth:`source`."""
        return self.source(self.link(node, name))

    def value(self, node: Node, name: str) -> Any:
        """Return the value at an input: the literal one, or computed through the linked nodes.

        ``None`` if there is none or it is unknown.
        """
        return self._resolve(node.inputs.get(name), name)

    def first_unknown_node(self, node: Node, name: str) -> Node | None:
        """Return the node at which the computation of a linked value ended, for a message."""
        visited: set[str] = set()
        todo = [self.link(node, name)]
        last = None
        while todo:
            found = self.source(todo.pop())
            if found is None or found[0].id in visited:
                continue
            visited.add(found[0].id)
            rule = VALUE_NODES.get(found[0].class_type)
            visited.add(found[0].id)
            if rule is None:
                at = value_input(found[0], name)
                if at is None or not self.link(found[0], at):
                    return found[0]
                todo.append(self.link(found[0], at))
                continue
            last = found[0]
            todo += [self.link(found[0], name) for name in rule.names_of(found[0])]
        return last

    def _resolve(self, value: Any, wanted: str) -> Any:
        """Return the value at an input called ``wanted``."""
        link = to_link(value)
        if link is None:
            return plain(value)
        if self._depth >= MAX_VALUE_DEPTH:
            return None
        self._depth += 1
        try:
            found = self.source(link)
            return self._computed(*found, wanted) if found else None
        finally:
            self._depth -= 1

    def _computed(self, node: Node, slot: int, wanted: str) -> Any:
        if isinstance(node, Constant):
            return plain(node.inputs["value"])
        rule = VALUE_NODES.get(node.class_type)
        at = (Link(node.id, slot), "" if rule else wanted)
        if at not in self._values:
            self._values[at] = None  # a circle ends here
            if rule is not None:
                arguments = {name: self._resolve(node.inputs.get(name), name) for name in rule.names_of(node)}
                unknown = any(value is None and self.link(node, name) for name, value in arguments.items())
                self._values[at] = rule.value(arguments, slot, unknown)
            else:
                self._values[at] = self._by_shape(node, wanted)
        return self._values[at]

    def _by_shape(self, node: Node, wanted: str) -> Any:
        """Return the value that an unknown node gives, as far as the names of its inputs tell."""
        name = value_input(node, wanted)
        if name is None:
            for pipe in pipes(node):
                found = self.source(self.link(node, pipe), wanted)
                if found is not None and isinstance(found[0], Constant):
                    self.assumed[node.id] = (node, pipe)
                    return plain(found[0].inputs["value"])
            return None
        value = self._resolve(node.inputs[name], name)
        if value is not None:
            self.assumed[node.id] = (node, name)
        return value
