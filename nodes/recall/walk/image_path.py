"""The way of the picture: the nodes that its pixels and latents come through, from the output to the beginning."""

from __future__ import annotations

from collections import deque

from ..graph.nodes import Node, to_link
from .reader import Reader
from .samplers import OTHER_SAMPLER_INPUTS, PLAIN_SAMPLERS, TILED_UPSCALERS, Sampling, read_sampling

PIXEL_INPUTS = (
    "images", "image", "samples", "latent_image", "latent", "pixels", "upscaled_image", "image1", "image2", "image_a",
    "image_b", "samples1", "samples2", "samples_to", "samples_from", "destination", "source", "latents",
)  # fmt: skip
"""Inputs along which the picture itself comes, as pixels or as latent."""
MAX_OUTPUTS = 100


class Picture:
    """The nodes that the picture comes through, from the output back to its beginning."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._sources: dict[str, list[Node]] = {}
        self._samplings: dict[str, Sampling] = {}
        self.nodes: list[Node] = self._way()

    def _way(self) -> list[Node]:
        # The file does not tell which output node saved it: the one with the most samplers is taken.
        ways = [self.upstream(output) for output in self._outputs()[:MAX_OUTPUTS]]
        if not ways:
            return []
        samplers = [{node.id for node in way if is_sampler(node)} for way in ways]
        most = max(range(len(ways)), key=lambda i: len(samplers[i]))
        if any(ids and ids != samplers[most] for ids in samplers):
            self._reader.draft.warn(
                f"the graph saves several pictures: this one is taken to be that of {ways[most][0]}, "
                "which the most samplers lead to"
            )
        return ways[most]

    def _outputs(self) -> list[Node]:
        """The nodes that save the picture; previews where there are none; else those that nothing follows."""
        graph = self._reader.graph
        nodes = [n for n in graph.nodes.values() if any(graph.link(n, name) for name in PIXEL_INPUTS)]
        for word in ("save", "preview"):
            if found := [n for n in nodes if word in n.class_type.lower()]:
                return found
        linked = {link.id for n in graph.nodes.values() for v in n.inputs.values() if (link := to_link(v))}
        return [n for n in nodes if n.id not in linked] or nodes

    def sources(self, node: Node) -> list[Node]:
        """The nodes that a node's picture comes from directly."""
        if node.id not in self._sources:
            found = (self._reader.graph.input(node, name) for name in PIXEL_INPUTS if name in node.inputs)
            self._sources[node.id] = [source[0] for source in found if source]
        return self._sources[node.id]

    def upstream(self, start: Node) -> list[Node]:
        """The node and those that its picture comes through, nearest first."""
        found: dict[str, Node] = {}
        todo = deque([start])
        while todo:
            node = todo.popleft()
            if node.id not in found:
                found[node.id] = node
                todo += self.sources(node)
        return list(found.values())

    def downstream(self, starts: list[Node]) -> set[str]:
        """The ids of the picture's nodes that come after one of the given ones."""
        following: dict[str, list[str]] = {}
        for node in self.nodes:
            for source in self.sources(node):
                following.setdefault(source.id, []).append(node.id)
        found: set[str] = set()
        todo = [next_id for node in starts for next_id in following.get(node.id, ())]
        while todo:
            node_id = todo.pop()
            if node_id not in found:
                found.add(node_id)
                todo += following.get(node_id, ())
        return found

    def sampling(self, node: Node) -> Sampling:
        """Read a sampler of the path; each is read once."""
        if node.id not in self._samplings:
            self._samplings[node.id] = read_sampling(self._reader, node)
        return self._samplings[node.id]

    @property
    def samplers(self) -> list[Node]:
        """Those that are read here, from the last to the first."""
        return [node for node in self.nodes if is_sampler(node)]

    @property
    def other_samplers(self) -> list[Node]:
        """Nodes that are not known here, and by their inputs are seen to be samplers."""
        return [node for node in self.nodes if not is_sampler(node) and self._samples(node)]

    def _samples(self, node: Node) -> bool:
        follow = self._reader.follow
        guided = follow(node, "model") and follow(node, "positive", "conditioning")
        return bool(guided or follow(node, *OTHER_SAMPLER_INPUTS))

    def base_sampler(self) -> Node | None:
        """The sampler of the first pass: none lies before it."""
        samplers = [node for node in self.nodes if node.class_type in PLAIN_SAMPLERS]
        later = self.downstream(samplers)
        first = [node for node in samplers if node.id not in later]
        if len(first) > 1:
            self._reader.draft.warn(
                "the picture is put together from several first passes "
                f"({', '.join(map(str, first[:5]))}): {first[0]} is kept"
            )
        return first[0] if first else None


def is_sampler(node: Node) -> bool:
    return node.class_type in PLAIN_SAMPLERS or node.class_type in TILED_UPSCALERS
