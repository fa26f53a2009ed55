"""Distillery's older format: ``comfy_api`` (an API graph, authoritative) and ``template_inputs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...generation import Generation
from ..builder import GenerationBuilder
from ..containers.texts import TextChunks
from ..graph.graph import Graph
from ..graph.load import read_graph
from ..walk.walk import walk

ORIGIN = "distillery-old"

_GAPS = {
    # What template_inputs may fill where the graph lacks it. NOISE_SEED_STR is stale and never read.
    "positive": "POSITIVE_PROMPT",
    "negative": "NEGATIVE_PROMPT",
    "seed": "NOISE_SEED",
    "cfg": "CFG",
    "checkpoint": "SD15_CHECKPOINT",
    "width": "INPUT_WIDTH",
    "height": "INPUT_HEIGHT",
    "family": "SD_VERSION",
    "hires.scale": "INPUT_HIRESFIX_SCALE",
    "hires.denoise": "DENOISE_POWER",
}
LORA_SLOTS = 5


def read(chunks: TextChunks) -> Generation | None:
    """Read the graph, and fill its gaps from ``template_inputs``."""
    data = chunks.json_object("prompt")
    if data is None or not isinstance(data.get("comfy_api"), Mapping):
        return None
    inputs = data.get("template_inputs")
    inputs = inputs if isinstance(inputs, Mapping) else {}
    try:
        graph = read_graph(data["comfy_api"])
    except ValueError as error:
        graph = None
        chunks.problems.append(str(error))
    builder = walk(graph, "comfy_api") if graph else GenerationBuilder()

    for name, key in _GAPS.items():
        builder.set(name, inputs.get(key), f"template_inputs.{key}")
    if not builder.has("loras") and "SD15_LORA_1" in inputs:
        builder.warn("the LoRAs could not be read from the graph: those of template_inputs are used, in numeric order")
        builder.set_loras(_lora_entries(inputs), "template_inputs without LoRAs")
    labels = _labels(graph) if graph else {}
    builder.set("family", labels.get("model_type"), "comfy_api label model_type")

    builder.carried.update({f"label_{key}": value for key, value in labels.items()})
    if inputs:
        builder.carried["template_inputs"] = dict(inputs)
    return builder.build(ORIGIN)


def _lora_entries(inputs: Mapping[str, Any]) -> list[tuple[Any, Any, Any, str]]:
    return [
        (
            inputs[f"SD15_LORA_{n}"],
            inputs.get(f"SD15_LORA_POWER_MODEL_{n}"),
            inputs.get(f"SD15_LORA_POWER_CLIP_{n}"),
            f"template_inputs.SD15_LORA_{n}",
        )
        for n in range(1, LORA_SLOTS + 1)
        if f"SD15_LORA_{n}" in inputs
    ]


def _labels(graph: Graph) -> dict[str, str]:
    """Return the labels of Distillery's AddMetaData nodes."""
    found = {}
    for node in graph.nodes.values():
        label, text = graph.value(node, "label"), graph.value(node, "text_value")
        if node.class_type == "AddMetaData" and isinstance(label, str) and isinstance(text, str):
            found[label] = text
    return found
