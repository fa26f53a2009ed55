"""The image path: the nodes upstream of the saved image, which its pixels and latents come through."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from ..graph.nodes import Node, to_link
from ..graph.shapes import named
from .picture_size import CELL, picture_size
from .reader import GraphReader
from .samplers import OTHER_SAMPLER_INPUTS, PLAIN_SAMPLERS, TILED_UPSCALERS, Sampling, read_sampling

PIXEL_INPUTS = (
    "images", "image", "samples", "latent_image", "latent", "pixels", "upscaled_image", "image1", "image2", "image_a",
    "image_b", "samples1", "samples2", "samples_to", "samples_from", "destination", "target", "source", "latents",
)  # fmt: skip
"""Inputs through which the image itself comes, as pixels or as latent."""
_PICTURE = re.compile(
    r"(?!.*(?:style|control|ref|mask|pose|depth|canny|clip|hint|face))(?:\w{1,30}_)?(?:images?|pixels|latents?|samples|latent_image|frames|any\w{0,6})_?(?:\d{1,3}|[a-z]|to|from|target)?"
)
"""What such inputs of unknown nodes are called."""
MAX_OUTPUTS = 100


class ImagePath:
    """The nodes upstream of the saved image, from the output back to the beginning."""

    def __init__(self, reader: GraphReader, size: tuple[int, int] | None = None) -> None:
        self._reader = reader
        self._sources: dict[str, list[Node]] = {}
        self._samplings: dict[str, Sampling] = {}
        self._shapes: dict[str, bool] = {}
        self.nodes: list[Node] = self._way(size)

    def _way(self, size: tuple[int, int] | None) -> list[Node]:
        """Return the way to the output that saved the file. The file tells its size at most."""
        ways = self._likely_ways(size)
        if not ways:
            return []
        samplers = [self._samplers_of(way) for way in ways]
        possible = [i for i, ids in enumerate(samplers) if ids] or list(range(len(ways)))
        if size is not None and len(possible) > 1:
            fitting = [i for i in possible if self._fits(ways[i][0], size)]
            possible = fitting or possible
        most = max(possible, key=lambda i: (sum(is_sampler(node) for node in ways[i]), len(samplers[i])))
        others = [ways[i][0] for i in possible if samplers[i] != samplers[most]]
        if others:
            self._reader.builder.warn(
                f"the graph saves several pictures, also at {', '.join(map(str, others[:5]))}: "
                f"this one is taken to be that of {ways[most][0]}, which the most samplers lead to"
            )
        return ways[most]

    def _likely_ways(self, size: tuple[int, int] | None) -> list[list[Node]]:
        """Return the ways to the likeliest outputs behind samplers, of which one at least may have the file's size."""
        kept: list[list[Node]] = []
        found = False
        for outputs in self._outputs():
            ways = [self.upstream(output) for output in outputs[:MAX_OUTPUTS]]
            sampled = [way for way in ways if any(is_sampler(node) or self._samples(node) for node in way)]
            if sampled and (size is None or any(self._fits(way[0], size) for way in sampled)):
                return ways
            if not kept or (sampled and not found):
                kept, found = ways, bool(sampled)
        return kept

    def _samplers_of(self, way: list[Node]) -> frozenset[str]:
        return frozenset(node.id for node in way if is_sampler(node) or self._samples(node))

    def _fits(self, output: Node, size: tuple[int, int]) -> bool:
        """Return False if the picture of an output has another size than the file."""
        found = picture_size(self._reader, self.sources, output)
        return found is None or all(abs(a - b) < CELL for a, b in zip(found, size, strict=True))

    def _outputs(self) -> Iterator[list[Node]]:
        """Yield the nodes that may have saved the file, the likeliest first.

        Those that save an image, the previews, and the nodes that nothing follows: some samplers save or show by
        themselves, beside previews of masks or of what a picture started from.
        """
        graph = self._reader.graph
        nodes = [n for n in graph.nodes.values() if self.sources(n) or is_sampler(n)]
        for word in ("save", "videocombine", "preview"):
            if found := [n for n in nodes if word in n.class_type.lower()]:
                yield found
        linked = {link.id for n in graph.nodes.values() for v in n.inputs.values() if (link := to_link(v))}
        yield [n for n in nodes if n.id not in linked] or nodes

    def sources(self, node: Node) -> list[Node]:
        """Return the nodes that a node's image comes from directly."""
        if node.id not in self._sources:
            graph = self._reader.graph
            names = [name for name in PIXEL_INPUTS if graph.link(node, name)]
            if not names and graph.is_unknown(node):
                names = [name for name in node.inputs if _PICTURE.fullmatch(name.lower()) and graph.link(node, name)]
            found = (graph.input(node, name) for name in names)
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

    def before(self, start: Node) -> list[Node]:
        """Return a sampler and the nodes between it and the samplers before it."""
        found: dict[str, Node] = {}
        todo = [start]
        while todo:
            node = todo.pop()
            if node.id not in found and (node is start or not is_sampler(node)):
                found[node.id] = node
                todo += self.sources(node)
        return list(found.values())

    def repaints_a_part(self, sampler: Node) -> bool:
        """Return True if a pass repaints a part of the picture only, or may: in a bridge a mask can be painted."""
        return any(
            (
                any(name in step.inputs for name in ("mask", "noise_mask"))
                and (step is sampler or "samples" in step.inputs or "pixels" in step.inputs)
            )
            or "bridge" in step.class_type.lower()
            for step in self.before(sampler)
        )

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
        if node.id not in self._shapes:
            self._shapes[node.id] = self._looks_like_a_sampler(node)
        return self._shapes[node.id]

    def _looks_like_a_sampler(self, node: Node) -> bool:
        if is_sampler(node):
            return False
        follow = self._reader.follow
        if self._reader.graph.is_unknown(node) and self.sources(node):
            counted = named(node, "steps") and named(node, "seed", "noise_seed")
            if counted or "sampler" in node.class_type.lower():
                return True
        guided = follow(node, "model") and follow(node, "positive", "conditioning")
        return bool(guided or follow(node, *OTHER_SAMPLER_INPUTS))

    def base_sampler(self) -> Node | None:
        """Return the sampler of the first pass: no other is upstream of it."""
        samplers = [node for node in self.nodes if node.class_type in PLAIN_SAMPLERS]
        later = self.downstream(samplers)
        first = [node for node in samplers if node.id not in later]
        if len(first) > 1:
            ids = {node.id for node in first}
            canvas = next((node_id for node_id in self._canvas() if node_id in ids), None)
            first.sort(key=lambda node: node.id != canvas)
            self._reader.builder.warn(
                "the picture is put together from several first passes "
                f"({', '.join(map(str, first[:5]))}): {first[0]} is kept"
            )
        return first[0] if first else None

    def _canvas(self) -> list[str]:
        """Return the ids of the nodes that the picture as a whole comes through: not what is pasted into it."""
        found: dict[str, None] = {}
        sources = self.nodes[:1]
        while sources and sources[0].id not in found:
            found[sources[0].id] = None
            sources = self.sources(sources[0])
        return list(found)


def is_sampler(node: Node) -> bool:
    return node.class_type in PLAIN_SAMPLERS or node.class_type in TILED_UPSCALERS
