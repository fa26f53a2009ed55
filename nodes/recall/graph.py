"""ComfyUI's API graph: ``{id: {"class_type": …, "inputs": {name: value or [id, slot]}}}``.

Links, the nodes that only pass them on, and the values that reach an input through other nodes. A graph
comes from a stranger's file: anything may be missing, of a wrong type, or go round in circles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..values import to_integer, to_number
from .arithmetic import evaluate

MAX_NODES = 10_000
MAX_HOPS = 1_000_000
"""Links followed in one graph, all told."""
MAX_VALUE_DEPTH = 100
"""Nodes in a row that a value may run through."""


class Link(NamedTuple):
    """An output of a node."""

    id: str
    slot: int


@dataclass(frozen=True)
class Node:
    """A node of the graph."""

    id: str
    class_type: str
    inputs: Mapping[str, Any]

    def __str__(self) -> str:
        return f"node {_short(self.id)} ({_short(self.class_type)})"


class Graph:
    """The nodes of an API graph, in the order of the file."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = dict(nodes)
        self._values: dict[Link, Any] = {}
        self._hops = 0

    @property
    def exhausted(self) -> bool:
        """True when more than MAX_HOPS links were followed: what was read since is not complete."""
        return self._hops > MAX_HOPS

    @classmethod
    def from_api(cls, data: Any) -> Graph | None:
        """Read parsed JSON; ``None`` where it holds no nodes. Entries that are no nodes are left out.

        Raises ValueError for more than MAX_NODES nodes.
        """
        if not isinstance(data, Mapping):
            return None
        nodes = {}
        for key, entry in data.items():
            if isinstance(entry, Mapping) and isinstance(entry.get("class_type"), str):
                inputs = entry.get("inputs")
                nodes[str(key)] = Node(str(key), entry["class_type"], inputs if isinstance(inputs, Mapping) else {})
        if len(nodes) > MAX_NODES:
            raise ValueError(f"the graph has {len(nodes)} nodes; at most {MAX_NODES} are read")
        return cls(nodes) if nodes else None

    def link(self, node: Node, name: str) -> Link | None:
        """The link at an input, as it stands there; ``None`` for a value or nothing."""
        return to_link(node.inputs.get(name))

    def source(self, link: Link | None) -> tuple[Node, int] | None:
        """The node and slot that a link comes from, behind reroutes and contexts.

        ``None`` where the link leads nowhere: to a missing node, in circles, or to a context that lacks the value.
        """
        wanted: str | None = None  # what is looked for in a context
        visited = set()
        while link is not None and (link, wanted) not in visited:
            visited.add((link, wanted))
            self._hops += 1
            node = self.nodes.get(link.id)
            if node is None or self.exhausted:
                return None
            if node.class_type in REROUTES:
                link = next(filter(None, map(to_link, node.inputs.values())), None)
            elif node.class_type in CONTEXTS:
                outputs = CONTEXTS[node.class_type]
                if wanted is None:
                    wanted = outputs[link.slot] if 0 <= link.slot < len(outputs) else None
                if wanted is None or wanted == "base_ctx":
                    return None  # the context itself, which is no value
                if "Switch" in node.class_type:
                    choices = sorted(name for name in node.inputs if name.startswith("ctx_"))
                    link = next(filter(None, (self.link(node, name) for name in choices)), None)
                elif own := self.link(node, wanted):
                    link, wanted = own, None
                else:
                    link = self.link(node, "base_ctx")
            else:
                return (node, link.slot) if wanted is None else None
        return None

    def input(self, node: Node, name: str) -> tuple[Node, int] | None:
        """:meth:`source` of an input."""
        return self.source(self.link(node, name))

    def value(self, node: Node, name: str) -> Any:
        """The value at an input: as it stands there, or computed through the nodes that it is linked to.

        ``None`` where there is none or it cannot be told.
        """
        return self._resolve(node.inputs.get(name), MAX_VALUE_DEPTH)

    def culprit(self, node: Node, name: str) -> Node | None:
        """The node at which the computation of a linked value ended, for a message."""
        visited: set[str] = set()
        todo = [self.link(node, name)]
        while todo:
            found = self.source(todo.pop())
            if found is None or found[0].id in visited:
                continue
            visited.add(found[0].id)
            inputs = VALUE_NODES.get(found[0].class_type)
            if inputs is None:
                return found[0]
            todo += [self.link(found[0], name) for name in inputs.links]
        return None

    def _resolve(self, value: Any, depth: int) -> Any:
        link = to_link(value)
        if link is None:
            if isinstance(value, dict):
                value = value.get("content")  # some loaders write a name as {"content": name, "image": preview}
            return None if isinstance(value, list | dict) else value
        found = self.source(link)
        if found is None or depth == 0:
            return None
        node, slot = found
        at = Link(node.id, slot)
        if at not in self._values:
            self._values[at] = None  # a circle ends here
            rule = VALUE_NODES.get(node.class_type)
            if rule is not None:
                arguments = {name: self._resolve(node.inputs.get(name), depth - 1) for name in rule.links}
                self._values[at] = rule.compute(arguments, slot)
        return self._values[at]


def to_link(value: Any) -> Link | None:
    """``[id, slot]`` as a link; ids are texts such as "12" or "12:3"."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    node, slot = value
    if isinstance(node, bool) or not isinstance(node, str | int) or isinstance(slot, bool) or not isinstance(slot, int):
        return None
    return Link(str(node), slot)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "..."


REROUTES = {"Reroute", "Reroute (rgthree)", "ReroutePrimitive|pysssss"}

_CONTEXT = ("base_ctx", "model", "clip", "vae", "positive", "negative", "latent", "images", "seed")
_CONTEXT_BIG = (
    *_CONTEXT, "steps", "step_refiner", "cfg", "ckpt_name", "sampler", "scheduler", "clip_width", "clip_height",
    "text_pos_g", "text_pos_l", "text_neg_g", "text_neg_l", "mask", "control_net",
)  # fmt: skip
CONTEXTS = {
    "Context (rgthree)": _CONTEXT,
    "Context Big (rgthree)": _CONTEXT_BIG,
    "Context Switch (rgthree)": _CONTEXT,
    "Context Switch Big (rgthree)": _CONTEXT_BIG,
}
"""rgthree's contexts: their outputs, which are named as their inputs."""


@dataclass(frozen=True)
class ValueNode:
    """How a node makes a number or a text of its inputs."""

    links: tuple[str, ...]
    """The inputs that count."""
    compute: Callable[[Mapping[str, Any], int], Any]
    """Arguments by name and output slot to a value, or ``None``."""


def _same(name: str) -> ValueNode:
    return ValueNode((name,), lambda arguments, slot: arguments[name] if slot == 0 else None)


def _outputs(*names: str) -> ValueNode:
    return ValueNode(names, lambda arguments, slot: arguments[names[slot]] if 0 <= slot < len(names) else None)


def _expression(name: str, *outputs: Callable[[float], Any]) -> ValueNode:
    def compute(arguments: Mapping[str, Any], slot: int) -> Any:
        text = arguments[name]
        if isinstance(text, int | float):
            text = repr(text)
        if not isinstance(text, str) or not 0 <= slot < len(outputs):
            return None
        # An input that cannot be told stays unknown: it must not pose as 0.
        variables = {k: number for k in ("a", "b") if (number := to_number(arguments[k])) is not None}
        result = evaluate(text, variables)
        return None if result is None else outputs[slot](result)

    return ValueNode((name, "a", "b"), compute)


def _from_text(arguments: Mapping[str, Any], slot: int) -> Any:
    number = to_number(arguments["text"])
    return None if number is None else (int(number), number)[slot] if slot in (0, 1) else None


def _truncated(arguments: Mapping[str, Any], slot: int) -> Any:
    number = to_number(arguments["_float"])
    return None if number is None else int(number)


def _int_to_float(arguments: Mapping[str, Any], slot: int) -> Any:
    number = to_integer(arguments["a"])
    return None if number is None else to_number(number)


VALUE_NODES: dict[str, ValueNode] = {
    # ComfyUI's own
    "PrimitiveNode": _same("value"),
    "PrimitiveInt": _same("value"),
    "PrimitiveFloat": _same("value"),
    "PrimitiveString": _same("value"),
    "PrimitiveStringMultiline": _same("value"),
    # others, by how often they are met
    "String": _same("String"),
    "String Literal": _same("string"),
    "StringConstant": _same("string"),
    "StringConstantMultiline": _same("string"),
    "INTConstant": _same("value"),
    "FloatConstant": _same("value"),
    "Seed (rgthree)": _same("seed"),
    "CR Seed": _same("seed"),
    "Text Multiline": _same("text"),
    "KSampler Config (rgthree)": _outputs("steps_total", "refiner_step", "cfg", "sampler_name", "scheduler"),
    "CR String To Combo": _same("text"),
    "CR String To Number": ValueNode(("text",), _from_text),
    "CR Float To Integer": ValueNode(("_float",), _truncated),
    "CM_IntToFloat": ValueNode(("a",), _int_to_float),
    "SimpleMath": _expression("value", round, float),
    "SimpleMath+": _expression("value", round, float),
    "EvalFloats": _expression("formula", float),
}
"""Nodes that only carry or compute a value. A new one is one line."""
