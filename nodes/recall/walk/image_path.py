"""The image path: the nodes upstream of the saved image, which its pixels and latents come through."""

from __future__ import annotations

from collections import deque

from ..graph.nodes import Node, to_link
from .reader import GraphReader
from .samplers import OTHER_SAMPLER_INPUTS, PLAIN_SAMPLERS, TILED_UPSCALERS, Sampling, read_sampling

PIXEL_INPUTS = (
    "images", "image", "samples", "latent_image", "latent", "pixels", "upscaled_image", "image1", "image2", "image_a",
    "image_b", "samples1", "samples2", "samples_to", "samples_from", "destination", "source", "latents",
)  # fmt: skip
"""Inputs through which the image itself comes, as pixels or as latent."""
MAX_OUTPUTS = 100


class ImagePath:
    """The nodes upstream of the saved image, from the output back to the beginning."""

    def __init__(self, reader: GraphReader) -> None:
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
            self._reader.builder.warn(
                f"the graph saves several pictures: this one is taken to be that of {ways[most][0]}, "
                "which the most samplers lead to"
            )
        return ways[most]

    def _outputs(self) -> list[Node]:
        """Return the nodes that save an image; without any the previews, else the nodes that nothing follows."""
        graph = self._reader.graph
        nodes = [n for n in graph.nodes.values() if any(graph.link(n, name) for name in PIXEL_INPUTS)]
        for word in ("save", "preview"):
            if found := [n for n in nodes if word in n.class_type.lower()]:
                return found
        linked = {link.id for n in graph.nodes.values() for v in n.inputs.values() if (link := to_link(v))}
        return [n for n in nodes if n.id not in linked] or nodes

    def sources(self, node: Node) -> list[Node]:
        """Return the nodes that a node's image comes from directly."""
        if node.id not in self._sources:
            found = (self._reader.graph.input(node, name) for name in PIXEL_INPUTS if name in node.inputs)
            self._sources[node.id] = [source[0] for source in found if source]
        return self._sources[node.id]

    def upstream(self, start: Node) -> list[Node]:
        """Return a node and all nodes upstream of it, nearest first."""
        found: dict[str, Node] = {}
        todo = deque([start])
        while todo:
            node = todo.popleft()
            if node.id not in found:
                found[node.id] = node
                todo += self.sources(node)
        return list(found.values())

    def downstream(self, starts: list[Node]) -> set[str]:
        """Return the ids of the path's nodes downstream of any of the given ones."""
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
        """The samplers that are read here, from the last to the first."""
        return [node for node in self.nodes if is_sampler(node)]

    @property
    def other_samplers(self) -> list[Node]:
        """Unknown nodes which their inputs show to be samplers."""
        return [node for node in self.nodes if not is_sampler(node) and self._samples(node)]

    def _samples(self, node: Node) -> bool:
        follow = self._reader.follow
        guided = follow(node, "model") and follow(node, "positive", "conditioning")
        return bool(guided or follow(node, *OTHER_SAMPLER_INPUTS))

    def base_sampler(self) -> Node | None:
        """Return the sampler of the first pass: no other is upstream of it."""
        samplers = [node for node in self.nodes if node.class_type in PLAIN_SAMPLERS]
        later = self.downstream(samplers)
        first = [node for node in samplers if node.id not in later]
        if len(first) > 1:
            self._reader.builder.warn(
                "the picture is put together from several first passes "
                f"({', '.join(map(str, first[:5]))}): {first[0]} is kept"
            )
        return first[0] if first else None


def is_sampler(node: Node) -> bool:
    return node.class_type in PLAIN_SAMPLERS or node.class_type in TILED_UPSCALERS
