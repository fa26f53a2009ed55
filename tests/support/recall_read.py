"""Short ways to recall from a graph or a text."""

from __future__ import annotations

import json
from typing import Any

from recall_graph_samples import patched
from recall_samples import node, plain_graph

from distillery.nodes.generation import Generation, Lora, to_dict
from distillery.nodes.recall import recall_text


def graph_texts(graph: object) -> dict[str, str]:
    return {"prompt": json.dumps(graph)}


def of_graph(**changes: dict | None) -> Generation:
    return recall_text(graph_texts(plain_graph(**changes)))


PLAIN_LORAS = (Lora("b.safetensors", 0.5, 0.4), Lora("dir\\a.safetensors", 0.8, 1.0))


def read(graph: object) -> Generation:
    return recall_text({"prompt": json.dumps(graph)})


def of(inputs: dict[str, Any], **nodes: dict[str, Any] | None) -> Generation:
    """The plain graph with other inputs of its sampler."""
    return read(patched(inputs, **nodes))


def with_model(**nodes: dict[str, Any]) -> Generation:
    """The plain graph with its model and clip from node 50, whose clip is slot 1."""
    graph = patched({"model": ["50", 0]}, **nodes)
    for key in ("6", "7"):
        graph[key]["inputs"]["clip"] = ["50", 1]
    return read(graph)


def encoded(**encoder: Any) -> Generation:
    """The plain graph with another positive encoder: class_type and inputs."""
    return of({"positive": ["50", 0]}, n50=node(encoder.pop("kind"), clip=["10", 1], **encoder))


BASE = "Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 512x768, RNG: CPU, Version: v1.10.1"


def of_text(text: str) -> Generation:
    return recall_text({"parameters": text})


def with_settings(more: str, prompt: str = "a lake") -> Generation:
    return of_text(f"{prompt}\n{BASE}, {more}")


def of_json(data: Any, key: str = "parameters", **more: str) -> Generation:
    return recall_text({key: json.dumps(data), **more})


def known(generation: Generation) -> dict[str, Any]:
    """The known fields of a generation, without provenance and warnings."""
    data = to_dict(generation, carried=False)
    hidden = ("fields", "warnings")
    return {k: v for k, v in data.items() if v not in (None, [], {}) and k not in hidden}
