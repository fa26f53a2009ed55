"""Convert the editor's workflow into the API graph that it would run as.

A workflow lists nodes with their sockets and the bare values of their widgets. Muted and bypassed nodes, reroutes,
primitives, get and set nodes and subgraphs exist only in it: they are resolved here as the editor does when it
queues a workflow. All of it is untrusted input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .graph import MAX_HOPS, MAX_NODES
from .nodes import short, to_link
from .ui_everywhere import add_links, is_everywhere
from .ui_group_nodes import expand_group_nodes
from .ui_values import as_queued, literal, widget_values

MAX_DEPTH = 20
"""Depth limit of nested subgraphs."""
MUTED, BYPASSED = 2, 4
_SETS, _GETS = {"SetNode", "easy setNode"}, {"GetNode", "easy getNode"}
VIRTUAL = {"Reroute", "PrimitiveNode", "Note", "MarkdownNote"} | _SETS | _GETS
"""Nodes that exist only in the editor."""
_INPUT, _OUTPUT = "-10", "-20"
"""Ids of a subgraph's own inputs and outputs."""


class Converted(NamedTuple):
    """A workflow as an API graph."""

    graph: dict[str, Any]
    warnings: tuple[str, ...]


def is_workflow(data: Any) -> bool:
    """Return True if parsed JSON is an editor's workflow."""
    return isinstance(data, Mapping) and isinstance(data.get("nodes"), list)


def to_api(data: Mapping[str, Any]) -> Converted:
    """Convert a workflow into an API graph. Raises ValueError for more than MAX_NODES nodes."""
    data, warnings = expand_group_nodes(data)
    data, all_known = add_links(data)
    converted = _Workflow(data).convert()
    if not all_known:
        warnings += ("the workflow hands values on without links by patterns: these are not followed",)
    return Converted(converted.graph, warnings + converted.warnings)


class _Node:
    """A node of a workflow; malformed entries are ignored."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.id = str(data["id"])
        self.type: str = data["type"].strip()
        self.mode = data.get("mode")
        self.inputs = [entry for entry in _list(data.get("inputs")) if isinstance(entry, Mapping)]
        self.outputs = [entry if isinstance(entry, Mapping) else {} for entry in _list(data.get("outputs"))]
        self.values = data.get("widgets_values")

    @property
    def first_value(self) -> Any:
        values = self.values
        if isinstance(values, Mapping):
            values = list(values.values())
        return values[0] if isinstance(values, list) and values else None

    def link(self, index: int) -> Any:
        return self.inputs[index].get("link") if 0 <= index < len(self.inputs) else None

    def __str__(self) -> str:
        return f"node {short(self.id)} ({short(self.type)})"


class _Scope:
    """The nodes of the workflow itself, or of one instance of a subgraph."""

    def __init__(self, data: Mapping[str, Any], prefix: str = "", parent: _Scope | None = None,
                 instance: _Node | None = None) -> None:  # fmt: skip
        self.data = data
        self.prefix = prefix
        self.parent = parent
        self.instance = instance
        self.children: dict[str, _Scope] = {}
        self.nodes: dict[str, _Node] = {}
        for entry in _list(data.get("nodes")):
            if isinstance(entry, Mapping) and isinstance(entry.get("type"), str) and _is_id(entry.get("id")):
                node = _Node(entry)
                self.nodes[node.id] = node
        self.links: dict[str, tuple[str, int]] = dict(_links(_list(data.get("links"))))
        self.promoted: dict[str, Any] = self._promoted()
        self.sets = {
            node.first_value: node for node in self.nodes.values()
            if node.type in _SETS and isinstance(node.first_value, str) and node.mode not in (MUTED, BYPASSED)
        }  # fmt: skip
        """Set nodes by the name that they set."""

    def ports(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the inputs or outputs of the subgraph."""
        return [port if isinstance(port, Mapping) else {} for port in _list(self.data.get(kind))]

    def _promoted(self) -> dict[str, Any]:
        """Return the values of the subgraph's own widgets, by the names of its inputs."""
        values = self.instance.values if self.instance else None
        if not isinstance(values, list):
            return {}
        widgets = {
            str(entry.get("link"))
            for node in self.nodes.values() for entry in node.inputs if isinstance(entry.get("widget"), Mapping)
        }  # fmt: skip
        names = [
            port.get("name") for port in self.ports("inputs")
            if any(str(link) in widgets for link in _list(port.get("linkIds")))
        ]  # fmt: skip
        # Another number of values is how some editors keep them: inside alone.
        if len(names) != len(values):
            return {}
        return {name: value for name, value in zip(names, values, strict=True) if isinstance(name, str)}


class _Workflow:
    def __init__(self, data: Mapping[str, Any]) -> None:
        definitions = data.get("definitions")
        subgraphs = _list(definitions.get("subgraphs")) if isinstance(definitions, Mapping) else []
        self.subgraphs = {s["id"]: s for s in subgraphs if isinstance(s, Mapping) and isinstance(s.get("id"), str)}
        self.count = 0
        self.hops = 0
        self.root = self._scope(_Scope(data), 0)

    def _scope(self, scope: _Scope, depth: int) -> _Scope:
        """Enter the subgraphs of a scope."""
        self.count += len(scope.nodes)
        if self.count > MAX_NODES:
            raise ValueError(f"the workflow has more than {MAX_NODES} nodes, which is as many as are read")
        for node in scope.nodes.values():
            definition = self.subgraphs.get(node.type)
            if definition is not None and depth < MAX_DEPTH:
                child = _Scope(definition, f"{scope.prefix}{node.id}:", scope, node)
                scope.children[node.id] = self._scope(child, depth + 1)
        return scope

    def convert(self) -> Converted:
        graph: dict[str, Any] = {}
        unnamed: dict[str, _Node] = {}
        warnings: list[str] = []
        for scope, node in self._running(self.root):
            if is_everywhere(node.type) and scope.parent is not None:
                warnings.append(f"{node} hands values on without links: these are not followed")
            inputs, known, choices = self._inputs(scope, node)
            if choices:
                warnings.append(
                    f"{node} has choices in braces ({short(', '.join(choices[:4]))}): the workflow does not tell which one "
                    "was made when it was queued"
                )
            graph[scope.prefix + node.id] = {"class_type": node.type, "inputs": inputs}
            if not known:
                unnamed[scope.prefix + node.id] = node
        if self.hops > MAX_HOPS:
            warnings.append("the workflow has more links than are followed: it was not read to its end")
        met = [str(unnamed[node_id]) for node_id in _upstream(graph) if node_id in unnamed]
        if met:
            names = ", ".join(met[:8]) + (", …" if len(met) > 8 else "")
            warnings.append(f"the workflow does not say which value of a node is what, and is not known for {names}")
        return Converted(graph, tuple(warnings))

    def _running(self, scope: _Scope) -> Iterator[tuple[_Scope, _Node]]:
        """Yield the nodes that would run."""
        for node in scope.nodes.values():
            if node.mode in (MUTED, BYPASSED) or node.type in VIRTUAL:
                continue
            if node.id in scope.children:
                yield from self._running(scope.children[node.id])
            else:
                yield scope, node

    def _inputs(self, scope: _Scope, node: _Node) -> tuple[dict[str, Any], bool, list[str]]:
        """Return the inputs of a node as in the API, False if the names of its widgets are unknown, and its choices."""
        sockets = (
            [str(entry.get("type")) for entry in node.inputs if _widget(entry) is None],
            [str(entry.get("type")) for entry in node.outputs],
        )
        values, known = widget_values(node.type, node.values, [_widget(entry) for entry in node.inputs], sockets)
        choices: list[str] = []
        for widget, value in values.items():
            values[widget], found = as_queued(node.type, widget, value)
            choices += found
        for entry in node.inputs:
            name = _widget(entry) or entry.get("name")
            if isinstance(name, str) and entry.get("link") is not None:
                value = self._behind(scope, entry["link"])
                if value is not None:
                    values[name] = value
                elif _widget(entry) is None:
                    values.pop(name, None)
        return values, known, choices

    def _behind(self, scope: _Scope | None, link: Any) -> Any:
        """Resolve a link to ``[id, slot]``, a value, or ``None``."""
        visited: set[tuple[str, str]] = set()
        while scope is not None and link is not None and (scope.prefix, str(link)) not in visited:
            visited.add((scope.prefix, str(link)))
            self.hops += 1
            if str(link) not in scope.links or self.hops > MAX_HOPS:
                return None
            origin, slot = scope.links[str(link)]
            node = scope.nodes.get(origin)
            if origin == _INPUT and scope.instance is not None:
                ports = scope.ports("inputs")
                name = ports[slot].get("name") if 0 <= slot < len(ports) else None
                entry = next((e for e in scope.instance.inputs if e.get("name") == name), None)
                if entry is None or entry.get("link") is None:
                    return literal(scope.promoted.get(name)) if isinstance(name, str) else None
                scope, link = scope.parent, entry["link"]
            elif node is not None and node.type == "Reroute" and node.mode == MUTED:
                link = node.link(0)  # it exists in the editor only, which hands on through it all the same
            elif node is None or node.mode == MUTED:
                return None
            elif node.mode == BYPASSED:
                link = _bypass(node, slot)
            elif node.type == "Reroute":
                link = node.link(0)
            elif node.type == "PrimitiveNode":
                return literal(node.first_value)
            elif node.type in _GETS:
                scope, link = self._set(scope, node.first_value)
            elif node.id in scope.children:
                scope = scope.children[node.id]
                link = _end(scope, slot)
            else:
                return [scope.prefix + origin, slot]
        return None

    def _set(self, scope: _Scope, name: Any) -> tuple[_Scope | None, Any]:
        """Find the link behind a get node: that of the set node of the same name, in this scope or an outer one."""
        within: _Scope | None = scope
        while within is not None:
            if isinstance(name, str) and name in within.sets:
                return within, within.sets[name].link(0)
            within = within.parent
        return None, None


def _bypass(node: _Node, slot: int) -> Any:
    """Return the link that a bypassed node passes on: at the same index if the type matches, else the first match."""
    kind = node.outputs[slot].get("type") if 0 <= slot < len(node.outputs) else None
    places = [slot, *range(len(node.inputs))] if kind is not None else []
    for place in places:
        if 0 <= place < len(node.inputs) and node.inputs[place].get("type") == kind:
            return node.link(place)
    return None


def _end(scope: _Scope, slot: int) -> Any:
    """Return the link inside a subgraph that feeds one of its outputs."""
    ports = scope.ports("outputs")
    links = _list(ports[slot].get("linkIds")) if 0 <= slot < len(ports) else []
    return links[0] if links else None


def _links(entries: list[Any]) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield links by id, in both forms: [id, from, slot, to, slot, type], or an object."""
    for entry in entries:
        if isinstance(entry, Mapping):
            link, origin, slot = (entry.get(key) for key in ("id", "origin_id", "origin_slot"))
        elif isinstance(entry, list) and len(entry) >= 4:
            link, origin, slot = entry[:3]
        else:
            continue
        if _is_id(link) and _is_id(origin) and isinstance(slot, int):
            yield str(link), (str(origin), slot)


def _upstream(graph: Mapping[str, Any]) -> list[str]:
    """Return the nodes upstream of those that save something, or of all ends if none does."""
    linked = {k: [link.id for v in node["inputs"].values() if (link := to_link(v))] for k, node in graph.items()}
    followed = {node_id for ids in linked.values() for node_id in ids}
    ends = [k for k in graph if k not in followed and linked[k]]
    todo = [k for k in ends if "save" in graph[k]["class_type"].lower()] or ends
    found: dict[str, None] = {}
    while todo:
        node_id = todo.pop()
        if node_id in graph and node_id not in found:
            found[node_id] = None
            todo += linked[node_id]
    return list(found)


def _widget(entry: Mapping[str, Any]) -> str | None:
    widget = entry.get("widget")
    name = widget.get("name") if isinstance(widget, Mapping) else None
    return name if isinstance(name, str) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)
