"""Group nodes of a workflow, replaced by the nodes that they stand for.

A group node ``workflow>name`` is defined in ``extra.groupNodes``: its nodes by index, the links between them, and
which outputs are linked to from outside. Its sockets and widgets are those of its nodes, in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .nodes import short

PREFIXES = ("workflow>", "workflow/")
MAX_ROUNDS = 5
"""Depth limit of group nodes in group nodes."""
MAX_EXPANDED = 10_000
"""Limit of nodes that group nodes stand for."""


class Expanded(NamedTuple):
    """A workflow without group nodes."""

    data: Mapping[str, Any]
    warnings: tuple[str, ...]


def expand_group_nodes(data: Mapping[str, Any]) -> Expanded:
    """Replace the group nodes of a workflow; one that is not understood stays, with a warning."""
    warnings: list[str] = []
    extra = data.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, Mapping) else None
    groups = groups if isinstance(groups, Mapping) else {}
    for _ in range(MAX_ROUNDS):
        instances = [n for n in _list(data.get("nodes")) if isinstance(n, Mapping) and _group_of(n, groups) is not None]
        if not instances:
            break
        replaced = set(map(id, instances))
        nodes = [n for n in _list(data.get("nodes")) if id(n) not in replaced]
        links = list(_list(data.get("links")))
        for instance in instances:
            if len(nodes) > MAX_EXPANDED:
                warnings.append("the workflow has more nodes in group nodes than are read")
                break
            group = _group_of(instance, groups)
            if group is not None:
                known = _expand(instance, group, nodes, links)
                if not known:
                    warnings.append(f"the values of node {short(str(instance.get('id')))} (a group node) are not known")
        data = {**data, "nodes": nodes, "links": links}
    for node in _list(data.get("nodes")):
        if isinstance(node, Mapping) and str(node.get("type")).startswith(PREFIXES):
            warnings.append(
                f"node {short(str(node.get('id')))} ({short(str(node['type']))}) is a group node, which is not read"
            )
    return Expanded(data, tuple(dict.fromkeys(warnings)))


def _group_of(node: Mapping[str, Any], groups: Mapping[str, Any]) -> Mapping[str, Any] | None:
    kind = str(node.get("type"))
    name = next((kind[len(prefix) :] for prefix in PREFIXES if kind.startswith(prefix)), None)
    group = groups.get(name) if name is not None else None
    return group if isinstance(group, Mapping) and isinstance(group.get("nodes"), list) else None


def _expand(instance: Mapping[str, Any], group: Mapping[str, Any], nodes: list[Any], links: list[Any]) -> bool:
    """Add the nodes and links of one group node; returns False if its values cannot be told apart."""
    inner = [node if isinstance(node, Mapping) else {} for node in group["nodes"]]
    own = str(instance.get("id"))
    inside = {
        (link[2], link[3]): (link[0], link[1]) for link in _list(group.get("links"))
        if isinstance(link, list) and len(link) >= 4 and all(isinstance(part, int) for part in link[:4])
    }  # fmt: skip
    values, known = _values_of(instance, inner)
    sockets = iter([e for e in _mappings(instance.get("inputs")) if not isinstance(e.get("widget"), Mapping)])
    copies = []
    for index, node in enumerate(inner):
        inputs = []
        for slot, entry in enumerate(_mappings(node.get("inputs"))):
            entry = {**entry, "link": None}
            if (index, slot) in inside:
                origin, at = inside[index, slot]
                entry["link"] = f"{own}:{index}:{slot}"
                links.append([entry["link"], f"{own}:{origin}", at, f"{own}:{index}", slot, entry.get("type")])
            elif not isinstance(entry.get("widget"), Mapping):
                outer = next(sockets, {})
                entry["link"] = outer.get("link") if outer.get("type") in (entry.get("type"), "*") else None
            else:
                entry["link"] = _outer_link(instance, entry)
            inputs.append(entry)
        mode = instance.get("mode") if instance.get("mode") in (2, 4) else node.get("mode")
        copies.append({**node, "id": f"{own}:{index}", "inputs": inputs, "widgets_values": values[index], "mode": mode})
    nodes += copies
    outputs = list(_outputs(inner, inside, group))
    for at, link in enumerate(links):
        if isinstance(link, list) and len(link) >= 4 and str(link[1]) == own and isinstance(link[2], int):
            index, slot = outputs[link[2]] if 0 <= link[2] < len(outputs) else (-1, 0)
            links[at] = [link[0], f"{own}:{index}", slot, *link[3:]]
    return known


def _values_of(instance: Mapping[str, Any], inner: list[Mapping[str, Any]]) -> tuple[list[Any], bool]:
    """Part the values of a group node among its nodes: as many for each as it has by itself."""
    rows = [_list(node.get("widgets_values")) for node in inner]
    values = instance.get("widgets_values")
    if not isinstance(values, list) or len(values) != sum(map(len, rows)):
        return [None] * len(inner), not any(rows)
    parted, at = [], 0
    for row in rows:
        parted.append(values[at : at + len(row)])
        at += len(row)
    return parted, True


def _outer_link(instance: Mapping[str, Any], entry: Mapping[str, Any]) -> Any:
    """Return the link at a widget of the group node that was turned into a socket."""
    name = entry.get("name")
    found = [
        e for e in _mappings(instance.get("inputs")) if isinstance(e.get("widget"), Mapping) and e.get("name") == name
    ]
    return found[0].get("link") if len(found) == 1 else None


def _outputs(
    inner: list[Mapping[str, Any]], inside: Mapping[Any, Any], group: Mapping[str, Any]
) -> Iterator[tuple[int, int]]:
    """Yield the outputs of a group node: those of its nodes that are not linked to inside alone."""
    used = set(inside.values())
    external = {
        (e[0], e[1]) for e in _list(group.get("external"))
        if isinstance(e, list) and len(e) >= 2 and isinstance(e[0], int) and isinstance(e[1], int)
    }  # fmt: skip
    for index, node in enumerate(inner):
        for slot in range(len(_list(node.get("outputs")))):
            if (index, slot) not in used or (index, slot) in external:
                yield index, slot


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in _list(value) if isinstance(entry, Mapping)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
