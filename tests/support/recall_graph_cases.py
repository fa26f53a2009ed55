"""Sample files with what a reader should find in them, for benchmarks/recall.py: ComfyUI graphs of many kinds."""

from __future__ import annotations

from recall_cases import with_workflow
from recall_graph_samples import basic_pipe, easy_use, efficient, flux, plain_workflow
from recall_samples import png

CASES = [
    (
        "ComfyUI, Flux",
        "graph_flux.png",
        lambda: with_workflow(flux()),
        {"positive": "a fox in the snow", "seed": 77, "steps": 20, "checkpoint": "flux1-dev"},
    ),
    (
        "ComfyUI, Efficiency nodes",
        "graph_efficient.png",
        lambda: with_workflow(efficient()),
        {"positive": "a mill", "negative": "fog", "seed": 11, "steps": 22, "cfg": 6.5, "checkpoint": "dream"},
    ),
    (
        "ComfyUI, Basic Pipe",
        "graph_basic_pipe.png",
        lambda: with_workflow(basic_pipe()),
        {"positive": "a lake", "negative": "blurry", "seed": 31},
    ),
    (
        "ComfyUI, Easy Use",
        "graph_easy_use.png",
        lambda: with_workflow(easy_use()),
        {"positive": "a barn", "negative": "text", "seed": 41, "steps": 24, "cfg": 5, "checkpoint": "easy"},
    ),
    (
        "ComfyUI, workflow alone",
        "graph_workflow.png",
        lambda: png({"workflow": plain_workflow().data()}),
        {"positive": "a lake", "negative": "blurry", "seed": 2**60 + 1, "steps": 20, "cfg": 7.5},
    ),
]
