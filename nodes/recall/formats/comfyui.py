"""Plain ComfyUI: the API graph in the text chunk ``prompt``, else the editor's workflow in ``workflow``."""

from __future__ import annotations

from ...generation import Generation
from ..containers.texts import TextChunks
from ..graph.load import read_graph
from ..graph.ui_workflow import is_workflow, to_api
from ..walk.walk import walk

ORIGIN = "comfyui"


def read(chunks: TextChunks) -> Generation | None:
    """Read the first pass from the graph and, if there is one, the HiRes pass.

    ``prompt`` is what ran. The workflow is read only if that is missing or unreadable.
    """
    for key in ("prompt", "workflow"):
        data = chunks.json_object(key)
        warnings: tuple[str, ...] = ()
        try:
            if data is not None and is_workflow(data):
                data, warnings = to_api(data)
            graph = read_graph(data)
        except ValueError as error:
            chunks.problems.append(str(error))
            continue
        if graph is not None:
            builder = walk(graph, key, chunks.size)
            builder.warn(*warnings)
            builder.carried["nodes"] = graph.size
            return builder.build(ORIGIN)
    return None
