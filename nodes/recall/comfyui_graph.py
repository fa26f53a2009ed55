"""Plain ComfyUI: the API graph in the text chunk ``prompt``."""

from __future__ import annotations

from ..generation import Generation
from .chunks import TextChunks
from .graph import Graph
from .walk import walk

ORIGIN = "comfyui"


def read(chunks: TextChunks) -> Generation | None:
    """What the graph says of the first pass and, where there is one, of the HiRes pass."""
    data = chunks.json_object("prompt")
    try:
        graph = Graph.from_api(data)
    except ValueError as error:
        chunks.problems.append(str(error))
        return None
    if graph is None:
        return None
    draft = walk(graph, "prompt")
    draft.carried["nodes"] = len(graph.nodes)
    return draft.build(ORIGIN)
