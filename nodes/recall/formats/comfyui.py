"""Plain ComfyUI: the API graph in the text chunk ``prompt``, else the editor's workflow in ``workflow``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...generation import Generation
from ..containers.texts import TextChunks, load_json
from ..graph.load import read_graph
from ..graph.ui_workflow import is_workflow, to_api
from ..walk.walk import walk
from . import flat_json

ORIGIN = "comfyui"


def read(chunks: TextChunks) -> Generation | None:
    """Read the first pass from the graph and, if there is one, the HiRes pass.

    ``prompt`` is what ran. The workflow is read only if that is missing or unreadable.
    """
    for key in ("prompt", "workflow"):
        # Other programs have texts of these names too, which are no JSON.
        data = chunks.json_object(key) if chunks.looks_like_json(key) else None
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
            generation = builder.build(ORIGIN)
            return _on_civitai(data) or generation if generation.empty else generation
        if (made := _on_civitai(data)) is not None:
            return made
    return None


def _on_civitai(data: Any) -> Generation | None:
    """Read how a picture was made that Civitai only enlarged: that is beside the graph of the enlargement."""
    text = data.get("extraMetadata") if isinstance(data, Mapping) else None
    if not isinstance(text, str):
        return None
    try:
        made = load_json(text)
    except ValueError:
        return None
    if not isinstance(made, dict) or not flat_json.is_settings(made):
        return None
    return flat_json.read_settings(made, "prompt extraMetadata", "civitai").build("civitai")
