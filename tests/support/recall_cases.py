"""Sample files with what a reader should find in them, for benchmarks/recall.py: Distillery and plain ComfyUI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recall_samples import new_record, node, plain_graph, png

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NEGATIVE = "nsfw, worst quality, deformed, low quality, bad"
PLAIN = {"positive": "a lake", "negative": "blurry", "seed": 2**60 + 1, "steps": 20, "cfg": 7.5, "checkpoint": "dream"}


LINK_TYPES = {
    "model": "MODEL", "clip": "CLIP", "vae": "VAE", "positive": "CONDITIONING", "negative": "CONDITIONING",
    "conditioning": "CONDITIONING", "latent_image": "LATENT", "samples": "LATENT", "images": "IMAGE", "image": "IMAGE",
}  # fmt: skip


def with_workflow(graph: dict[str, Any], **options: Any) -> bytes:
    """A PNG as ComfyUI's editor saves it: the API graph, and a workflow with the same nodes and links."""
    ids = (
        {name: i for i, name in enumerate(graph, 1)}
        if not all(n.isdecimal() for n in graph)
        else {n: int(n) for n in graph}
    )
    nodes: list[dict[str, Any]] = []
    links: list[list[Any]] = []
    for name, item in graph.items():
        inputs = []
        for slot, (key, value) in enumerate(i for i in item["inputs"].items() if isinstance(i[1], list)):
            kind = LINK_TYPES.get(key, "*")
            links.append([len(links) + 1, ids[value[0]], value[1], ids[name], slot, kind])
            inputs.append({"name": key, "type": kind, "link": len(links)})
        widgets = [value for value in item["inputs"].values() if not isinstance(value, list)]
        nodes.append(
            {"id": ids[name], "type": item["class_type"], "mode": 0, "inputs": inputs, "widgets_values": widgets}
        )
    return png({"prompt": graph, "workflow": {"nodes": nodes, "links": links, "version": 0.4}}, **options)


def hires_graph() -> dict[str, Any]:
    """A second pass with other numbers behind the first."""
    graph = plain_graph()
    graph["20"] = node("LatentUpscaleBy", samples=["3", 0], scale_by=1.5)
    graph["21"] = {
        "class_type": "KSampler",
        "inputs": {**graph["3"]["inputs"], "seed": 5, "steps": 9, "cfg": 2.0, "denoise": 0.4},
    }
    graph["21"]["inputs"]["latent_image"] = ["20", 0]
    graph["8"]["inputs"]["samples"] = ["21", 0]
    return graph


def linked_graph() -> dict[str, Any]:
    """Seed and prompt by link, ControlNet between prompts and sampler."""
    return plain_graph(
        n3=node(
            "KSampler", model=["10", 0], positive=["31", 0], negative=["31", 1], latent_image=["5", 0], seed=["32", 0],
            steps=20, cfg=7.5, sampler_name="euler", scheduler="normal", denoise=1.0,
        ),
        n6=node("CLIPTextEncode", clip=["10", 1], text=["33", 0]),
        n30=node("ControlNetLoader", control_net_name="canny.safetensors"),
        n31=node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], control_net=["30", 0], image=["34", 0]),
        n32=node("PrimitiveInt", value=2**60 + 1),
        n33=node("PrimitiveStringMultiline", value="a lake"),
        n34=node("LoadImage", image="x.png"),
    )  # fmt: skip


CASES: list[tuple[str, str, Callable[[], bytes], dict[str, Any]]] = [
    (
        "Distillery, newer",
        "distillery_new.png",
        lambda: png({"prompt": new_record()}),
        {"positive": "a lake, best quality, high quality, good", "negative": NEGATIVE, "seed": 124, "steps": 30, "cfg": 6, "checkpoint": "a"},
    ),
    ("Distillery, older", "distillery_old.png", (EXAMPLES / "odd.png").read_bytes, {"seed": 7041776}),
    ("ComfyUI", "comfyui.png", lambda: with_workflow(plain_graph()), PLAIN),
    ("ComfyUI, run by its API", "comfyui_api.png", lambda: png({"prompt": plain_graph()}), PLAIN),
    ("ComfyUI, texts behind the pixels", "comfyui_after.png", lambda: with_workflow(plain_graph(), after_idat=True), PLAIN),
    ("ComfyUI, HiRes pass", "comfyui_hires.png", lambda: with_workflow(hires_graph()), PLAIN),
    ("ComfyUI, links and ControlNet", "comfyui_links.png", lambda: with_workflow(linked_graph()), PLAIN),
]  # fmt: skip
"""(name, file name, maker of the bytes, expected values)"""
